//! Decode as Dynamo 0.9.0 interpolates it.

use super::super::engine::EngineProfile;
use super::super::error::ProfileError;
use super::clough_tocher::{Mesh, Surface};
use crate::units::round_to_u32;

/// Cells along each axis of the grid.
const CELLS: usize = 100;

/// Inter-token latency and throughput on a grid of 100 by 100 cells: KV usage from 0 to 1, context
/// from 0 to the largest measured. A lookup takes the nearest cell.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamoDecode {
    itl: Vec<f64>,
    throughput: Vec<f64>,
    context_step: f64,
    max_kv_tokens: f64,
}

/// What Dynamo 0.9.0 takes as the best operating point for a latency target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Output tokens per second and GPU; may be negative, where the surface overshoots.
    pub throughput_per_gpu: f64,
    /// The latency of that cell, in ms; above the target where no cell meets it.
    pub itl: f64,
    /// The KV usage of that cell, 0 to 1.
    pub kv_usage: f64,
}

impl DynamoDecode {
    /// From the points of a profile as read.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Degenerate`] where the points span no triangle (one context only) or have no
    /// throughput column: Dynamo fails to start on each of them.
    pub fn new(profile: &EngineProfile) -> Result<Self, ProfileError> {
        let refuse = |needed, found: String| ProfileError::Degenerate { needed, found };
        let mut places: Vec<[f64; 2]> = Vec::new();
        let (mut itl, mut throughput) = (Vec::new(), Vec::new());
        for p in profile.decode_points() {
            let place = [p.kv_usage, p.context.get()];
            let Some(t) = p.throughput_per_gpu else {
                return Err(refuse("the column z_thpt_per_gpu", "none".to_owned()));
            };
            // Of points at one place the first stands; a triangulation cannot hold both.
            if !places.contains(&place) {
                places.push(place);
                itl.push(p.itl.get());
                throughput.push(t.get());
            }
        }
        let mesh = Mesh::new(&places).ok_or_else(|| {
            refuse("decode points at two contexts or more", format!("{} on a line", places.len()))
        })?;
        let last = places.iter().map(|p| p[1]).fold(0.0, f64::max);
        let context_step = last / (CELLS - 1) as f64;
        let place = |cell: usize| {
            let (iy, ix) = (cell / CELLS, cell % CELLS);
            // The last cell is the largest context itself: a rounded product could miss the hull.
            [kv_of(ix), if iy + 1 == CELLS { last } else { iy as f64 * context_step }]
        };
        let grid = |values: &[f64]| -> Vec<f64> {
            let surface = Surface::new(&mesh, values);
            (0..CELLS * CELLS)
                .map(|cell| {
                    let q = place(cell);
                    surface.at(q).unwrap_or_else(|| values[nearest(&places, q)])
                })
                .collect()
        };
        Ok(Self {
            itl: grid(&itl),
            throughput: grid(&throughput),
            context_step,
            // Dynamo cuts it to a whole number.
            max_kv_tokens: profile.decode().max_kv_tokens().get().floor(),
        })
    }

    /// Inter-token latency in ms with `concurrency` sequences of `context` tokens.
    #[must_use]
    pub fn itl(&self, concurrency: f64, context: f64) -> f64 {
        self.itl[self.cell(concurrency, context)]
    }

    /// Output tokens per second and GPU with `concurrency` sequences of `context` tokens; may be
    /// negative, where the surface overshoots.
    #[must_use]
    pub fn throughput_per_gpu(&self, concurrency: f64, context: f64) -> f64 {
        self.throughput[self.cell(concurrency, context)]
    }

    /// The cell of highest KV usage whose latency is at most `itl` ms at `context` tokens; where
    /// there is none, the cell of no usage at all.
    #[must_use]
    pub fn best_throughput_per_gpu(&self, itl: f64, context: f64) -> Best {
        let row = nearest_cell(context / self.context_step) * CELLS;
        let found = (0..CELLS).rev().find(|&ix| self.itl[row + ix] <= itl).unwrap_or(0);
        Best {
            throughput_per_gpu: self.throughput[row + found],
            itl: self.itl[row + found],
            kv_usage: kv_of(found),
        }
    }

