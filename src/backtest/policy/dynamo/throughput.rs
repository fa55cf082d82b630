//! The throughput loop of Dynamo 1.6.1 (`core/throughput_scaling.py`, dynamo-planner.md 2.4 to 2.6),
//! and what both loops do with a budget.

use std::time::Duration;

use super::budget::{Band, Guard, Lane, clamp_pair, fit_pair, guard_pair, guard_single};
use super::predict::{Kind, Predictor};
use crate::sim::{Counter, Family, Metrics};
use crate::units::ceil_to_u32;

/// What is expected of the next interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Demand {
    /// Requests a second.
    pub(super) rps: f64,
    /// Mean prompt tokens.
    pub(super) isl: f64,
    /// Mean output tokens.
    pub(super) osl: f64,
}

/// The three series of one deployment.
#[derive(Clone, Debug)]
pub(super) struct Forecast {
    interval: Duration,
    requests: Predictor,
    isl: Predictor,
    osl: Predictor,
    shape: Option<(f64, f64)>,
}

impl Forecast {
    pub(super) fn new(interval: Duration, kind: Kind) -> Self {
        let predictor = || Predictor::v16(kind);
        let (requests, isl, osl) = (predictor(), predictor(), predictor());
        Self { interval, requests, isl, osl, shape: None }
    }

    /// Learns the interval that ended and predicts the next. `None` where the demand is unknown: no
    /// answer, or requests that started and means that are not there (2.4); no point is learnt then.
    /// An idle interval teaches zero requests of the last observed lengths.
    pub(super) fn observe(&mut self, metrics: &Metrics) -> Option<Demand> {
        let count = metrics.increase(Counter::Started, self.interval)?;
        let idle = count <= 0.0;
        let means = [Family::Ttft, Family::Itl, Family::Isl, Family::Osl, Family::Duration]
            .map(|family| metrics.mean(family, self.interval));
        if !idle && means.contains(&None) {
            return None;
        }
        if let (false, [_, _, Some(isl), Some(osl), _]) = (idle, means) {
            self.shape = Some((isl, osl));
        }
        // Idleness before the first request is no point.
        let (isl, osl) = self.shape?;
        self.requests.add(count.max(0.0));
        self.isl.add(isl);
        self.osl.add(osl);
        Some(Demand {
            rps: self.requests.predict() / self.interval.as_secs_f64(),
            isl: self.isl.predict(),
            osl: self.osl.predict(),
        })
    }
}

/// The roles of a deployment by number: one, or prefill and decode. Counts are in that order.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    pub(super) lanes: Vec<Lane>,
    pub(super) band: Band,
    /// `max_throughput_scaling_replicas`.
    pub(super) cap: i64,
}

impl Lanes {
    /// `ceil(demand / rps)` of one engine, at least the floor.
    pub(super) fn need(&self, lane: usize, rps: f64, of_one: Option<f64>) -> Option<i64> {
        let of_one = of_one.filter(|one| *one > 0.0)?;
        Some(i64::from(ceil_to_u32(rps / of_one)).max(self.lanes[lane].floor))
    }

    /// From what each role needs (`None` is a role without an estimate) to what the step cap, the
    /// floors and the ceiling leave of it.
    pub(super) fn proposed(&self, cur: &[i64], raw: &[Option<i64>]) -> Vec<i64> {
        let ready = raw.iter().all(Option::is_some);
        let capped: Vec<i64> = self
            .lanes
            .iter()
            .zip(cur)
            .zip(raw)
            .map(|((lane, cur), raw)| {
                let n = raw.filter(|_| ready).unwrap_or(*cur);
                n.clamp((cur - self.cap).max(0), cur + self.cap).max(lane.floor)
            })
            .collect();
        let ceiling = Band::at_most(self.band.max);
        match (self.lanes.as_slice(), cur, capped.as_slice()) {
            ([lane], [cur], [n]) => vec![guard_single(*cur, *n, *lane, ceiling).0],
            ([p, d], [cp, cd], [np, nd]) => {
                let (cur, new) = ((*cp, *cd), (*np, *nd));
                let fitted = if self.floor_unmet(&[*cp, *cd]) {
                    clamp_pair(new, *p, *d, ceiling)
                } else {
                    fit_pair(cur, new, *p, *d, ceiling)
                };
                vec![fitted.0, fitted.1]
            }
            _ => cur.to_vec(),
        }
    }

