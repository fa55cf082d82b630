//! Keeps the score of a run while it goes on, in memory that does not grow with its requests.

use std::collections::BTreeMap;

use super::spread::Spread;
use super::{Change, Counts, Promise, Recovery, Row, Score, Timeline};
use crate::sim::{End, Ended, PoolView, SimTime, Sink, Summary};
use crate::units::{Role, floor_to_u32};

/// Length of the buckets of arrivals in which a broken promise is looked for, seconds.
const SPELL_BUCKET_S: f64 = 10.0;

/// Rows of a timeline that are being filled at once: a request ends long after it came. Later ones
/// count for the oldest row that is kept open.
const OPEN_ROWS: usize = 720;

/// Scores a run.
#[derive(Debug)]
pub struct Scorer {
    promise: Promise,
    score: Score,
    ttft: Spread,
    itl: Spread,
    /// Arrivals, and good ones of them, by bucket.
    buckets: Vec<(u32, u32)>,
    gpus: BTreeMap<Role, u32>,
    direction: BTreeMap<Role, bool>,
    reversals: u64,
    course: Option<Course>,
}

/// The rows of the timeline.
#[derive(Debug)]
struct Course {
    timeline: Timeline,
    open: BTreeMap<usize, (Spread, Spread, u32, u32)>,
    now: BTreeMap<Role, Counts>,
    forecast: Option<[f64; 3]>,
}

impl Scorer {
    /// Scores by `promise`; with a timeline of rows of `step_s` seconds where one is wanted.
    #[must_use]
    pub fn new(promise: Promise, step_s: Option<f64>) -> Self {
        let course = step_s.filter(|step| *step > 0.0).map(|step_s| Course {
            timeline: Timeline { step_s, ..Timeline::default() },
            open: BTreeMap::new(),
            now: BTreeMap::new(),
            forecast: None,
        });
        Self {
            promise,
            score: Score::default(),
            ttft: Spread::default(),
            itl: Spread::default(),
            buckets: Vec::new(),
            gpus: BTreeMap::new(),
            direction: BTreeMap::new(),
            reversals: 0,
            course,
        }
    }

    /// The score so far, as if the run had ended as `summary` says.
    #[must_use]
    pub fn finish(self, summary: &Summary) -> (Score, Option<Timeline>) {
        let Self { promise, mut score, ttft, itl, buckets, reversals, course, .. } = self;
        score.requests = summary.requests;
        score.beyond_profile = summary.beyond_profile;
        score.attainment = share(score.good, score.requests);
        score.gpu_hours = summary.gpu_nanos as f64 / 3.6e12;
        score.good_per_gpu_hour =
            if score.gpu_hours > 0.0 { score.good as f64 / score.gpu_hours } else { 0.0 };
        (score.ttft_ms, score.itl_ms) = (ttft.percentiles(), itl.percentiles());
        score.duration_s = summary.end.as_secs();
        let hours = (score.duration_s / 3600.0).max(1e-9);
        score.changes_per_hour = score.changes as f64 / hours;
        score.reversals_per_hour = reversals as f64 / hours;
        score.recovery = recovery(&buckets, promise.percentile);
        (score, course.map(|c| c.close(summary.end)))
    }

    fn is_good(&mut self, ended: &Ended) -> bool {
        let Promise { ttft_ms, itl_ms, percentile: _ } = self.promise;
        match ended.end {
            End::Complete => self.score.completed += 1,
            End::Lost => self.score.lost += 1,
            End::Unfinished => self.score.unfinished += 1,
        }
        let late = match ended.ttft_ms() {
            Some(ms) => {
                self.ttft.add(ms);
                ms > ttft_ms
            }
            // Its wait so far is what is known of it.
            None => ended.at.since(ended.arrived) as f64 / 1e6 > ttft_ms,
        };
        let slow = ended.itl_ms().is_some_and(|ms| {
            self.itl.add(ms);
            ms > itl_ms
        });
        self.score.late_ttft += u64::from(late);
        self.score.slow_itl += u64::from(slow);
        self.promise.is_kept_by(ended)
    }
}

