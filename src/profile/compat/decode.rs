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
    use crate::profile::tests::shipped_h100;
    use crate::units::Tokens;

    fn close(got: f64, printed: f64, digits: i32) {
        let step = 10_f64.powi(-digits);
        assert!((got - printed).abs() <= 0.5001 * step, "got {got}, printed {printed}");
    }

    /// One column of what Dynamo 0.9.0 printed for the tables it ships.
    struct Printed {
        profile: EngineProfile,
        /// TTFT in ms and tokens/s/GPU at 777, 3000, 8000, 50 and 20000 tokens.
        prefill: [(f64, f64); 5],
        /// ITL in ms and tokens/s/GPU at batch 8 of 1000 tokens, and at batch 32 of 3075.
        decode: [(f64, f64); 2],
        /// Tokens/s/GPU, ITL and KV usage for 20 ms at 3075 tokens, 50 at 8000, 5 at 3075.
        best: [(f64, f64, f64); 3],
    }

    fn printed() -> [Printed; 4] {
        [
            Printed {
                profile: library::get(library::DEFAULT).unwrap(),
                prefill: [
                    (33.3266, 22504.273),
                    (60.4587, 49481.094),
                    (165.0618, 48548.637),
                    (19.5252, 5121.584),
                    (375.4826, 43602.551),
                ],
                decode: [(5.8668, 1740.250), (7.9613, 3433.225)],
                best: [
                    (6180.580, 19.6705, 0.4040),
                    (3156.576, 33.7199, 1.0),
                    (446.726, 4.6610, 0.0101),
                ],
            },
            Printed {
                profile: shipped_h100("8"),
                prefill: [
                    (88.3344, 1395.293),
                    (84.3992, 3348.406),
                    (339.3188, 3031.981),
                    (18.9815, 658.538),
                    (703.8307, 2909.080),
                ],
                decode: [(11.3243, 235.768), (25.8711, 887.094)],
                best: [(878.511, 19.9490, 0.3232), (1253.860, 34.8535, 1.0), (13.188, 9.4602, 0.0)],
            },
            Printed {
                profile: shipped_h100("4"),
                prefill: [
                    (61.7538, 1250.864),
                    (175.8321, 2177.192),
                    (481.0700, 2079.410),
                    (23.4231, 533.662),
                    (1132.6963, 1807.634),
                ],
                decode: [(14.3937, 187.150), (37.7588, 601.130)],
                best: [(466.171, 19.5930, 0.1616), (975.157, 44.3677, 1.0), (10.276, 12.1427, 0.0)],
            },
            Printed {
                profile: shipped_h100("2"),
                prefill: [
                    (91.5106, 838.097),
                    (285.1592, 1344.570),
                    (804.7034, 1242.388),
                    (32.4609, 385.079),
                    (1957.1036, 1046.189),
                ],
                decode: [(20.0694, 134.886), (53.9307, 421.640)],
                best: [
                    (102.425, 19.6676, 0.0404),
                    (265.797, 49.7678, 0.6061),
                    (7.096, 17.5863, 0.0),
                ],
            },
        ]
    }

    #[test]
    fn prefill_answers_as_dynamo_printed() {
        for Printed { profile, prefill, .. } in printed() {
            let p = DynamoPrefill::new(&profile).unwrap();
            for (isl, (ttft, throughput)) in
                [777.0, 3000.0, 8000.0, 50.0, 20_000.0].into_iter().zip(prefill)
            {
                close(p.ttft(isl), ttft, 4);
                close(p.throughput_per_gpu(isl), throughput, 3);
            }
        }
    }

    #[test]
    fn decode_answers_as_dynamo_printed() {
        for Printed { profile, decode, best, .. } in printed() {
            let d = DynamoDecode::new(&profile).unwrap();
            for ((batch, context), (itl, throughput)) in
                [(8.0, 1000.0), (32.0, 3075.0)].into_iter().zip(decode)
            {
                close(d.itl(batch, context), itl, 4);
                close(d.throughput_per_gpu(batch, context), throughput, 3);
            }
            for ((target, context), (throughput, itl, kv)) in
                [(20.0, 3075.0), (50.0, 8000.0), (5.0, 3075.0)].into_iter().zip(best)
            {
                let best = d.best_throughput_per_gpu(target, context);
                close(best.throughput_per_gpu, throughput, 3);
                close(best.itl, itl, 4);
                close(best.kv_usage, kv, 4);
            }
        }
    }

    #[test]
    fn the_surface_overshoots_as_published() {
        let d = DynamoDecode::new(&library::get(library::DEFAULT).unwrap()).unwrap();
        let negative = |d: &DynamoDecode| d.throughput.iter().filter(|&&t| t < 0.0).count();
        assert_eq!(negative(&d), 4);
        let lowest = d.throughput.iter().copied().fold(f64::MAX, f64::min);
        close(lowest, -19.0, 0);
        for (tp, cells) in [("8", 1039), ("4", 1135), ("2", 1225)] {
            assert_eq!(negative(&DynamoDecode::new(&shipped_h100(tp)).unwrap()), cells);
        }
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
