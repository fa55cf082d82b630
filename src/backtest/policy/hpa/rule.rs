//! What the Horizontal Pod Autoscaler of Kubernetes makes of metrics (`autoscaling/v2`).
//!
//! Source: the controller of Kubernetes, `pkg/controller/podautoscaler` (`replica_calculator.go`,
//! `horizontal.go`), as described in its documentation, "Horizontal Pod Autoscaling: algorithm
//! details" and "Configurable scaling behavior".

use std::collections::VecDeque;
use std::time::Duration;

use crate::backtest::policy::trigger::Target;
use crate::sim::{PoolView, SimTime};
use crate::units::{ceil_to_u32, floor_to_u32};

/// A change of less than this share of the target is none (`--horizontal-pod-autoscaler-tolerance`).
pub(in crate::backtest::policy) const TOLERANCE: f64 = 0.1;

/// How often it looks (`--horizontal-pod-autoscaler-sync-period`).
pub(in crate::backtest::policy) const SYNC: Duration = Duration::from_secs(15);

/// How far a count may move within a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::backtest::policy) enum Step {
    /// So many replicas.
    Pods(u32),
    /// So much of the count at the start of the period, percent.
    Percent(f64),
}

/// `scaleUp` or `scaleDown` of a behaviour block; of several steps the widest counts
/// (`selectPolicy: Max`).
#[derive(Clone, Debug, PartialEq)]
pub(in crate::backtest::policy) struct Behavior {
    /// `stabilizationWindowSeconds`.
    pub(in crate::backtest::policy) stabilization: Duration,
    /// `policies`, each with its `periodSeconds`.
    pub(in crate::backtest::policy) steps: Vec<(Step, Duration)>,
}

impl Behavior {
    pub(in crate::backtest::policy) fn new(seconds: u64, steps: &[(Step, u64)]) -> Self {
        Self {
            stabilization: Duration::from_secs(seconds),
            steps: steps.iter().map(|(s, period)| (*s, Duration::from_secs(*period))).collect(),
        }
    }

    /// The default of Kubernetes: at once, by the larger of 4 replicas and 100 % every 15 s.
    pub(in crate::backtest::policy) fn default_up() -> Self {
        Self::new(0, &[(Step::Pods(4), 15), (Step::Percent(100.0), 15)])
    }

    /// The default of Kubernetes: the largest count wanted in the last 300 s, with no limit of speed.
    pub(in crate::backtest::policy) fn default_down() -> Self {
        Self::new(300, &[(Step::Percent(100.0), 15)])
    }
}

/// The count that one external metric proposes (`GetExternalMetricReplicas`,
/// `GetExternalPerPodMetricReplicas`): a value scales the *ready* replicas, an average value is
/// divided among as many as it takes. A ratio within the tolerance proposes the count as it is.
/// The adapter of Dynamo 0.9.0 reports the ordered count as its current one (kubernetes.md), so that
/// is what an average value is compared over.
pub(in crate::backtest::policy) fn propose(value: f64, target: Target, pool: PoolView) -> u32 {
    let current = f64::from(pool.desired);
    let kept = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
    match target {
        Target::Value(target) => {
            let ratio = value / target;
            if kept(ratio) { pool.desired } else { ceil_to_u32(ratio * f64::from(pool.ready)) }
        }
        Target::AverageValue(target) => {
            let ratio = value / (target * current);
            if kept(ratio) { pool.desired } else { ceil_to_u32(value / target) }
        }
    }
}

/// The count that a resource metric proposes (`GetResourceReplicas`): `usage` is the mean over the
/// ready replicas as a share of the target. Replicas that start count as idle where more are wanted,
/// and are left out where fewer are.
pub(in crate::backtest::policy) fn propose_resource(usage: f64, pool: PoolView) -> Option<u32> {
    let kept = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
    if pool.ready == 0 {
        return None;
    }
    let ready = f64::from(pool.ready);
    if usage <= 1.0 || pool.starting == 0 {
        return Some(if kept(usage) { pool.desired } else { ceil_to_u32(usage * ready) });
    }
    let all = ready + f64::from(pool.starting);
    let with_idle = usage * ready / all;
    let wanted = ceil_to_u32(with_idle * all);
    let turned = with_idle < 1.0 || wanted < pool.desired;
    Some(if kept(with_idle) || turned { pool.desired } else { wanted })
}