impl Sink for Scorer {
    fn ended(&mut self, ended: &Ended) {
        let good = self.is_good(ended);
        self.score.good += u64::from(good);
        let arrived = ended.arrived.as_secs();
        let bucket = place(arrived / SPELL_BUCKET_S);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, (0, 0));
        }
        self.buckets[bucket].0 += 1;
        self.buckets[bucket].1 += u32::from(good);
        if let Some(course) = &mut self.course {
            course.ended(ended, arrived, good);
        }
    }

    fn fleet(&mut self, at: SimTime, role: Role, pool: PoolView, gpus: u32) {
        let PoolView { desired, ready, starting, draining, pending: _ } = pool;
        self.gpus.insert(role, pool.holding() * gpus);
        let gpus = self.gpus.values().sum();
        self.score.peak_gpus = self.score.peak_gpus.max(gpus);
        if let Some(course) = &mut self.course {
            course.advance(at);
            let counts = Counts { wanted: desired, serving: ready, starting, draining };
            course.now.insert(role, counts);
            course.set(at, gpus);
        }
    }

    fn ordered(&mut self, at: SimTime, role: Role, from: u32, to: u32, why: &str) {
        let up = to > from;
        self.score.changes += 1;
        if self.direction.insert(role, up).is_some_and(|before| before != up) {
            self.reversals += 1;
        }
        if let Some(course) = &mut self.course {
            let why = why.to_owned();
            course.timeline.decisions.push(Change { t_s: at.as_secs(), role, from, to, why });
        }
    }

    fn forecast(&mut self, at: SimTime, rate: [f64; 3]) {
        if let Some(course) = &mut self.course {
            course.advance(at);
            course.forecast = Some(rate);
        }
    }
}

impl Course {
    fn row_of(&self, seconds: f64) -> usize {
        place(seconds / self.timeline.step_s)
    }

    /// Makes the rows up to `at`, each like the one before it.
    fn advance(&mut self, at: SimTime) {
        let last = self.row_of(at.as_secs());
        while self.timeline.rows.len() <= last {
            let n = self.timeline.rows.len();
            self.timeline.rows.push(Row {
                t_s: n as f64 * self.timeline.step_s,
                forecast: self.forecast,
                pools: self.now.clone(),
                gpus: self.timeline.rows.last().map_or(0, |row| row.gpus),
                ..Row::default()
            });
        }
        while self.open.len() > OPEN_ROWS {
            if let Some((row, filled)) = self.open.pop_first() {
                self.fill(row, &filled);
            }
        }
    }

    fn set(&mut self, at: SimTime, gpus: u32) {
        let row = self.row_of(at.as_secs());
        let row = &mut self.timeline.rows[row];
        row.pools.clone_from(&self.now);
        row.gpus = gpus;
    }

    fn ended(&mut self, ended: &Ended, arrived: f64, good: bool) {
        self.advance(ended.at);
        let oldest = self.open.keys().next().copied().unwrap_or(0);
        let row = self.row_of(arrived).max(if self.open.len() >= OPEN_ROWS { oldest } else { 0 });
        let (ttft, itl, n, of_them_good) = self.open.entry(row).or_default();
        if let Some(ms) = ended.ttft_ms() {
            ttft.add(ms);
        }
        if let Some(ms) = ended.itl_ms() {
            itl.add(ms);
        }
        *n += 1;
        *of_them_good += u32::from(good);
    }

    fn fill(&mut self, row: usize, filled: &(Spread, Spread, u32, u32)) {
        let (ttft, itl, n, good) = filled;
        let row = &mut self.timeline.rows[row];
        row.rps += f64::from(*n) / self.timeline.step_s;
        row.ttft_p95_ms = ttft.quantile(0.95);
        row.itl_p95_ms = itl.quantile(0.95);
        row.good = Some(share(u64::from(*good), u64::from(*n)));
    }

    fn close(mut self, end: SimTime) -> Timeline {
        self.advance(end);
        while let Some((row, filled)) = self.open.pop_first() {
            self.fill(row, &filled);
        }
        for row in &mut self.timeline.rows {
            // Nobody came, which is a rate of nothing and no share.
            if row.good.is_none() {
                row.rps = 0.0;
            }
        }
        self.timeline
    }
}

fn place(x: f64) -> usize {
    usize::try_from(floor_to_u32(x)).unwrap_or(usize::MAX)
}

/// `part` of `whole` in percent; 100 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// Spells of buckets in a row in which the promise was broken. A bucket without an arrival neither
/// begins nor ends one.
fn recovery(buckets: &[(u32, u32)], percentile: f64) -> Recovery {
    let mut spells: Vec<f64> = Vec::new();
    let mut since: Option<usize> = None;
    let mut last = 0;
    for (i, (n, good)) in buckets.iter().enumerate().filter(|(_, (n, _))| *n > 0) {
        let broken = share(u64::from(*good), u64::from(*n)) < percentile;
        if broken {
            since.get_or_insert(i);
            last = i;
        } else if let Some(from) = since.take() {
            spells.push((last + 1 - from) as f64 * SPELL_BUCKET_S);
        }
    }
    if let Some(from) = since {
        spells.push((last + 1 - from) as f64 * SPELL_BUCKET_S);
    }
    let total: f64 = spells.iter().sum();
    Recovery {
        spells: u64::try_from(spells.len()).unwrap_or(u64::MAX),
        mean_s: if spells.is_empty() { 0.0 } else { total / spells.len() as f64 },
        longest_s: spells.iter().copied().fold(0.0, f64::max),
    }
}

#[cfg(test)]
mod tests;
