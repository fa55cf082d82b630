//! llm-d's SLO-aware KEDA guide (llm-d/llm-d#2011).
//!
//! Signal: latency at p90 over its target, at most 2, averaged over 45 s. Above 0.55 grow by
//! `ceil(n * (s*c/0.55 - 1))`, where `c` is the ready share of what was ordered; below 0.40 shrink by
//! `floor(n * (1 - s/0.40))`. The guide predicts the latencies in the gateway; here they are those
//! seen. It scales one pool on the larger of both signals; with two pools prefill goes by TTFT and
//! decode by the time per output token.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::PolicyError;
use super::hpa::promise_s;
use super::registry::{Knob, Knobs};
use super::scaler::{Behaviour, Limit, Rules, SYNC, Scaler};
use crate::backtest::Setting;
use crate::sim::{Family, Orders, Policy, SimTime, View};
use crate::units::{Role, ceil_to_u32, floor_to_u32};

/// The window of the latency query.
const WINDOW: Duration = Duration::from_secs(60);

/// The signal is averaged over this.
const AVERAGED: Duration = Duration::from_secs(45);

/// Its HPA: up by 100 % or 4 a minute after 30 s, down by one every two minutes after three.
const BEHAVIOUR: Behaviour = Behaviour {
    up: Rules {
        window: Duration::from_secs(30),
        limits: &[
            Limit::Percent(100.0, Duration::from_secs(60)),
            Limit::Pods(4, Duration::from_secs(60)),
        ],
    },
    down: Rules {
        window: Duration::from_secs(180),
        limits: &[Limit::Pods(1, Duration::from_secs(120))],
    },
};

pub(super) const KNOBS: &[Knob] = &[
    Knob {
        name: "up",
        default: 0.55,
        range: (0.01, 2.0),
        about: "the signal above which it grows",
        sweep: &[0.1, 0.2, 0.3, 0.4, 0.55, 0.8],
    },
    Knob {
        name: "down",
        default: 0.40,
        range: (0.0, 2.0),
        about: "the signal below which it shrinks",
        sweep: &[0.1, 0.2, 0.3, 0.4],
    },
];

#[derive(Debug)]
struct LlmD {
    pools: BTreeMap<Role, (Scaler, VecDeque<(SimTime, f64)>)>,
    ttft: f64,
    itl: f64,
    up: f64,
    down: f64,
}

pub(super) fn make(k: &Knobs<'_>, setting: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    let pools = setting
        .pools
        .iter()
        .map(|(role, pool)| {
            let scaler = Scaler::new(BEHAVIOUR, pool.min.get().max(1), setting.most(*role));
            (*role, (scaler, VecDeque::new()))
        })
        .collect();
    let (ttft, itl) = promise_s(setting);
    let up = k.get("up");
    Ok(Box::new(LlmD { pools, ttft, itl, up, down: k.get("down").min(up) }))
}

impl Policy for LlmD {
    fn first_tick(&self) -> Duration {
        SYNC
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(SYNC));
        let ratio = |family, target: f64| {
            Some((view.metrics.quantile(family, 0.9, WINDOW)? / target).min(2.0))
        };
        let (ttft, itl) = (ratio(Family::Ttft, self.ttft), ratio(Family::Itl, self.itl));
        for (role, (scaler, seen)) in &mut self.pools {
            let signal = match role {
                Role::Prefill => ttft,
                Role::Decode => itl,
                Role::Aggregated => match (ttft, itl) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    (one, other) => one.or(other),
                },
            };
            let Some(signal) = signal else { continue };
            seen.push_back((view.now, signal));
            seen.retain(|(at, _)| at.plus(AVERAGED) > view.now);
            let s = seen.iter().map(|(_, s)| s).sum::<f64>() / seen.len() as f64;
            let pool = view.pool(*role);
            let n = f64::from(pool.desired);
            let credit = if pool.desired == 0 { 1.0 } else { f64::from(pool.ready) / n };
            let recommended = if s > self.up {
                pool.desired + ceil_to_u32(n * (s * credit / self.up - 1.0).max(0.0))
            } else if s < self.down {
                pool.desired - floor_to_u32(n * (1.0 - s / self.down)).min(pool.desired)
            } else {
                pool.desired
            };
            let next = scaler.decide(view.now, pool.desired, recommended);
            orders.want(*role, next, format!("signal {s:.2}, {:.0} % ready", 100.0 * credit));
        }
        orders
    }
}
