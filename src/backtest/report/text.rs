//! Words and numbers that the pages share, and the order of groups and rows.

use super::super::{Promise, RunResult};
use super::standing::Standing;

/// Runs that may be compared: the same trace, profile, start-up time, scenario and promise; they
/// differ in policy and seed.
pub(super) struct Group<'a> {
    /// Name of the trace.
    pub(super) trace: &'a str,
    /// Name of the profile.
    pub(super) profile: &'a str,
    /// Start-up time of a replica, seconds.
    pub(super) startup_s: f64,
    /// What else tells it from a group of the same name; empty mostly.
    pub(super) apart: String,
    /// What its runs have in common of what they were made from.
    scenario: &'a str,
    /// The promise that all were scored by.
    pub(super) promise: Promise,
    /// Its policies, in policy order.
    pub(super) rows: Vec<Standing<'a>>,
}

impl<'a> Group<'a> {
    fn new(run: &'a RunResult) -> Self {
        Self {
            trace: &run.run.trace,
            profile: &run.run.profile,
            startup_s: run.run.startup_s,
            apart: String::new(),
            scenario: &run.run.scenario,
            promise: run.promise,
            rows: vec![Standing::new(run)],
        }
    }

    fn add(&mut self, run: &'a RunResult) {
        match self.rows.iter_mut().find(|row| row.policy == run.run.policy) {
            Some(row) => row.add(run),
            None => self.rows.push(Standing::new(run)),
        }
    }

    /// How many seeds any of its policies was played with.
    pub(super) fn seeds(&self) -> usize {
        let mut seeds: Vec<u64> = Vec::new();
        for run in self.rows.iter().flat_map(|row| &row.runs) {
            push_new(&mut seeds, run.run.seed);
        }
        seeds.len()
    }

    /// The policies that may win: played with every seed of the group, since an easy seed alone
    /// would win, and without knowing the future.
    pub(super) fn contenders(&self) -> impl Iterator<Item = &Standing<'a>> {
        let seeds = self.seeds();
        self.rows.iter().filter(move |row| row.runs.len() == seeds && !row.foresees())
    }

    /// Who kept the promise with the fewest GPU-hours, in the means over the seeds.
    pub(super) fn winner(&self) -> Option<&Standing<'a>> {
        self.contenders()
            .filter(|row| row.kept())
            .min_by(|a, b| a.gpu_hours().total_cmp(&b.gpu_hours()))
    }

    /// The group in words.
    pub(super) fn name(&self) -> String {
        format!("{}, {}, start-up {}{}", self.trace, self.profile, span(self.startup_s), self.apart)
    }
}

/// The text with everything that HTML gives a meaning to written as an entity.
pub(super) fn escape(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// The text for a cell of a Markdown table: no pipe ends it, no line break, no HTML.
pub(super) fn cell(s: &str) -> String {
    let one_line: String =
        s.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }).collect();
    escape(&one_line).replace('|', "\\|")
}

/// A number to three significant digits or so, without a tail of zeros.
pub(super) fn number(x: f64) -> String {
    if !x.is_finite() {
        return "–".to_owned();
    }
    let a = x.abs();
    let s = if a >= 100.0 {
        format!("{x:.0}")
    } else if a >= 10.0 {
        format!("{x:.1}")
    } else if a >= 0.1 || a == 0.0 {
        format!("{x:.2}")
    } else {
        format!("{x:.4}")
    };
    if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.').to_owned() } else { s }
}

/// A share in percent with two digits after the point. It is cut, not rounded: 98.999 is shown as
/// 98.99, so that a missed promise of 99 never reads as kept.
pub(super) fn percent(x: f64) -> String {
    if !x.is_finite() {
        return "–".to_owned();
    }
    // The small step undoes the error of the product, which would cut 99.1 to 99.09.
    let cut = (x * 100.0 + 1e-6).floor() / 100.0;
    let s = format!("{cut:.2}");
    s.strip_suffix('0').unwrap_or(&s).to_owned()
}

/// A share of one as a signed percentage; a dash where there is none.
pub(super) fn regret(x: Option<f64>) -> String {
    x.filter(|x| x.is_finite()).map_or_else(|| "–".to_owned(), |x| format!("{:+.1} %", x * 100.0))
}

/// Seconds in the largest unit that keeps the number at one or more.
pub(super) fn span(s: f64) -> String {
    // A week of hours is still read at a glance; only tick labels turn to days earlier.
    if s < 120.0 {
        format!("{} s", number(s))
    } else if s < 7_200.0 {
        format!("{} min", number(s / 60.0))
    } else if s < 172_800.0 {
        format!("{} h", number(s / 3_600.0))
    } else {
        format!("{} d", number(s / 86_400.0))
    }
}

/// The promise in words.
pub(super) fn promise(p: &Promise) -> String {
    let Promise { ttft_ms, itl_ms, percentile } = *p;
    format!(
        "{} % of requests with their first token within {} ms and a mean of at most {} ms between \
         tokens",
        number(percentile),
        number(ttft_ms),
        number(itl_ms)
    )
}

/// Whether the promise was kept over the whole run.
pub(super) fn kept(r: &RunResult) -> bool {
    r.score.attainment >= r.promise.percentile
}

/// Whether the row knew the future: it is a bound to measure against, not a policy to run.
pub(super) fn foresees(policy: &str) -> bool {
    let name = policy.split([':', '(', ' ', ',']).next().unwrap_or(policy);
    name == "oracle" || name == "static-best"
}

/// Policies by first appearance.
pub(super) fn policies(results: &[RunResult]) -> Vec<&str> {
    let mut seen = Vec::new();
    for r in results {
        push_new(&mut seen, r.run.policy.as_str());
    }
    seen
}

/// Adds what is not there yet. Lists here have a few dozen entries.
pub(super) fn push_new<T: PartialEq>(seen: &mut Vec<T>, x: T) {
    if !seen.contains(&x) {
        seen.push(x);
    }
}

/// Groups by first appearance, rows by the order of their policy over all groups.
pub(super) fn groups(results: &[RunResult]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for r in results {
        let run = &r.run;
        let same = |g: &&mut Group<'_>| {
            g.trace == run.trace
                && g.profile == run.profile
                && g.startup_s.total_cmp(&run.startup_s).is_eq()
                && g.scenario == run.scenario
                && g.promise.key() == r.promise.key()
        };
        match groups.iter_mut().find(same) {
            Some(g) => g.add(r),
            None => groups.push(Group::new(r)),
        }
    }
    tell_apart(&mut groups);
    let order = policies(results);
    for g in &mut groups {
        g.rows.sort_by_key(|r| order.iter().position(|p| *p == r.policy));
    }
    groups
}

/// Groups of one name are told apart by their promise and their scenario.
fn tell_apart(groups: &mut [Group<'_>]) {
    let names: Vec<String> = groups.iter().map(Group::name).collect();
    for (i, g) in groups.iter_mut().enumerate() {
        if names.iter().filter(|name| **name == names[i]).count() < 2 {
            continue;
        }
        let Promise { ttft_ms, itl_ms, percentile } = g.promise;
        g.apart = format!(
            ", {} % TTFT {} ms ITL {} ms",
            number(percentile),
            number(ttft_ms),
            number(itl_ms)
        );
        if !g.scenario.is_empty() {
            let short: String = g.scenario.chars().take(8).collect();
            g.apart = format!("{}, scenario {short}", g.apart);
        }
    }
}
