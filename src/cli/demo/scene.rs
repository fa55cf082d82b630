//! What the demo shows, as text.

use std::collections::{BTreeMap, VecDeque};

use crate::backtest::Case;
use crate::backtest::hindsight::BestStatic;
use crate::cli::tally::{Tally, clock};
use crate::sim::{Ended, PoolView, SimTime};
use crate::units::{Role, ceil_to_u32, floor_to_u32};

/// Columns of the strips.
const COLUMNS: usize = 60;

/// Lines of one frame, so that the next is drawn over it.
const DECISIONS: usize = 4;

const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The state of the show.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) now: f64,
    promise: String,
    statics: BTreeMap<Role, u32>,
    static_gpus: u32,
    static_keeps: bool,
    speed: f64,
    terminal: bool,
    tally: Tally,
    /// Arrivals, and the slowest TTFT, by ten seconds of arrival.
    buckets: Vec<(u32, f64)>,
    decisions: VecDeque<String>,
    drawn: usize,
}

impl Scene {
    pub(super) fn new(
        case: &Case,
        best: &BestStatic,
        promise: String,
        speed: f64,
        terminal: bool,
    ) -> Self {
        let statics = best.fleet.clone();
        let static_gpus = statics.iter().map(|(role, n)| n * case.sim.pools[role].gpus).sum();
        Self {
            now: 0.0,
            promise,
            statics,
            static_gpus,
            static_keeps: best.keeps,
            speed,
            terminal,
            tally: Tally::new(case.promise()),
            buckets: Vec::new(),
            decisions: VecDeque::new(),
            drawn: 0,
        }
    }

    pub(super) fn ended(&mut self, ended: &Ended) {
        let ttft = ended.ttft_ms().unwrap_or(f64::INFINITY);
        self.tally.ended(ended);
        let bucket = self.bucket(ended.arrived);
        bucket.1 = bucket.1.max(ttft);
    }

    pub(super) fn arrived(&mut self, at: SimTime) {
        self.bucket(at).0 += 1;
    }

    /// The ten seconds that `at` is in.
    fn bucket(&mut self, at: SimTime) -> &mut (u32, f64) {
        let at = usize::try_from(floor_to_u32(at.as_secs() / 10.0)).unwrap_or(0);
        if self.buckets.len() <= at {
            self.buckets.resize(at + 1, (0, 0.0));
        }
        &mut self.buckets[at]
    }

    pub(super) fn fleet(&mut self, at: SimTime, role: Role, pool: PoolView, gpus: u32) {
        self.tally.fleet(at, role, pool, gpus);
    }

    pub(super) fn ordered(&mut self, at: SimTime, role: Role, from: u32, to: u32, why: &str) {
        let why = why.split_once(": ").map_or(why, |(_, words)| words);
        self.decisions.push_front(format!("{}  {role} {from} → {to}: {why}", clock(at.as_secs())));
        self.decisions.truncate(DECISIONS);
    }

    /// The rows of the last while, oldest first.
    fn strip(&self) -> &[(u32, f64)] {
        let until =
            usize::try_from(floor_to_u32(self.now / 10.0)).unwrap_or(0).min(self.buckets.len());
        &self.buckets[until.saturating_sub(COLUMNS)..until]
    }