/// One autoscaler object.
#[derive(Clone, Debug)]
pub(in crate::backtest::policy) struct Scaler {
    up: Behavior,
    down: Behavior,
    min: u32,
    max: u32,
    recommendations: VecDeque<(SimTime, u32)>,
    added: VecDeque<(SimTime, u32)>,
    removed: VecDeque<(SimTime, u32)>,
}

impl Scaler {
    /// `min` below 1 is 1: at zero an autoscaler of this kind is switched off.
    pub(in crate::backtest::policy) fn new(
        up: Behavior,
        down: Behavior,
        min: u32,
        max: u32,
    ) -> Self {
        let min = min.max(1);
        Self {
            up,
            down,
            min,
            max: max.max(min),
            recommendations: VecDeque::new(),
            added: VecDeque::new(),
            removed: VecDeque::new(),
        }
    }

    /// The count to order now, from what each metric proposes (`None` is a metric that failed);
    /// `None` where nothing changes. A failed metric stops a scale-down, and all of them everything.
    pub(in crate::backtest::policy) fn step(
        &mut self,
        now: SimTime,
        current: u32,
        proposals: &[Option<u32>],
    ) -> Option<u32> {
        if current == 0 {
            return None;
        }
        if self.recommendations.is_empty() {
            self.recommendations.push_back((now, current));
        }
        let wanted = if current > self.max {
            self.max
        } else if current < self.min {
            self.min
        } else {
            let most = proposals.iter().flatten().copied().max()?;
            if most < current && proposals.contains(&None) {
                return None;
            }
            let wanted = self.stabilized(now, current, most);
            self.limited(now, current, wanted)
        };
        if wanted == current {
            return None;
        }
        if wanted > current {
            self.added.push_back((now, wanted - current));
        } else {
            self.removed.push_back((now, current - wanted));
        }
        Some(wanted)
    }

    /// `stabilizeRecommendationWithBehaviors`.
    fn stabilized(&mut self, now: SimTime, current: u32, wanted: u32) -> u32 {
        let longest = self.up.stabilization.max(self.down.stabilization);
        let (mut up, mut down) = (wanted, wanted);
        for (at, count) in &self.recommendations {
            if *at > now.minus(self.up.stabilization) {
                up = up.min(*count);
            }
            if *at > now.minus(self.down.stabilization) {
                down = down.max(*count);
            }
        }
        self.recommendations.retain(|(at, _)| at.plus(longest) > now);
        self.recommendations.push_back((now, wanted));
        current.max(up).min(down)
    }

    /// `convertDesiredReplicasWithBehaviorRate`.
    fn limited(&mut self, now: SimTime, current: u32, wanted: u32) -> u32 {
        let longest =
            self.up.steps.iter().chain(&self.down.steps).map(|s| s.1).max().unwrap_or_default();
        self.added.retain(|(at, _)| at.plus(longest) > now);
        self.removed.retain(|(at, _)| at.plus(longest) > now);
        if wanted > current {
            let limit = self.up.steps.iter().map(|(step, period)| {
                let start = self.at_start(now, current, *period);
                match step {
                    Step::Pods(n) => start.saturating_add(*n),
                    Step::Percent(p) => ceil_to_u32(f64::from(start) * (1.0 + p / 100.0)),
                }
            });
            let most = limit.max().unwrap_or(u32::MAX).max(current).min(self.max);
            wanted.min(most)
        } else {
            let limit = self.down.steps.iter().map(|(step, period)| {
                let start = self.at_start(now, current, *period);
                match step {
                    Step::Pods(n) => start.saturating_sub(*n),
                    Step::Percent(p) => floor_to_u32(f64::from(start) * (1.0 - p / 100.0)),
                }
            });
            let fewest = limit.min().unwrap_or(0).min(current).max(self.min);
            wanted.max(fewest)
        }
    }