    /// The last fit before a decision: the whole band.
    pub(super) fn settled(&self, cur: &[i64], new: &[i64]) -> (Vec<i64>, Guard) {
        match (self.lanes.as_slice(), cur, new) {
            ([lane], [cur], [n]) => {
                let (n, guard) = guard_single(*cur, *n, *lane, self.band);
                (vec![n], guard)
            }
            ([p, d], [cp, cd], [np, nd]) => {
                let new = (*np, *nd);
                let (n, guard) = if self.floor_unmet(cur) {
                    let n = clamp_pair(new, *p, *d, self.band);
                    (n, if n == new { Guard::Pass } else { Guard::Reconcile })
                } else {
                    guard_pair((*cp, *cd), new, *p, *d, self.band)
                };
                (vec![n.0, n.1], guard)
            }
            _ => (cur.to_vec(), Guard::Hold),
        }
    }

    fn floor_unmet(&self, cur: &[i64]) -> bool {
        self.lanes.iter().zip(cur).any(|(lane, n)| *n < lane.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fixture::{Load, Source};

    fn lanes(floors: &[i64], min: i64, max: i64) -> Lanes {
        let bound = |b: i64| (b >= 0).then_some(b);
        Lanes {
            lanes: floors.iter().map(|floor| Lane { gpus: 1, floor: *floor }).collect(),
            band: Band { min: bound(min), max: bound(max) },
            cap: 8,
        }
    }

    fn throughput(l: &Lanes, cur: &[i64], raw: &[i64]) -> (Vec<i64>, Guard) {
        let raw: Vec<_> = raw.iter().map(|n| Some(*n)).collect();
        l.settled(cur, &l.proposed(cur, &raw))
    }

    #[test]
    fn bounds_for_the_load_loop_are_capped_and_keep_the_direction() {
        let bound = |floors: &[i64], cur: &[i64], raw: &[i64]| {
            let raw: Vec<_> = raw.iter().map(|n| Some(*n)).collect();
            lanes(floors, 64, 64).proposed(cur, &raw)
        };
        assert_eq!(bound(&[1, 1], &[24, 40], &[8, 180]), [16, 48], "TS03");
        let mut three = lanes(&[1, 1], 64, 64);
        three.cap = 3;
        assert_eq!(three.proposed(&[24, 40], &[Some(8), Some(180)]), [21, 43], "TS04");
        assert_eq!(bound(&[1, 1], &[24, 40], &[32, 48]), [24, 40], "TS07");
        assert_eq!(bound(&[1], &[64], &[180]), [64], "TS08");
        assert_eq!(bound(&[1], &[64], &[1]), [56], "TS12: the GPU floor does not inflate it");
        assert_eq!(bound(&[30, 8], &[24, 40], &[8, 180]), [30, 34], "TS17, TS18");
        assert_eq!(bound(&[1, 1], &[27, 36], &[8, 8]), [19, 28], "TS31");
    }

    #[test]
    fn throughput_alone_decides_within_the_band() {
        let full = |floors: &[i64]| lanes(floors, 64, 64);
        let open = |floors: &[i64]| lanes(floors, -1, 64);
        for (l, cur, raw, want, case) in [
            (full(&[1, 1]), vec![24, 40], vec![32, 48], vec![24, 40], "TS05"),
            (full(&[1, 1]), vec![24, 40], vec![24, 40], vec![24, 40], "TS06"),
            (full(&[1, 1]), vec![28, 36], vec![27, 36], vec![28, 36], "TS09"),
            (full(&[1]), vec![63], vec![62], vec![63], "TS10"),
            (full(&[1]), vec![64], vec![64], vec![64], "TS11"),
            (open(&[1, 1]), vec![24, 36], vec![40, 36], vec![28, 36], "TS13"),
            (open(&[1, 1]), vec![20, 20], vec![1, 20], vec![12, 20], "TS14"),
            (full(&[30, 34]), vec![21, 34], vec![30, 34], vec![30, 34], "TS15"),
            (open(&[30, 1]), vec![1, 1], vec![30, 1], vec![30, 1], "TS16"),
            (full(&[30, 8]), vec![24, 40], vec![8, 180], vec![30, 34], "TS17"),
            (open(&[30]), vec![1], vec![30], vec![30], "TS24"),
            (lanes(&[1], -1, 100), vec![10], vec![100], vec![18], "TS28"),
        ] {
            assert_eq!(throughput(&l, &cur, &raw).0, want, "{case}");
        }
    }

    #[test]
    fn a_role_without_an_estimate_keeps_both_but_not_below_the_floor() {
        let l = lanes(&[1, 3], -1, -1);
        assert_eq!(l.proposed(&[1, 1], &[None, Some(7)]), [1, 3], "TS25");
        assert_eq!(l.proposed(&[1, 3], &[None, Some(7)]), [1, 3], "TS26");
        let one = lanes(&[3], -1, -1);
        assert_eq!(one.proposed(&[1], &[None]), [3], "TS27");
        assert_eq!(one.need(0, 100.0, Some(0.0)), None, "TS29");
        assert_eq!(one.need(0, 0.01, Some(1.0)), Some(3), "TS02");
        assert_eq!(lanes(&[1], -1, -1).need(0, 2.1, Some(1.0)), Some(3), "TS32");
    }

    #[test]
    fn load_proposals_pass_the_whole_band() {
        let full = lanes(&[1, 1], 64, 64);
        assert_eq!(full.settled(&[24, 40], &[23, 48]), (vec![23, 41], Guard::Pass), "TS30");
        assert_eq!(full.settled(&[27, 36], &[26, 35]), (vec![27, 36], Guard::Hold), "TS31");
        let floors = lanes(&[30, 8], 64, 64);
        assert_eq!(floors.settled(&[24, 40], &[30, 39]), (vec![30, 34], Guard::Reconcile), "TS18");
        assert_eq!(lanes(&[3], -1, -1).settled(&[1], &[3]), (vec![3], Guard::Pass), "TS20");
        assert_eq!(lanes(&[4], -1, -1).settled(&[5], &[4]), (vec![4], Guard::Pass), "TS23");
    }

    const T: Duration = Duration::from_secs(60);

    fn load(rps: f64) -> Load {
        let load = Load { rps, finished: rps, ttft: 0.1, itl: 0.01, ..Load::default() };
        Load { duration: 2.0, isl: 512.0, osl: 128.0, ..load }
    }

    #[test]
    fn what_started_counts_and_an_idle_interval_keeps_the_lengths() {
        let mut source = Source::new();
        let mut f = Forecast::new(T, Kind::Last);
        // PR41: admitted, not completed.
        source.run(60, &Load { finished: 0.2, ..load(2.0) });
        let busy = f.observe(source.up()).unwrap();
        assert!((busy.rps - 2.0).abs() < 0.05, "{busy:?}");
        source.run(120, &Load::default());
        // LP06.
        let idle = f.observe(source.up()).unwrap();
        assert_eq!((idle.rps, idle.isl, idle.osl), (0.0, 512.0, 128.0));
        assert_eq!(f.observe(source.down()), None, "PR17: unknown, not 0");
    }

    #[test]
    fn idleness_before_the_first_request_and_half_an_answer_teach_nothing() {
        let mut source = Source::new();
        let mut f = Forecast::new(T, Kind::Last);
        source.run(60, &Load::default());
        assert_eq!(f.observe(source.up()), None, "LP07");
        // PR03: requests, and none of them has ended.
        source.run(60, &Load { finished: 0.0, ..load(5.0) });
        assert_eq!(f.observe(source.up()), None);
    }
}
