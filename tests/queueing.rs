//! The queueing model against the simulator, on few of the fleets of `examples/queueing`, which plays
//! them all: TTFT p95 of prefill pools from 30 to 95 % load, three dispersions, 1 to 16 engines.
//!
//! `cargo test --test queueing -- --nocapture` prints every point.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail loudly, and print")]

#[allow(dead_code, reason = "the example plays and prints more")]
#[path = "../examples/queueing/grid.rs"]
mod grid;

use grid::{ATTENTION, Arrivals, Cell, Effort, Point, errors};

const EFFORT: Effort = Effort { requests: 3_000.0, least: 2, most: 2, uncertain: 0.0 };

/// Engines and lengths take turns, so that each load, dispersion and size meets them all.
fn cells() -> Vec<Cell> {
    let engines_and_lengths = [
        ("aic_qwen3-32b_h200_vllm_tp2", 3000.0, 0.0),
        ("measured_llama-3.1-8b-fp8_h200_vllm_tp1", 1500.0, 1.0),
        ("aic_qwen3-32b_h200_vllm_tp2", 1500.0, 1.0),
        ("measured_llama-3.1-8b-fp8_h200_vllm_tp1", 3000.0, 0.0),
    ];
    let mut turns = engines_and_lengths.into_iter().cycle();
    let mut all = Vec::new();
    for engines in [1, 4, 16] {
        for dispersion in [1.0, 2.5, 6.0] {
            for load in [0.3, 0.5, 0.7, 0.9, 0.95] {
                // Long queues take long to settle.
                if load > 0.9 && dispersion > 1.0 {
                    continue;
                }
                let (profile, isl, cv2) = turns.next().unwrap();
                let arrivals = Arrivals::Gaps;
                let attention = ATTENTION;
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
    all
}

#[test]
fn ttft_is_within_15_percent_in_the_median_and_30_for_19_of_20() {
    let points: Vec<Point> = cells().iter().map(|cell| cell.point(EFFORT)).collect();
    for point in &points {
        let Point { cell, simulated, uncertain, model, requests } = point;
        println!(
            "{} {}/{} x{} at {} dispersion {}: {model:.0} for {simulated:.0} +- {uncertain:.0} \
             ({:+.0} %, {requests} requests)",
            cell.profile,
            cell.isl,
            cell.cv2,
            cell.engines,
            cell.load,
            cell.dispersion,
            point.error() * 100.0
        );
    }
    let errors = errors(&points, |_| true);
    println!("{errors:?}");
    assert!(errors.points == 39 && errors.median <= 0.15 && errors.p95 <= 0.30, "{errors:?}");
}