    /// The count when the period began.
    fn at_start(&self, now: SimTime, current: u32, period: Duration) -> u32 {
        let within = |events: &VecDeque<(SimTime, u32)>| -> u32 {
            events.iter().filter(|(at, _)| at.plus(period) > now).map(|e| e.1).sum()
        };
        (current + within(&self.removed)).saturating_sub(within(&self.added))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::policy::bench::ready;

    fn at(s: u64) -> SimTime {
        SimTime::from_millis(s * 1000)
    }

    #[test]
    fn a_value_scales_the_ready_and_an_average_the_total() {
        let pool = PoolView { desired: 6, ready: 4, starting: 2, draining: 0, pending: 0 };
        assert_eq!(propose(1.0, Target::Value(0.5), pool), 8);
        assert_eq!(propose(0.54, Target::Value(0.5), pool), 6, "within 10 %");
        assert_eq!(propose(0.44, Target::Value(0.5), pool), 4, "0.88 of four ready");
        assert_eq!(propose(95.0, Target::AverageValue(10.0), pool), 10);
        assert_eq!(propose(65.0, Target::AverageValue(10.0), pool), 6, "within 10 %");
        assert_eq!(propose(0.0, Target::AverageValue(10.0), pool), 0);
    }

    #[test]
    fn replicas_that_start_dampen_a_resource_metric_upwards_only() {
        let pool = PoolView { desired: 6, ready: 4, starting: 2, draining: 0, pending: 0 };
        assert_eq!(propose_resource(1.4, pool), Some(6), "5.6 of 6 with the two that idle");
        assert_eq!(propose_resource(2.0, pool), Some(8));
        assert_eq!(propose_resource(0.5, pool), Some(2));
        assert_eq!(propose_resource(1.4, ready(4)), Some(6));
        assert_eq!(propose_resource(1.05, ready(4)), Some(4));
        let none = PoolView { desired: 2, ready: 0, starting: 2, draining: 0, pending: 0 };
        assert_eq!(propose_resource(1.4, none), None);
    }

    #[test]
    fn the_default_doubles_up_and_waits_five_minutes_to_go_down() {
        let mut s = Scaler::new(Behavior::default_up(), Behavior::default_down(), 1, 100);
        assert_eq!(s.step(at(15), 3, &[Some(50)]), Some(7), "four pods beat 100 % of three");
        assert_eq!(s.step(at(30), 7, &[Some(50)]), Some(14));
        assert_eq!(s.step(at(45), 14, &[Some(2)]), None);
        assert_eq!(s.step(at(315), 14, &[Some(2)]), None, "50 was wanted 285 s ago");
        assert_eq!(s.step(at(330), 14, &[Some(2)]), Some(2));
    }

    #[test]
    fn a_period_holds_no_more_than_its_policy() {
        let up = Behavior::new(0, &[(Step::Pods(2), 30)]);
        let down = Behavior::new(0, &[(Step::Pods(1), 30)]);
        let mut s = Scaler::new(up, down, 2, 7);
        assert_eq!(s.step(at(15), 3, &[Some(9)]), Some(5));
        assert_eq!(s.step(at(30), 5, &[Some(9)]), None);
        assert_eq!(s.step(at(45), 5, &[Some(9)]), Some(7));
        assert_eq!(s.step(at(75), 7, &[Some(9)]), None, "the maximum");
        assert_eq!(s.step(at(90), 7, &[Some(1)]), Some(6));
        assert_eq!(s.step(at(105), 6, &[Some(1)]), None);
        assert_eq!(s.step(at(120), 6, &[Some(1)]), Some(5));
        assert_eq!(s.step(at(135), 1, &[None]), Some(2), "below the minimum needs no metric");
    }

    #[test]
    fn a_stabilised_scale_up_takes_the_least_of_its_window() {
        let up = Behavior::new(30, &[(Step::Percent(100.0), 15)]);
        let mut s = Scaler::new(up, Behavior::default_down(), 1, 100);
        assert_eq!(s.step(at(15), 4, &[Some(8)]), None);
        assert_eq!(s.step(at(30), 4, &[Some(6)]), None);
        assert_eq!(s.step(at(45), 4, &[Some(8)]), Some(6));
    }

    #[test]
    fn a_failed_metric_stops_a_scale_down_and_no_metric_everything() {
        let mut s = Scaler::new(Behavior::default_up(), Behavior::new(0, &[]), 1, 100);
        assert_eq!(s.step(at(15), 4, &[Some(2), None]), None);
        assert_eq!(s.step(at(30), 4, &[Some(6), None]), Some(6));
        assert_eq!(s.step(at(45), 6, &[None]), None);
        assert_eq!(s.step(at(60), 6, &[Some(2), Some(3)]), Some(3));
        assert_eq!(s.step(at(75), 0, &[Some(3)]), None, "switched off at zero");
    }
}
