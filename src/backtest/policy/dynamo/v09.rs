//! The SLA planner of Dynamo 0.9.0.
//!
//! Source: wheel `ai_dynamo-0.9.0`, `dynamo/planner` (dynamo-planner.md 1.1 to 1.8); sizing,
//! correction and predictors are [`crate::plan::compat`], which agrees with its printed numbers. As
//! built:
//!
//! * Every 180 s: requests that *finished*, their mean lengths and latencies; corrections; the three
//!   predictors; size; clamp to the budget; write. No cap on the step, no hold, no lead time.
//! * Predictor: Kalman with its defaults, the last value, or what its shipped default, ARIMA, mostly
//!   comes down to (`predictor`). On a noisy diurnal day ARIMA was off by 51 % where Kalman was by
//!   2.3 % and the last value by 2.8 % (1.8 #13).
//! * A decision is dropped while any pool is not ready (1.7): while a pod starts, nothing goes up or
//!   down.
//! * `min_endpoint` is the smaller minimum of the two pools, at least 1. A count is capped by the
//!   `max` of a pool, but its budget overrun (1.8 #21) is left in.
//! * Disaggregated only.
//!
//! Unknown: a query that fails or finds nothing is a valid zero (1.8 #6), so an outage teaches the
//! predictors zeros and shrinks the fleet; a mean of no observations is NaN, which skips the tick
//! after the zeros have been learnt (1.8 #5, #15).

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::known::{Knob, Knobs, Known};
use super::super::spec::PolicyError;
use super::predict::{Kind, PREDICTOR, Predictor};
use crate::backtest::Setting;
use crate::plan::compat::{
    Corrections, Dynamo09Input, Dynamo09Observed, correct_dynamo_09, size_dynamo_09,
};
use crate::profile::compat::{DynamoDecode, DynamoPrefill};
use crate::sim::{Counter, Family, Metrics, Orders, Policy, PoolView, View};
use crate::units::{Gpus, Millis, Replicas, Role, Tokens};

pub(in crate::backtest::policy) const V09: Known = Known {
    name: "dynamo-0.9",
    about: "the SLA planner of Dynamo 0.9.0",
    source: "NVIDIA Dynamo 0.9.0, dynamo/planner/utils/planner_core.py",
    knobs: &[
        Knob {
            name: "interval",
            default: 180.0,
            about: "--adjustment-interval, seconds; also the window of its queries",
            sweep: &[30.0, 60.0, 120.0, 180.0, 300.0],
            range: (10.0, 3600.0),
        },
        PREDICTOR,
        Knob {
            name: "correction",
            default: 1.0,
            about: "0 is --no-correction",
            sweep: &[0.0, 1.0],
            range: (0.0, 1.0),
        },
        Knob {
            name: "itl",
            default: 1.0,
            about: "ITL target as a share of the promise (it reads no TTFT target)",
            sweep: &[0.2, 0.4, 0.6, 0.8, 1.0],
            range: (0.01, 10.0),
        },
    ],
    frontier: "itl",
    build,
};

fn build(knobs: &Knobs, setting: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    let pools = (setting.pools.get(&Role::Prefill), setting.pools.get(&Role::Decode));
    let (Some(prefill), Some(decode)) = pools else {
        return Err(PolicyError::Unfit {
            policy: knobs.policy.to_owned(),
            why: "it needs a prefill and a decode pool".to_owned(),
        });
    };
    let unread = |role| {
        move |source| PolicyError::Profile {
            policy: knobs.policy.to_owned(),
            role,
            source: Box::new(source),
        }
    };
    let predictor = || Predictor::v09(Kind::of(knobs));
    Ok(Box::new(V09Planner {
        prefill: DynamoPrefill::new(&prefill.engine).map_err(unread(Role::Prefill))?,
        decode: DynamoDecode::new(&decode.engine).map_err(unread(Role::Decode))?,
        requests: predictor(),
        isl: predictor(),
        osl: predictor(),
        interval: knobs.seconds("interval"),
        itl: Millis::clamped(setting.sla.itl.get() * knobs.get("itl")),
        correct: knobs.on("correction"),
        gpus: (prefill.gpus, decode.gpus),
        min: prefill.min.min(decode.min).max(Replicas::new(1)),
        budget: setting.budget.unwrap_or(Gpus::new(u32::MAX)),
        max: [Role::Prefill, Role::Decode]
            .into_iter()
            .filter_map(|role| Some((role, setting.own_max(role)?)))
            .collect(),
    }))
}

