//! What the demo shows, as text.

use std::collections::{BTreeMap, VecDeque};

use crate::backtest::Case;
use crate::backtest::hindsight::BestStatic;
use crate::cli::tally::{Tally, clock};
use crate::sim::{Ended, PoolView, SimTime};
use crate::units::{Role, ceil_to_u32, floor_to_u32};

/// Columns of a frame: those of the narrowest usual terminal. A wider line would be broken by the
/// terminal, and the next frame be drawn too low.
const WIDTH: usize = 80;

/// Columns of the strips: what the name and the rate beside them leave of [`WIDTH`].
const COLUMNS: usize = 50;

/// Lines for the last decisions. With them a frame of two pools has 23 lines, so that it and the
/// cursor fit in a terminal of 24.
const DECISION_LINES: usize = 6;

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
        self.decisions.truncate(DECISION_LINES);
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
            clip(&format!("promise   {}", self.promise)),
            String::new(),
            format!("time      {}", clock(self.now)),
            format!(
                "load      {} {:>5.1} requests/s",
                bars(&rate, None),
                rate.last().unwrap_or(&0.0)
            ),
            format!("TTFT      {}", bars(&slow, Some(self.tally.promise.ttft_ms * 2.0))),
            format!(
                "          {}",
                paint("the slowest of each ten seconds; full is twice the promise", "2")
            ),
            String::new(),
        ];
        lines.extend(self.tally.pools.iter().map(|(role, (pool, _))| pool_line(*role, *pool)));
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
            "static    {fixed:.2} GPU-hours with the best fleet that never changes:"
        ));
        lines.push(format!("          {}", self.fixed_fleet()));
        lines.push(String::new());
        lines.push("decisions".to_owned());
        let decisions = self.decisions.iter().flat_map(|words| wrapped(words));
        lines.extend(decisions.chain(std::iter::repeat(String::new())).take(DECISION_LINES));
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

/// The replicas of a pool, a block for each; for several where there are too many for the line.
fn pool_line(role: Role, pool: PoolView) -> String {
    let name = format!("{:<9} ", role.to_string());
    let starting = match pool.starting {
        0 => String::new(),
        n => format!(", {n} starting"),
    };
    let words = format!(" {} serving{starting}", pool.ready);
    let room = |words: &str| WIDTH.saturating_sub(name.chars().count() + words.chars().count());
    let counts = [pool.ready, pool.starting, pool.draining];
    let drawn = |each: usize| counts.map(|n| usize::try_from(n).unwrap_or(0).div_ceil(each));
    let fits = |each: usize, room: usize| drawn(each).iter().sum::<usize>() <= room;
    let (each, words) = if fits(1, room(&words)) {
        (1, words)
    } else {
        let said = |each: usize| format!("{words}, a block is {each}");
        // Ends: there are three blocks at most in the end.
        let each = (2..).find(|each| fits(*each, room(&said(*each)).max(3))).unwrap_or(1);
        (each, said(each))
    };
    let [ready, starting, draining] = drawn(each);
    format!(
        "{name}{}{}{words}",
        paint(&"█".repeat(ready), "32"),
        paint(&("░".repeat(starting) + &"▒".repeat(draining)), "33")
    )
}

/// A decision on as many lines as it takes, broken between words, the later ones set in.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![" ".to_owned()];
    for word in text.split(' ') {
        let fits = |line: &String| line.chars().count() + 1 + word.chars().count() <= WIDTH;
        match lines.last_mut() {
            Some(line) if fits(line) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(clip(&format!("            {word}"))),
        }
    }
    lines
}

/// The text as far as it fits.
fn clip(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::Promise;

    fn scene(terminal: bool) -> Scene {
        let promise = Promise { ttft_ms: 1500.0, itl_ms: 50.0, percentile: 99.95 };
        Scene {
            now: 0.0,
            promise: "99.95 % of requests with TTFT within 1s500ms and ITL within 50ms".to_owned(),
            statics: [(Role::Prefill, 1234), (Role::Decode, 1234)].into(),
            static_gpus: 2468,
            static_keeps: false,
            speed: 100_000.0,
            terminal,
            tally: Tally::new(promise),
            buckets: Vec::new(),
            decisions: VecDeque::new(),
            drawn: 0,
        }
    }

    fn pool(ready: u32, starting: u32, draining: u32) -> PoolView {
        PoolView { desired: ready + starting, ready, starting, draining, pending: 0 }
    }

    /// The lines as they are seen: without what moves the cursor, paints or erases.
    fn seen(frame: &str) -> Vec<String> {
        let mut parts = frame.split("\x1b[");
        let first = parts.next().unwrap().to_owned();
        let text = parts.fold(first, |text, part| {
            text + part
                .trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
                .get(1..)
                .unwrap()
        });
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn no_line_of_a_frame_is_wider_than_the_terminal_nor_the_frame_higher() {
        let mut scene = scene(true);
        let why = "sized: a forecast of 123.4 requests/s with prompts of 3000 tokens needs 17 engines \
                   at 83 % of what one takes, and the one before it was of 12 engines";
        for at in (0..7200).step_by(10) {
            for _ in 0..at * 10 {
                scene.arrived(SimTime::from_start(std::time::Duration::from_secs(at)));
            }
        }
        for (ready, starting, draining) in
            [(0, 0, 0), (3, 1, 2), (60, 0, 0), (70, 0, 0), (61, 9, 4), (10_000, 10_000, 10_000)]
        {
            scene.now += 1200.0;
            let at = SimTime::from_start(std::time::Duration::from_secs(5));
            scene.fleet(at, Role::Prefill, pool(ready, starting, draining), 8);
            scene.fleet(at, Role::Decode, pool(ready, draining, starting), 8);
            scene.ordered(at, Role::Decode, 9_999, 10_000, why);
            let frame = scene.frame();
            let lines = seen(&frame);
            for line in &lines {
                assert!(line.chars().count() <= 80, "{}: {line}", line.chars().count());
            }
            assert_eq!(lines.len(), 23, "{frame}");
        }
        scene.fleet(SimTime::ZERO, Role::Aggregated, pool(70, 0, 0), 8);
        let lines = seen(&scene.frame());
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
    }

    #[test]
    fn a_pool_has_a_block_for_each_replica_as_long_as_they_fit() {
        let line = |pool| seen(&pool_line(Role::Decode, pool)).concat();
        assert_eq!(line(pool(3, 2, 1)), "decode    ███░░▒ 3 serving, 2 starting");
        assert_eq!(
            line(pool(80, 0, 0)),
            format!("decode    {} 80 serving, a block is 2", "█".repeat(40))
        );
    }

    #[test]
    fn a_long_reason_is_wrapped_and_not_lost() {
        let text = "00:00:10  decode 1 → 2: ".to_owned() + &"word ".repeat(30);
        let lines = wrapped(text.trim());
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= 80));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines.join(" ")), words(&text));
    }

    #[test]
    fn the_load_that_is_shown_is_what_arrived_and_not_what_was_answered() {
        let mut scene = scene(false);
        for i in 0..25 {
            scene.arrived(SimTime::from_start(std::time::Duration::from_millis(i * 300)));
        }
        scene.now = 10.0;
        let text = scene.frame();
        assert!(text.contains("  2.5 requests/s"), "nothing has ended yet: {text}");
    }
}