    fn cell(&self, concurrency: f64, context: f64) -> usize {
        let usage = concurrency * context / self.max_kv_tokens;
        let ix = nearest_cell(usage / kv_of(1));
        nearest_cell(context / self.context_step) * CELLS + ix
    }
}

fn kv_of(ix: usize) -> f64 {
    ix as f64 / (CELLS - 1) as f64
}

fn nearest_cell(x: f64) -> usize {
    usize::try_from(round_to_u32(x)).map_or(CELLS - 1, |i| i.min(CELLS - 1))
}

/// The point nearest to `q`; the first of those as near.
fn nearest(points: &[[f64; 2]], q: [f64; 2]) -> usize {
    let distance = |p: &[f64; 2]| (p[0] - q[0]).powi(2) + (p[1] - q[1]).powi(2);
    let mut best = (f64::INFINITY, 0);
    for (i, p) in points.iter().enumerate() {
        let d = distance(p);
        if d < best.0 {
            best = (d, i);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::super::DynamoPrefill;
    use super::*;
    use crate::profile::library;
    use crate::units::Tokens;

    fn close(got: f64, printed: f64, digits: i32) {
        let step = 10_f64.powi(-digits);
        assert!((got - printed).abs() <= 0.5001 * step, "got {got}, printed {printed}");
    }

    /// Values printed by Dynamo 0.9.0 for its shipped H200 profile of Llama 3.1 8B.
    #[test]
    fn prefill_answers_as_dynamo_printed() {
        let p = DynamoPrefill::new(&library::get(library::DEFAULT).unwrap()).unwrap();
        for (isl, ttft, throughput) in [
            (777.0, 33.3266, 22504.273),
            (3000.0, 60.4587, 49481.094),
            (8000.0, 165.0618, 48548.637),
            (50.0, 19.5252, 5121.584),
            (20_000.0, 375.4826, 43602.551),
        ] {
            close(p.ttft(isl), ttft, 4);
            close(p.throughput_per_gpu(isl), throughput, 3);
        }
    }

    #[test]
    fn decode_answers_as_dynamo_printed() {
        let d = DynamoDecode::new(&library::get(library::DEFAULT).unwrap()).unwrap();
        for (batch, context, itl, throughput, cell) in
            [(8.0, 1000.0, 5.8668, 1740.250, (1, 7)), (32.0, 3075.0, 7.9613, 3433.225, (10, 22))]
        {
            assert_eq!(d.cell(batch, context), cell.1 * CELLS + cell.0);
            close(d.itl(batch, context), itl, 4);
            close(d.throughput_per_gpu(batch, context), throughput, 3);
        }
        for (target, context, throughput, itl, kv, digits) in [
            (20.0, 3075.0, 6180.580, 19.6705, 0.4040, 4),
            (50.0, 8000.0, 3156.576, 33.7199, 1.0, 1),
            (5.0, 3075.0, 446.726, 4.6610, 0.0101, 4),
        ] {
            let best = d.best_throughput_per_gpu(target, context);
            close(best.throughput_per_gpu, throughput, 3);
            close(best.itl, itl, 4);
            close(best.kv_usage, kv, digits);
        }
    }

    #[test]
    fn the_surface_overshoots_as_published() {
        let d = DynamoDecode::new(&library::get(library::DEFAULT).unwrap()).unwrap();
        assert_eq!(d.throughput.iter().filter(|&&t| t < 0.0).count(), 4);
        let lowest = d.throughput.iter().copied().fold(f64::MAX, f64::min);
        close(lowest, -19.0, 0);
    }

    #[test]
    fn what_dynamo_cannot_read_is_refused() {
        let few = crate::profile::EngineProfile::from_points(
            &[(100.0, 9.0)],
            &[(1.0, 100.0, 5.0)],
            Tokens::clamped(1e5),
        )
        .unwrap();
        assert_eq!(DynamoPrefill::new(&few).unwrap_err().label(), "degenerate");
        assert_eq!(DynamoDecode::new(&few).unwrap_err().label(), "degenerate");
    }
}