struct V09Planner {
    prefill: DynamoPrefill,
    decode: DynamoDecode,
    requests: Predictor,
    isl: Predictor,
    osl: Predictor,
    interval: Duration,
    itl: Millis,
    correct: bool,
    gpus: (Gpus, Gpus),
    min: Replicas,
    budget: Gpus,
    max: BTreeMap<Role, u32>,
}

/// A mean: zero where the query fails or finds no series, NaN where nothing was observed.
fn mean(metrics: &Metrics, family: Family, window: Duration) -> f64 {
    if metrics.observations(family, window).is_none() {
        return 0.0;
    }
    metrics.mean(family, window).unwrap_or(f64::NAN)
}

impl V09Planner {
    fn observed(&self, view: &View<'_>) -> (Dynamo09Observed, bool) {
        let of = |family| mean(view.metrics, family, self.interval);
        let (ttft, itl) = (of(Family::Ttft) * 1e3, of(Family::Itl) * 1e3);
        let (isl, osl) = (of(Family::Isl), of(Family::Osl));
        let seen = Dynamo09Observed {
            ttft: Millis::clamped(ttft),
            itl: Millis::clamped(itl),
            requests: view.metrics.increase(Counter::Finished, self.interval).unwrap_or(0.0),
            duration_s: of(Family::Duration),
            isl: Tokens::clamped(isl),
            osl: Tokens::clamped(osl),
            interval_s: self.interval.as_secs_f64(),
            decode_engines: Replicas::new(view.pool(Role::Decode).ready),
        };
        (seen, ![ttft, itl, isl, osl].iter().any(|x| x.is_nan()))
    }
}

impl Policy for V09Planner {
    fn first_tick(&self) -> Duration {
        self.interval
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(self.interval));
        let (seen, valid) = self.observed(view);
        self.requests.add(seen.requests);
        self.isl.add(seen.isl.get());
        self.osl.add(seen.osl.get());
        if !valid {
            return orders;
        }
        let mut corrections = Corrections::NONE;
        if self.correct {
            let Some(found) = correct_dynamo_09(&self.prefill, &self.decode, &seen) else {
                return orders;
            };
            corrections = found;
        }
        let requests = self.requests.predict();
        let input = Dynamo09Input {
            prefill: &self.prefill,
            decode: &self.decode,
            requests,
            isl: Tokens::clamped(self.isl.predict()),
            osl: Tokens::clamped(self.osl.predict()),
            interval_s: seen.interval_s,
            itl_target: self.itl,
            corrections,
            gpus_per_prefill: self.gpus.0,
            gpus_per_decode: self.gpus.1,
            min_endpoint: self.min,
            gpu_budget: self.budget,
        };
        let rate = requests.max(0.0) / seen.interval_s;
        orders.forecast = Some([rate; 3]);
        let steady = |pool: &PoolView| pool.starting == 0 && pool.ready == pool.desired;
        if !view.pools.values().all(steady) {
            return orders;
        }
        let (p, d) = size_dynamo_09(&input);
        for (role, n) in [(Role::Prefill, p.get()), (Role::Decode, d.get())] {
            let n = self.max.get(&role).map_or(n, |max| n.min(*max));
            if n != view.pool(role).desired {
                let Corrections { prefill, decode } = corrections;
                let why = format!("{rate:.2} req/s predicted, corrected {prefill:.2} {decode:.2}");
                orders.want(role, n, why);
            }
        }
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::bench::{Fleet, pair, policy, wanted};
    use super::*;
    use crate::sim::fixture::Load;

