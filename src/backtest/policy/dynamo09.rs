//! The planner of NVIDIA Dynamo 0.9.0 (dynamo-planner.md 1.1 to 1.4).
//!
//! Every 180 s it takes the means of that interval and the requests that *finished* in it, predicts
//! the next interval and divides by a throughput. What is not a number is 0; what it then makes of a
//! zero is its own. Its default predictor is ARIMA with an order that is found on the first five
//! points and frozen; this has its Kalman filter (the better one of 1.8 #13) and its constant.

use std::time::Duration;

use super::PolicyError;
use super::registry::{Knob, Knobs};
use crate::backtest::Setting;
use crate::plan::compat::{
    Constant, Corrections, Dynamo09Input, Dynamo09Observed, Kalman, correct_dynamo_09,
    size_dynamo_09,
};
use crate::profile::compat::{DynamoDecode, DynamoPrefill};
use crate::sim::{Counter, Family, Orders, Policy, View};
use crate::units::{Gpus, Millis, Replicas, Role, Tokens};

pub(super) const KNOBS: &[Knob] = &[
    Knob {
        name: "interval",
        default: 180.0,
        range: (1.0, 86_400.0),
        about: "adjustment-interval, seconds",
        sweep: &[30.0, 60.0, 120.0, 180.0],
    },
    Knob {
        name: "kalman",
        default: 1.0,
        range: (0.0, 1.0),
        about: "1 predicts by the Kalman filter, 0 by the last value",
        sweep: &[0.0, 1.0],
    },
    Knob {
        name: "correction",
        default: 1.0,
        range: (0.0, 1.0),
        about: "0 is --no-correction",
        sweep: &[0.0, 1.0],
    },
    Knob {
        name: "min",
        default: 1.0,
        range: (1.0, 1000.0),
        about: "min-endpoint",
        sweep: &[1.0, 2.0, 3.0],
    },
];

#[derive(Clone, Copy, Debug)]
enum Predictor {
    Constant(Constant),
    Kalman(Kalman),
}

impl Predictor {
    fn next(&mut self, value: f64) -> f64 {
        match self {
            Self::Constant(c) => {
                c.add(value);
                c.predict()
            }
            Self::Kalman(k) => {
                k.add(value);
                k.predict()
            }
        }
    }
}

#[derive(Debug)]
struct Dynamo09 {
    prefill: DynamoPrefill,
    decode: DynamoDecode,
    gpus: (Gpus, Gpus),
    itl: Millis,
    min: Replicas,
    budget: Gpus,
    interval: Duration,
    correction: bool,
    predictors: [Predictor; 3],
}

pub(super) fn make(k: &Knobs<'_>, setting: &Setting) -> Result<Box<dyn Policy>, PolicyError> {
    let (Some(prefill), Some(decode)) =
        (setting.pools.get(&Role::Prefill), setting.pools.get(&Role::Decode))
    else {
        return Err(k.refuse("the pools prefill and decode", "aggregated engines"));
    };
    let table = |e: crate::profile::ProfileError| k.refuse("a table it can read", &e.to_string());
    let predictor = if k.get("kalman") > 0.5 {
        Predictor::Kalman(Kalman::new(false))
    } else {
        Predictor::Constant(Constant::default())
    };
    Ok(Box::new(Dynamo09 {
        prefill: DynamoPrefill::new(&prefill.engine).map_err(table)?,
        decode: DynamoDecode::new(&decode.engine).map_err(table)?,
        gpus: (prefill.gpus, decode.gpus),
        itl: setting.sla.itl,
        min: Replicas::new(crate::units::round_to_u32(k.get("min"))),
        budget: setting.budget.unwrap_or(Gpus::new(1_000_000)),
        interval: Duration::from_secs_f64(k.get("interval")),
        correction: k.get("correction") > 0.5,
        predictors: [predictor; 3],
    }))
}

impl Policy for Dynamo09 {
    fn first_tick(&self) -> Duration {
        self.interval
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let mut orders = Orders::none(view.now.plus(self.interval));
        let m = view.metrics;
        let (window, interval_s) = (self.interval, self.interval.as_secs_f64());
        // A query that fails is 0, a mean of nothing is not a number.
        let down = !m.is_up();
        let mean = |family| if down { Some(0.0) } else { m.mean(family, window) };
        let requests = m.increase(Counter::Finished, window).unwrap_or(0.0);
        let (ttft, itl) = (mean(Family::Ttft), mean(Family::Itl));
        let (isl, osl) = (mean(Family::Isl), mean(Family::Osl));
        let duration_s = mean(Family::Duration).unwrap_or(0.0);
        let next = [requests, isl.unwrap_or(f64::NAN), osl.unwrap_or(f64::NAN)];
        let predicted: Vec<f64> =
            self.predictors.iter_mut().zip(next).map(|(p, value)| p.next(value)).collect();
        let (Some(ttft), Some(itl), Some(isl), Some(osl)) = (ttft, itl, isl, osl) else {
            return orders;
        };
        let pools = (view.pool(Role::Prefill), view.pool(Role::Decode));
        let corrections = if self.correction {
            let seen = Dynamo09Observed {
                ttft: Millis::clamped(ttft * 1e3),
                itl: Millis::clamped(itl * 1e3),
                requests,
                duration_s,
                isl: Tokens::clamped(isl),
                osl: Tokens::clamped(osl),
                interval_s,
                decode_engines: Replicas::new(pools.1.ready),
            };
            match correct_dynamo_09(&self.prefill, &self.decode, &seen) {
                Some(corrections) => corrections,
                None => return orders,
            }
        } else {
            Corrections::NONE
        };
        // A graph that is not ready takes no decision.
        if pools.0.starting + pools.1.starting > 0 {
            return orders;
        }
        let [requests, isl, osl] = predicted[..] else { return orders };
        let (prefill, decode) = size_dynamo_09(&Dynamo09Input {
            prefill: &self.prefill,
            decode: &self.decode,
            requests,
            isl: Tokens::clamped(isl),
            osl: Tokens::clamped(osl),
            interval_s,
            itl_target: self.itl,
            corrections,
            gpus_per_prefill: self.gpus.0,
            gpus_per_decode: self.gpus.1,
            min_endpoint: self.min,
            gpu_budget: self.budget,
        });
        let rate = requests / interval_s;
        orders.forecast = Some([rate; 3]);
        let why = format!("{rate:.1} requests/s of {isl:.0} and {osl:.0} tokens predicted");
        orders.want(Role::Prefill, prefill.get(), why.clone());
        orders.want(Role::Decode, decode.get(), why);
        orders
    }
}
