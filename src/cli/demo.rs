//! `sla-planner demo`: a simulated cluster with the planner in the loop, faster than life, on a
//! terminal.

mod scene;

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write};
use std::rc::Rc;
use std::time::Duration;

use super::backtest::Scenario;
use super::exit::CliError;
use super::fleet::Fleet;
use super::frontier::best_fleet;
use super::progress::Stopwatch;
use super::simulate;
use crate::backtest::policy::Ours;
use crate::backtest::{PlayError, Source as _};
use crate::sim::{Ended, Open, Orders, Policy, PoolView, SimTime, Sink, View, simulate as run};
use crate::units::{Role, seconds_of};

use scene::Scene;

/// Shows the planner at work on a simulated cluster, faster than life.
///
/// A day of chat in four hours, with a crowd on its way down, served by engines whose latency was
/// measured. Any trace and fleet of `simulate` can be shown instead.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    scenario: Scenario,
    /// Seconds of the cluster in a second here; 1 is real time.
    #[arg(long, value_name = "FACTOR", default_value_t = 480.0, value_parser = speed)]
    speed: f64,
}

/// What is shown where no trace is named: a day in four hours, and a crowd of fifteen times a small
/// service on its way down.
const LOADS: [&str; 2] = [
    "diurnal:rps=24,amplitude=0.9,period=4h,isl=3000,isl-cv=1,osl=150,osl-cv=1,for=4h",
    "flash:rps=1,at=3h,times=15,lasting=10m,isl=3000,isl-cv=1,osl=150,osl-cv=1,for=4h,seed=2",
];

/// Frames a second on a terminal.
const FRAMES: f64 = 8.0;

/// Between two lines where nobody watches.
const QUIET_STEP: Duration = Duration::from_secs(300);

fn speed(text: &str) -> Result<f64, String> {
    let fits = |x: &f64| (0.1..=100_000.0).contains(x);
    text.parse().ok().filter(fits).ok_or_else(|| "expected a factor from 0.1 to 100000".to_owned())
}

pub(super) fn main(args: &Args) -> Result<(), CliError> {
    let mut scenario = args.scenario.clone();
    if scenario.trace.traces.is_empty() {
        scenario.trace.traces = LOADS.iter().map(|load| (*load).to_owned()).collect();
    }
    let trace = scenario.trace.open(&scenario.fleet.promise)?;
    let case = scenario.fleet.case(&trace)?;
    super::talk("looking for the best fleet that never changes, to compare with (seconds) ...");
    let statics = best_fleet(&case, &trace)?;
    let terminal = std::io::stdout().is_terminal();
    let frame =
        if terminal { Duration::from_secs_f64((args.speed / FRAMES).max(0.1)) } else { QUIET_STEP };
    let scene = Scene::new(&case, &statics, Fleet::described(&case), args.speed, terminal);
    let scene = Rc::new(RefCell::new(scene));
    let mut policy =
        Paced::new(Ours::new(&case.setting), scene.clone(), frame, args.speed, std::io::stdout());
    let mut sink = Watching(scene.clone());
    let mut load = Open(trace.open().map_err(|e| trace.bad(e))?);
    let summary = run(&case.sim, &mut load, &mut policy, &mut sink)
        .map_err(|e| simulate::failed(PlayError::Sim(e), &trace))?;
    let mut scene = scene.borrow_mut();
    scene.now = seconds_of(Duration::from_nanos(summary.end.as_nanos()));
    let hours = summary.gpu_nanos as f64 / 3.6e12;
    print(&scene.last(hours))
}

fn print(text: &str) -> Result<(), CliError> {
    super::say(text)
}

/// A policy, woken for each frame; it decides when its own time has come.
struct Paced<P, W> {
    inner: P,
    /// When it wants to decide next.
    due: SimTime,
    scene: Rc<RefCell<Scene>>,
    /// Between two frames, and when the last one was.
    frame: Duration,
    drawn: SimTime,
    speed: f64,
    watch: Stopwatch,
    /// Where the frames go.
    out: W,
}

