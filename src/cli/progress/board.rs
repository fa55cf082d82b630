//! The live table of a simulation, as text.

use crate::backtest::{Promise, Spread};
use crate::cli::tally::{Tally, clock};
use crate::sim::{Ended, PoolView, SimTime, Sink};
use crate::units::{Role, floor_to_u32};

/// What the table is of.
#[derive(Debug)]
pub(super) struct Board {
    /// Simulations begun; a search in hindsight tries many.
    runs: u32,
    now: SimTime,
    tally: Tally,
    /// Length of an interval, seconds.
    interval_s: f64,
    /// The interval that fills, and the last one that is full.
    filling: Interval,
    full: Option<Interval>,
}

/// Requests that came, and those that ended, within one interval.
#[derive(Clone, Debug, Default)]
struct Interval {
    number: u32,
    arrivals: u64,
    ttft: Spread,
    itl: Spread,
}

impl Board {
    pub(super) fn new(promise: Promise, interval_s: f64) -> Self {
        Self {
            runs: 0,
            now: SimTime::ZERO,
            tally: Tally::new(promise),
            interval_s: interval_s.max(1.0),
            filling: Interval::default(),
            full: None,
        }
    }

    /// The time of the simulation.
    pub(super) const fn now(&self) -> SimTime {
        self.now
    }

    fn advance(&mut self, at: SimTime) {
        self.now = self.now.max(at);
        let number = floor_to_u32(self.now.as_secs() / self.interval_s);
        if number > self.filling.number {
            let next = Interval { number, ..Interval::default() };
            let full = std::mem::replace(&mut self.filling, next);
            // Where intervals were skipped, nothing happened in the last one.
            let quiet = || Interval { number: number - 1, ..Interval::default() };
            self.full = Some(if full.number + 1 == number { full } else { quiet() });
        }
    }

    /// The table: figures of an interval are those of the last full one.
    pub(super) fn table(&mut self) -> String {
        self.tally.account(self.now.as_secs());
        let mut rows = vec![("time".to_owned(), clock(self.now.as_secs()))];
        if self.runs > 1 {
            rows.push(("try".to_owned(), self.runs.to_string()));
        }
        let full = self.full.as_ref();
        let rate = full.map(|i| i.arrivals as f64 / self.interval_s);
        rows.push(("arrivals/s".to_owned(), figure(rate)));
        for (role, (pool, _)) in &self.tally.pools {
            let PoolView { desired, ready, starting, draining: _, pending } = pool;
            let waits =
                if *pending > 0 { format!(", {pending} without GPUs") } else { String::new() };
            let counts =
                format!("{desired:>4} wanted {ready:>4} serving {starting:>4} starting{waits}");
            rows.push((role.to_string(), counts));
        }
        let p95 = |of: fn(&Interval) -> &Spread| figure(full.and_then(|i| of(i).quantile(0.95)));
        let good = format!("{:.2} of {}", self.tally.attainment(), self.tally.requests);
        rows.extend([
            ("good %".to_owned(), good),
            ("TTFT p95 ms".to_owned(), p95(|i| &i.ttft)),
            ("ITL p95 ms".to_owned(), p95(|i| &i.itl)),
            ("GPU-hours".to_owned(), format!("{:.2}", self.tally.gpu_hours())),
        ]);
        let lines: Vec<String> = rows
            .iter()
            .map(|(name, value)| format!("  {name:<12} {}", value.trim_start()))
            .collect();
        lines.join("\n")
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |x| format!("{x:.1}"))
}

impl Sink for Board {
    fn began(&mut self) {
        let runs = self.runs.saturating_add(1);
        *self = Self { runs, ..Self::new(self.tally.promise, self.interval_s) };
    }

    fn arrived(&mut self, at: SimTime) {
        self.advance(at);
        self.filling.arrivals += 1;
    }

    fn ended(&mut self, ended: &Ended) {
        self.advance(ended.at);
        self.tally.ended(ended);
        if let Some(ms) = ended.ttft_ms() {
            self.filling.ttft.add(ms);
        }
        if let Some(ms) = ended.itl_ms() {
            self.filling.itl.add(ms);
        }
    }

    fn fleet(&mut self, at: SimTime, role: Role, pool: PoolView, gpus: u32) {
        self.advance(at);
        self.tally.fleet(at, role, pool, gpus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::End;
    use crate::trace::Request;
    use crate::units::Timestamp;

    const PROMISE: Promise = Promise { ttft_ms: 500.0, itl_ms: 50.0, percentile: 95.0 };

    fn at(seconds: u64) -> SimTime {
        SimTime::from_nanos(seconds * 1_000_000_000)
    }

    /// A request of 11 tokens that came at `arrived`: first token after 0.4 s, the last `took` later.
    fn ended(arrived: u64, took: u64) -> Ended {
        let request =
            Request { at: Timestamp::from_millis(0), isl: 100, osl: 11, prefix_hit: None };
        let first = Some(at(arrived).plus_nanos(400_000_000));
        Ended { request, arrived: at(arrived), first, at: at(arrived + took), end: End::Complete }
    }

    fn board() -> Board {
        let mut board = Board::new(PROMISE, 60.0);
        board.began();
        let pool = PoolView { desired: 3, ready: 2, starting: 1, draining: 0, pending: 0 };
        board.fleet(at(0), Role::Decode, pool, 2);
        board
    }

    #[test]
    fn the_table_shows_the_last_full_interval_and_what_came_so_far() {
        let mut board = board();
        for second in 0..6 {
            board.arrived(at(second));
        }
        // 0.06 s between tokens is slow, 0.16 s too.
        board.ended(&ended(1, 1));
        board.ended(&ended(2, 2));
        let early = board.table();
        assert!(early.contains("arrivals/s   -\n"), "no interval is full yet:\n{early}");
        board.arrived(at(61));
        board.ended(&ended(3500, 100));
        let shown = board.table();
        let expected = "  time         01:00:00\n  arrivals/s   0.0";
        assert!(shown.starts_with(expected), "nothing came in the last full interval:\n{shown}");
        assert!(shown.contains("decode       3 wanted    2 serving    1 starting"), "{shown}");
        assert!(shown.contains("good %       0.00 of 3"), "{shown}");
        assert!(shown.ends_with("GPU-hours    6.00"), "three replicas of two GPUs:\n{shown}");
    }

    #[test]
    fn latencies_are_those_that_ended_in_the_interval() {
        let mut board = board();
        board.arrived(at(1));
        board.ended(&ended(1, 1));
        board.arrived(at(60));
        let shown = board.table();
        for expected in
            ["arrivals/s   0.0", "TTFT p95 ms  398.", "ITL p95 ms   60.", "time         00:01:00"]
        {
            assert!(shown.contains(expected), "{expected}:\n{shown}");
        }
        board.began();
        board.arrived(at(2));
        let again = board.table();
        assert!(
            again.contains("try          2") && again.contains("good %       100.00 of 0"),
            "{again}"
        );
        assert!(
            again.contains("TTFT p95 ms  -"),
            "what was of another simulation is gone:\n{again}"
        );
    }
}