    /// One frame; on a terminal it is drawn over the one before.
    pub(super) fn frame(&mut self) -> String {
        self.tally.account(self.now);
        if !self.terminal {
            let head = if self.drawn == 0 { self.head() } else { String::new() };
            self.drawn = 1;
            return head + &self.line();
        }
        let strip = self.strip();
        let rate: Vec<f64> = strip.iter().map(|b| f64::from(b.0) / 10.0).collect();
        let slow: Vec<f64> =
            strip.iter().map(|b| b.1.min(self.tally.promise.ttft_ms * 2.0)).collect();
        let mut lines = vec![
            format!(
                "sla-planner demo · a simulated cluster, {:.0} times as fast as life",
                self.speed
            ),
            format!("promise   {}", self.promise),
            String::new(),
            format!("time      {}", clock(self.now)),
            format!(
                "load      {} {:>5.1} requests/s",
                bars(&rate, None),
                rate.last().unwrap_or(&0.0)
            ),
            format!(
                "TTFT      {} {}",
                bars(&slow, Some(self.tally.promise.ttft_ms * 2.0)),
                paint("slowest of ten seconds; full is twice the promise", "2"),
            ),
            String::new(),
        ];
        for (role, (pool, _)) in &self.tally.pools {
            let n =
                |count: u32, c: char| std::iter::repeat_n(c, usize::try_from(count).unwrap_or(0));
            let shown: String = n(pool.ready, '█').collect();
            let starting: String = n(pool.starting, '░').chain(n(pool.draining, '▒')).collect();
            lines.push(format!(
                "{:<9} {}{} {} serving{}",
                role.to_string(),
                paint(&shown, "32"),
                paint(&starting, "33"),
                pool.ready,
                if pool.starting > 0 {
                    format!(", {} starting", pool.starting)
                } else {
                    String::new()
                },
            ));
        }
        let kept = self.tally.keeps();
        let hours = self.tally.gpu_hours();
        let fixed = self.fixed_hours();
        lines.push(String::new());
        lines.push(format!(
            "good      {} of {} requests, {} % promised",
            paint(&format!("{:.2} %", self.tally.attainment()), if kept { "32;1" } else { "31;1" }),
            self.tally.requests,
            self.tally.promise.percentile
        ));
        lines.push(format!("cost      {hours:.2} GPU-hours so far"));
        lines.push(format!(
            "static    {fixed:.2} GPU-hours with the best fleet that never changes ({})",
            self.fixed_fleet()
        ));
        lines.push(String::new());
        lines.push("decisions".to_owned());
        for i in 0..DECISIONS {
            lines.push(format!("  {}", self.decisions.get(i).map_or("", String::as_str)));
        }
        let mut out = String::new();
        if self.drawn > 0 {
            put!(out, "\x1b[{}A", self.drawn);
        }
        for line in &lines {
            put!(out, "\x1b[2K{line}\n");
        }
        self.drawn = lines.len();
        out
    }

    /// What the lines are about, where nobody watches.
    fn head(&self) -> String {
        format!(
            "sla-planner demo: a simulated cluster, {:.0} times as fast as life\npromise: {}\n\
             time, arrivals, replicas serving+starting, good requests, GPU-hours (of the best fleet \
             that never changes: {})\n",
            self.speed,
            self.promise,
            self.fixed_fleet(),
        )
    }

    /// The best fleet that never changes, in words.
    fn fixed_fleet(&self) -> String {
        let names = self.statics.iter().map(|(role, n)| format!("{n} {role}"));
        let names = names.collect::<Vec<_>>().join(" + ");
        let broken = if self.static_keeps { "" } else { ", which does not keep the promise" };
        format!("{names}{broken}")
    }

    /// GPU-hours that it has taken by now.
    fn fixed_hours(&self) -> f64 {
        f64::from(self.static_gpus) * self.now / 3600.0
    }

    /// What there is to say in one line.
    fn line(&self) -> String {
        let rate = self.strip().last().map_or(0.0, |b| f64::from(b.0) / 10.0);
        let pools: Vec<String> = self
            .tally
            .pools
            .iter()
            .map(|(role, (p, _))| format!("{role} {}+{}", p.ready, p.starting))
            .collect();
        format!(
            "{}  {rate:>5.1} requests/s  {}  {:.2} % good  {:.2} GPU-hours ({:.2})\n",
            clock(self.now),
            pools.join("  "),
            self.tally.attainment(),
            self.tally.gpu_hours(),
            self.fixed_hours()
        )
    }

    /// The last word.
    pub(super) fn last(&self, gpu_hours: f64) -> String {
        let fixed = self.fixed_hours();
        let kept = if self.tally.keeps() { "kept" } else { "NOT kept" };
        format!(
            "\n{:.2} % of {} requests good, promise {kept} ({}), at {gpu_hours:.2} GPU-hours.\n\
             The best fleet that never changes ({}) takes {fixed:.2}: {:+.0} %.\n\
             Next: sla-planner simulate --help, sla-planner backtest --help\n",
            self.tally.attainment(),
            self.tally.requests,
            self.promise,
            self.fixed_fleet(),
            100.0 * (fixed / gpu_hours.max(1e-9) - 1.0),
        )
    }
}

/// A strip of bars, the newest on the right.
fn bars(values: &[f64], full: Option<f64>) -> String {
    let most = full.unwrap_or_else(|| values.iter().copied().fold(1.0, f64::max));
    let mut out = " ".repeat(COLUMNS.saturating_sub(values.len()));
    for value in values {
        let level = ceil_to_u32((value / most).clamp(0.0, 1.0) * 8.0);
        out.push(BARS[usize::try_from(level).unwrap_or(0).min(8)]);
    }
    out
}

fn paint(text: &str, code: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}
