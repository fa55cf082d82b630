//! What people see while something runs: never on standard output, and nothing at all where
//! standard error is no terminal.

mod board;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::traces::Trace;
use crate::backtest::Case;
use crate::sim::{Ended, PoolView, SimTime, Sink};
use crate::units::{Role, seconds_of};

use board::Board;

/// Wall-clock time of a piece of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "how long a simulation took is for people only")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "how long a simulation took is for people only")]
    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Does `work`, which tells what happens in its simulations of `case` on `trace`; meanwhile a bar
/// over the time of the trace and a live table are drawn, where somebody sees them.
pub(super) fn watched<T>(trace: &Trace, case: &Case, work: impl FnOnce(&mut dyn Sink) -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work(&mut ());
    }
    let mut live = Live::new(trace, case);
    let done = work(&mut live);
    live.bar.finish_and_clear();
    done
}

/// Between two pictures: often enough for the eye, and drawing takes no time that counts.
const PICTURE: Duration = Duration::from_millis(200);

/// The bar and the table on the terminal.
struct Live {
    bar: ProgressBar,
    board: Board,
    watch: Stopwatch,
    drawn: Duration,
    /// Told since the last look at the clock.
    told: u32,
}

impl Live {
    fn new(trace: &Trace, case: &Case) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template("{spinner} {elapsed} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.set_message(format!("reading {}", trace.name));
        bar.enable_steady_tick(PICTURE);
        // A trace that cannot be read is complained about by the run itself.
        let span = trace.span().unwrap_or_default();
        bar.disable_steady_tick();
        bar.set_length(millis(span));
        if let Ok(style) = ProgressStyle::with_template(
            "{spinner} {elapsed} {bar:40} {percent:>3} % {prefix}\n{msg}",
        ) {
            bar.set_style(style);
        }
        bar.set_prefix(format!("of {}", trace.name));
        let interval = seconds_of(case.setting.intervals.adjustment);
        let board = Board::new(case.promise(), interval);
        let watch = Stopwatch::start();
        Self { bar, board, watch, drawn: Duration::ZERO, told: 0 }
    }

    fn draw(&mut self) {
        /// Things told between two looks at the clock, which costs as much as a few of them.
        const EVERY: u32 = 64;
        self.told += 1;
        if self.told < EVERY {
            return;
        }
        self.told = 0;
        let now = self.watch.elapsed();
        if now >= self.drawn + PICTURE {
            self.drawn = now;
            self.bar.set_position(self.board.now().as_nanos() / 1_000_000);
            self.bar.set_message(self.board.table());
            self.bar.tick();
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Sink for Live {
    fn began(&mut self) {
        self.board.began();
    }

    fn arrived(&mut self, at: SimTime) {
        self.board.arrived(at);
        self.draw();
    }

    fn ended(&mut self, ended: &Ended) {
        self.board.ended(ended);
        self.draw();
    }

    fn fleet(&mut self, at: SimTime, role: Role, pool: PoolView, gpus: u32) {
        self.board.fleet(at, role, pool, gpus);
    }
}