impl<P: Policy, W: Write> Paced<P, W> {
    fn new(inner: P, scene: Rc<RefCell<Scene>>, frame: Duration, speed: f64, out: W) -> Self {
        let due = SimTime::from_start(inner.first_tick());
        let watch = Stopwatch::start();
        Self { inner, due, scene, frame, drawn: SimTime::ZERO, speed, watch, out }
    }
}

impl<P: Policy, W: Write> Policy for Paced<P, W> {
    fn first_tick(&self) -> Duration {
        self.frame.min(self.inner.first_tick())
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = if view.now >= self.due {
            let orders = self.inner.decide(view);
            self.due = orders.next.unwrap_or(SimTime::NEVER);
            orders
        } else {
            Orders::default()
        };
        let draws = view.now >= self.drawn.plus(self.frame);
        if draws {
            self.drawn = view.now;
        }
        orders.next = Some(self.drawn.plus(self.frame).min(self.due));
        if !draws {
            return orders;
        }
        let text = {
            let mut scene = self.scene.borrow_mut();
            scene.now = view.now.as_secs();
            scene.frame()
        };
        let ahead = view.now.as_secs() / self.speed - seconds_of(self.watch.elapsed());
        if ahead > 0.0 {
            #[expect(clippy::disallowed_methods, reason = "the demo is watched by people")]
            std::thread::sleep(Duration::from_secs_f64(ahead));
        }
        // Where nobody reads any more, the end comes soon enough.
        drop(self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()));
        orders
    }
}

/// Tells the scene what happens.
struct Watching(Rc<RefCell<Scene>>);

impl Sink for Watching {
    fn arrived(&mut self, at: SimTime) {
        self.0.borrow_mut().arrived(at);
    }

    fn ended(&mut self, ended: &Ended) {
        self.0.borrow_mut().ended(ended);
    }

    fn fleet(&mut self, at: SimTime, role: Role, pool: PoolView, gpus: u32) {
        self.0.borrow_mut().fleet(at, role, pool, gpus);
    }

    fn ordered(&mut self, at: SimTime, role: Role, from: u32, to: u32, why: &str) {
        self.0.borrow_mut().ordered(at, role, from, to, why);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    #[command(no_binary_name = true)]
    struct Flags {
        #[command(flatten)]
        scenario: Scenario,
    }

    /// Decides twice, and notes when.
    #[derive(Default)]
    struct Noting(Vec<f64>);

    impl Policy for Noting {
        fn first_tick(&self) -> Duration {
            Duration::from_secs(10)
        }

        fn decide(&mut self, view: &View<'_>) -> Orders {
            self.0.push(view.now.as_secs());
            let again = SimTime::from_start(Duration::from_secs(25));
            Orders { next: (self.0.len() < 2).then_some(again), ..Orders::default() }
        }
    }

    #[test]
    fn the_policy_decides_at_its_own_times_and_not_at_those_of_the_frames() {
        for frame in [3, 7, 300] {
            let words = ["--trace", "poisson:rps=2,isl=100,osl=10,for=1m", "--initial", "1,1"];
            let Scenario { trace, fleet } = Flags::try_parse_from(words).unwrap().scenario;
            let trace = trace.open(&fleet.promise).unwrap();
            let case = fleet.case(&trace).unwrap();
            let statics = best_fleet(&case, &trace).unwrap();
            let scene = Scene::new(&case, &statics, String::new(), 1e9, false);
            let scene = Rc::new(RefCell::new(scene));
            let frame = Duration::from_secs(frame);
            let mut policy =
                Paced::new(Noting::default(), scene.clone(), frame, 1e9, std::io::sink());
            let mut load = Open(trace.open().unwrap());
            run(&case.sim, &mut load, &mut policy, &mut Watching(scene)).unwrap();
            assert_eq!(policy.inner.0, [10.0, 25.0], "{frame:?}");
        }
    }
}