    /// 20000 requests of 3000 and 150 tokens in 180 s.
    fn load(finished: f64) -> Load {
        Load {
            rps: 111.0,
            finished,
            ttft: 0.06,
            itl: 0.02,
            isl: 3000.0,
            osl: 150.0,
            duration: 3.0,
            ..Load::default()
        }
    }

    fn fleet(p: u32, d: u32) -> Fleet {
        Fleet::new(&[(Role::Prefill, p), (Role::Decode, d)])
    }

    #[test]
    fn it_answers_the_golden_counts_from_what_finished() {
        let mut planner = policy("dynamo-0.9:predictor=0,correction=0", &pair());
        let mut f = fleet(2, 2);
        f.source.run(180, &load(111.0));
        f.now = 180;
        let orders = f.step(planner.as_mut());
        assert_eq!(wanted(&orders, Role::Prefill), Some(7));
        assert_eq!(wanted(&orders, Role::Decode), Some(3));
        assert_eq!(orders.next, Some(crate::sim::SimTime::from_millis(360_000)));
        assert!(orders.forecast.unwrap()[1] > 110.0);
        // Overload is invisible: what arrives has not finished.
        let mut f = fleet(7, 3);
        f.source.run(180, &load(30.0));
        f.now = 180;
        let mut planner = policy("dynamo-0.9:predictor=0,correction=0", &pair());
        assert_eq!(wanted(&f.step(planner.as_mut()), Role::Prefill), Some(2));
    }

    #[test]
    fn nothing_is_decided_while_a_pod_starts() {
        let mut planner = policy("dynamo-0.9", &pair());
        let mut f = fleet(2, 2);
        f.pools.insert(
            Role::Decode,
            PoolView { desired: 2, ready: 1, starting: 1, draining: 0, pending: 0 },
        );
        f.source.run(180, &load(111.0));
        f.now = 180;
        assert!(f.step(planner.as_mut()).targets.is_empty());
    }

    #[test]
    fn an_outage_is_a_valid_zero_and_idleness_is_no_reason_to_shrink() {
        let mut planner = policy("dynamo-0.9:predictor=0,correction=0", &pair());
        let mut f = fleet(7, 3);
        f.source.run(180, &load(111.0)).run(400, &Load::default());
        f.now = 580;
        assert!(f.step(planner.as_mut()).targets.is_empty(), "NaN skips the tick");
        f.up = false;
        f.now = 760;
        f.step(planner.as_mut());
        assert_eq!((f.count(Role::Prefill), f.count(Role::Decode)), (1, 1), "in one tick");
    }

    #[test]
    fn a_late_ttft_changes_nothing_and_a_slow_itl_adds_decode() {
        let counts = |ttft, itl| {
            let mut planner = policy("dynamo-0.9:predictor=0", &pair());
            let mut f = fleet(7, 3);
            f.source.run(180, &Load { ttft, itl, ..load(111.0) });
            f.now = 180;
            f.step(planner.as_mut());
            (f.count(Role::Prefill), f.count(Role::Decode))
        };
        assert_eq!(counts(30.0, 0.02).0, 7);
        assert!(counts(0.06, 0.2).1 > counts(0.06, 0.02).1);
    }

    #[test]
    fn one_pool_is_not_served() {
        let spec = "dynamo-0.9".parse().unwrap();
        let one = super::super::super::bench::aggregated();
        let error = super::super::super::make(&spec, &one).err().unwrap();
        assert_eq!(
            error.to_string(),
            "policy dynamo-0.9 cannot scale this deployment: it needs a prefill and a decode pool"
        );
    }
}
