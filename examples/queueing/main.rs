//! The queueing model against the simulator: TTFT p95 of 360 prefill fleets.
//!
//! `cargo run --release --no-default-features --example queueing` prints a line for each and the
//! errors by kind, then the same for requests that come in groups; `-- gaps` and `-- groups` play one
//! half. With `-- --quick` runs are shorter and fewer, and the simulated figures less certain.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "it may fail loudly, and prints")]

mod grid;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use grid::{ATTENTION, Arrivals, Cell, Effort, Point, errors};

const PROFILES: [&str; 2] =
    ["aic_qwen3-32b_h200_vllm_tp2", "measured_llama-3.1-8b-fp8_h200_vllm_tp1"];
/// Mean prompt in tokens, and squared coefficient of variation.
const LENGTHS: [(f64, f64); 2] = [(3000.0, 0.0), (1500.0, 1.0)];
const ENGINES: [u32; 5] = [1, 2, 4, 8, 16];
const LOADS: [f64; 6] = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95];
const DISPERSIONS: [f64; 3] = [1.0, 2.5, 6.0];
const WHOLE: Effort = Effort { requests: 10_000.0, least: 4, most: 40, uncertain: 0.02 };
const QUICK: Effort = Effort { requests: 2_500.0, least: 2, most: 2, uncertain: 0.0 };

fn grid(arrivals: Arrivals, attention: f64) -> Vec<Cell> {
    let mut all = Vec::new();
    for profile in PROFILES {
        for (isl, cv2) in LENGTHS {
            for engines in ENGINES {
                for load in LOADS {
                    for dispersion in DISPERSIONS {
                        all.push(Cell {
                            profile,
                            isl,
                            cv2,
                            engines,
                            load,
                            arrivals,
                            dispersion,
                            attention,
                        });
                    }
                }
            }
        }
    }
    all
}

/// All of them, two or more at a time, in the order given.
fn play(cells: &[Cell], effort: Effort) -> Vec<Point> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let point = cell.point(effort);
                    done.lock().unwrap().push(point);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

fn line(point: &Point) {
    let Point { cell, simulated, uncertain, model, requests } = *point;
    let Cell { profile, isl, cv2, engines, load, arrivals, dispersion, attention } = cell;
    println!(
        "{profile},{isl},{cv2},{engines},{load},{arrivals:?},{dispersion},{attention},{requests},\
         {simulated:.1},{uncertain:.1},{model:.1},{:+.1}",
        point.error() * 100.0
    );
}

fn row(name: &str, points: &[Point], these: impl Fn(&Point) -> bool) {
    let e = errors(points, these);
    let [median, p95, most, bias] = [e.median, e.p95, e.most, e.bias].map(|x| x * 100.0);
    println!("| {name} | {} | {median:.1} | {p95:.1} | {most:.1} | {bias:+.1} |", e.points);
}

fn table(points: &[Point]) {
    println!("\n| | points | median % | p95 % | largest % | mean with sign % |");
    println!("|---|---|---|---|---|---|");
    row("all", points, |_| true);
    for load in LOADS {
        row(&format!("load {load}"), points, |p| p.cell.load == load);
    }
    for dispersion in DISPERSIONS {
        row(&format!("dispersion {dispersion}"), points, |p| p.cell.dispersion == dispersion);
    }
    for engines in ENGINES {
        row(&format!("{engines} engines"), points, |p| p.cell.engines == engines);
    }
    for (isl, cv2) in LENGTHS {
        row(&format!("prompts of {isl}, cv2 {cv2}"), points, |p| p.cell.cv2 == cv2);
    }
    for profile in PROFILES {
        row(profile, points, |p| p.cell.profile == profile);
    }
    let unsure: Vec<f64> = points.iter().map(|p| p.uncertain / p.simulated * 100.0).collect();
    println!(
        "standard error of the simulated p95: {:.1} % on average, {:.1} % at most",
        unsure.iter().sum::<f64>() / unsure.len() as f64,
        unsure.iter().copied().fold(0.0, f64::max)
    );
}

#[expect(clippy::disallowed_methods, reason = "an example is its own command line")]
fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let asks = |what: &str| asked.iter().any(|arg| arg == what);
    let effort = if asks("--quick") { QUICK } else { WHOLE };
    let halves = [("gaps", Arrivals::Gaps), ("groups", Arrivals::Groups)];
    let named = halves.iter().any(|(name, _)| asks(name));
    println!(
        "profile,isl,cv2,engines,load,arrivals,dispersion,attention,requests,simulated,\
         uncertain,model,error %"
    );
    for (_, arrivals) in halves.into_iter().filter(|(name, _)| !named || asks(name)) {
        let mut points = play(&grid(arrivals, ATTENTION), effort);
        let rank = |p: &Point| {
            let Cell { profile, cv2, engines, load, dispersion, .. } = p.cell;
            let scaled = [cv2, load, dispersion].map(f64::to_bits);
            (profile, scaled[0], engines, scaled[1], scaled[2])
        };
        points.sort_by_key(rank);
        points.iter().for_each(line);
        println!("\nArrivals by {arrivals:?}:");
        table(&points);
    }
}
