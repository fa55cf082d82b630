//! The horizontal pod autoscaler of Kubernetes (autoscaling/v2), without its metrics.
//!
//! Recommendations are stabilised over a window each way, and then the change is limited by policies
//! over periods, the most generous of which counts (`selectPolicy: Max`), as
//! `pkg/controller/podautoscaler/horizontal.go` has it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sim::SimTime;
use crate::units::{ceil_to_u32, floor_to_u32};

/// No change while metric and target differ by no more than this share.
pub(super) const TOLERANCE: f64 = 0.1;

/// Between two looks of the controller.
pub(super) const SYNC: Duration = Duration::from_secs(15);

/// How much a count may change within a period.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    Pods(u32, Duration),
    Percent(f64, Duration),
}

/// One direction of a behaviour block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) window: Duration,
    pub(super) limits: &'static [Limit],
}

/// A behaviour block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behaviour {
    pub(super) up: Rules,
    pub(super) down: Rules,
}

const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// What the API server fills in.
pub(super) const DEFAULT: Behaviour = Behaviour {
    up: Rules {
        window: secs(0),
        limits: &[Limit::Percent(100.0, secs(15)), Limit::Pods(4, secs(15))],
    },
    down: Rules { window: secs(300), limits: &[Limit::Percent(100.0, secs(15))] },
};

/// One autoscaler's memory of one pool.
#[derive(Clone, Debug)]
pub(super) struct Scaler {
    behaviour: Behaviour,
    min: u32,
    max: u32,
    recommended: VecDeque<(SimTime, u32)>,
    changed: VecDeque<(SimTime, i64)>,
}

impl Scaler {
    pub(super) fn new(behaviour: Behaviour, min: u32, max: u32) -> Self {
        Self {
            behaviour,
            min,
            max: max.max(min),
            recommended: VecDeque::new(),
            changed: VecDeque::new(),
        }
    }

    /// The count that follows from what the metrics recommend.
    pub(super) fn decide(&mut self, now: SimTime, current: u32, recommended: u32) -> u32 {
        let Behaviour { up, down } = self.behaviour;
        self.recommended.push_back((now, recommended));
        let longest = up.window.max(down.window);
        self.recommended.retain(|(at, _)| at.plus(longest) >= now);
        let within = |window: Duration| {
            self.recommended.iter().filter(move |(at, _)| at.plus(window) >= now).map(|r| r.1)
        };
        let least = within(up.window).min().unwrap_or(recommended);
        let most = within(down.window).max().unwrap_or(recommended);
        let stable = current.max(least).min(most);
        let limited = if stable > current {
            stable.min(self.limit(now, current, &up, true).max(current))
        } else if stable < current {
            stable.max(self.limit(now, current, &down, false).min(current))
        } else {
            current
        };
        let next = limited.clamp(self.min, self.max);
        if next != current {
            self.changed.push_back((now, i64::from(next) - i64::from(current)));
        }
        next
    }

    /// The furthest that the policies allow.
    fn limit(&mut self, now: SimTime, current: u32, rules: &Rules, up: bool) -> u32 {
        self.changed.retain(|(at, _)| at.plus(secs(3600)) >= now);
        let reach = rules.limits.iter().map(|limit| {
            let (Limit::Pods(_, period) | Limit::Percent(_, period)) = *limit;
            let recent =
                self.changed.iter().filter(|(at, by)| at.plus(period) > now && (*by > 0) == up);
            let moved: i64 = recent.map(|(_, by)| by).sum();
            let began = u32::try_from(i64::from(current) - moved).unwrap_or(0);
            match (*limit, up) {
                (Limit::Pods(n, _), true) => began.saturating_add(n),
                (Limit::Pods(n, _), false) => began.saturating_sub(n),
                (Limit::Percent(p, _), true) => ceil_to_u32(f64::from(began) * (1.0 + p / 100.0)),
                (Limit::Percent(p, _), false) => floor_to_u32(f64::from(began) * (1.0 - p / 100.0)),
            }
        });
        if up { reach.max().unwrap_or(current) } else { reach.min().unwrap_or(current) }
    }
}

/// `Value` and utilisation targets: the ready replicas times metric over target.
pub(super) fn by_value(current: u32, ready: u32, metric: f64, target: f64) -> u32 {
    let ratio = metric / target;
    if current == 0 {
        return ceil_to_u32(ratio);
    }
    if (ratio - 1.0).abs() <= TOLERANCE { current } else { ceil_to_u32(ratio * f64::from(ready)) }
}

/// `AverageValue` targets: the metric over the target, whatever the replicas.
pub(super) fn by_average(current: u32, metric: f64, target: f64) -> u32 {
    let ratio = metric / (target * f64::from(current.max(1)));
    if current > 0 && (ratio - 1.0).abs() <= TOLERANCE {
        current
    } else {
        ceil_to_u32(metric / target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: Behaviour = Behaviour {
        up: Rules { window: secs(0), limits: &[Limit::Pods(2, secs(30))] },
        down: Rules { window: secs(60), limits: &[Limit::Pods(1, secs(30))] },
    };

    fn at(s: u64) -> SimTime {
        SimTime::from_millis(s * 1000)
    }

    #[test]
    fn two_pods_up_in_thirty_seconds_and_one_down_after_a_minute() {
        let mut s = Scaler::new(GUIDE, 1, 20);
        assert_eq!(s.decide(at(0), 2, 9), 4);
        assert_eq!(s.decide(at(15), 4, 9), 4, "two were added within the period");
        assert_eq!(s.decide(at(30), 4, 9), 6);
        assert_eq!(s.decide(at(45), 6, 2), 6, "nine were wanted within the minute");
        assert_eq!(s.decide(at(91), 6, 2), 5);
        assert_eq!(s.decide(at(106), 5, 2), 5);
        assert_eq!(s.decide(at(121), 5, 2), 4);
    }

    #[test]
    fn by_default_a_pool_doubles_or_grows_by_four_and_falls_at_once_after_five_minutes() {
        let mut s = Scaler::new(DEFAULT, 1, 100);
        assert_eq!(s.decide(at(0), 1, 50), 5);
        assert_eq!(s.decide(at(15), 5, 50), 10);
        assert_eq!(s.decide(at(30), 10, 3), 10);
        assert_eq!(s.decide(at(331), 10, 3), 3);
    }

    #[test]
    fn targets_have_a_tolerance() {
        assert_eq!(by_value(4, 4, 0.54, 0.5), 4);
        assert_eq!(by_value(4, 4, 0.56, 0.5), 5);
        assert_eq!(by_value(4, 2, 1.0, 0.5), 4, "only what is ready counts");
        assert_eq!(by_value(0, 0, 1.0, 0.5), 2);
        assert_eq!(by_average(3, 31.0, 10.0), 3);
        assert_eq!(by_average(3, 45.0, 10.0), 5);
    }
}
