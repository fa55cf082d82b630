//! The engines that a trace needs at each moment, as one who knows it would count them.

use crate::backtest::run::Case;
use crate::sim::EngineTruth;
use crate::trace::Request;
use crate::units::{Role, floor_to_u32};

/// Length of a step of the need, seconds: the tick of the quickest policies.
pub(super) const STEP_S: f64 = 5.0;

/// Engines' worth of work by step, for each pool.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) pools: Vec<(Role, Vec<f64>)>,
}

/// Engine-milliseconds of prefill of one prompt in passes that are full.
fn prefill_ms(truth: &EngineTruth, request: &Request) -> f64 {
    let cached = request.prefix_hit.unwrap_or(0).min(request.isl.saturating_sub(1));
    truth.share_of_full_passes(request.isl - cached, cached)
}

/// What a request takes of a decode engine while it is there: the share of its slots, of its KV
/// memory or of the batch that the promise allows, whichever is largest.
fn decode_share(truth: &EngineTruth, request: &Request, batch: f64) -> f64 {
    let context = f64::from(request.isl) + f64::from(request.osl) / 2.0;
    let kv = (context + truth.kv_slack() as f64) / truth.max_kv_tokens() as f64;
    kv.max(1.0 / batch)
}

impl Need {
    /// Of `requests` on the fleet of `case`.
    pub(super) fn of(case: &Case, requests: &[Request]) -> Self {
        let last = requests.last().map_or(0.0, seconds);
        let steps = place(last / STEP_S) + 1;
        let itl = case.setting.sla.itl.get();
        let mean_context = mean(requests, |r| f64::from(r.isl) + f64::from(r.osl) / 2.0);
        let pools = case
            .sim
            .pools
            .iter()
            .map(|(role, pool)| {
                let truth = &pool.truth;
                let slots = f64::from(truth.limits().max_num_seqs);
                let batch = truth.largest_batch(itl, mean_context).min(slots).max(1.0);
                let per_token = truth.iteration_at(batch, mean_context);
                let mut work = vec![0.0; steps];
                for request in requests {
                    let at = seconds(request);
                    if *role != Role::Decode {
                        work[place(at / STEP_S).min(steps - 1)] +=
                            prefill_ms(truth, request) / (STEP_S * 1e3);
                    }
                    if *role != Role::Prefill {
                        let share = decode_share(truth, request, batch);
                        let until = at + f64::from(request.osl) * per_token / 1e3;
                        spread(&mut work, at, until, share);
                    }
                }
                (*role, work)
            })
            .collect();
        Self { pools }
    }
}

/// Adds `share` to the steps from `at` to `until`, in proportion where a step is only touched.
fn spread(work: &mut [f64], at: f64, until: f64, share: f64) {
    let (first, last) = (place(at / STEP_S), place(until / STEP_S));
    for (i, step) in work.iter_mut().enumerate().take(last + 1).skip(first) {
        let begin = (i as f64 * STEP_S).max(at);
        let end = ((i + 1) as f64 * STEP_S).min(until);
        *step += share * ((end - begin).max(0.0) / STEP_S);
    }
}

fn mean(requests: &[Request], of: impl Fn(&Request) -> f64) -> f64 {
    let n = requests.len().max(1) as f64;
    requests.iter().map(of).sum::<f64>() / n
}

fn seconds(request: &Request) -> f64 {
    request.at.as_millis().max(0) as f64 / 1e3
}

pub(super) fn place(x: f64) -> usize {
    usize::try_from(floor_to_u32(x)).unwrap_or(usize::MAX)
}
