//! `sla-planner demo`: a simulated cluster with the planner in the loop, faster than life, on a
//! terminal.

mod scene;

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
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
    let mut policy = Paced {
        inner: Ours::new(&case.setting),
        due: SimTime::from_start(case.setting.intervals.adjustment),
        scene: scene.clone(),
        frame,
        drawn: SimTime::ZERO,
        speed: args.speed,
        watch: Stopwatch::start(),
    };
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

/// The planner, woken for each frame; it decides when its own time has come.
struct Paced {
    inner: Ours,
    due: SimTime,
    scene: Rc<RefCell<Scene>>,
    /// Between two frames, and when the last one was.
    frame: Duration,
    drawn: SimTime,
    speed: f64,
    watch: Stopwatch,
}

impl Policy for Paced {
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
        let mut out = std::io::stdout().lock();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
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
