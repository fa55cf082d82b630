//! The fleets next to the one that was chosen, and what would have to be different for them.

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::search::{first_step, gpus, joint};
use super::{Fleets, Latency, Sizing, Verdict};
use crate::units::{Gpus, Millis, Replicas, Role, Share};

/// A fleet that was looked at and not chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Its replicas.
    pub replicas: Vec<(Role, Replicas)>,
    /// Their GPUs.
    pub gpus: Gpus,
    /// TTFT at the percentile of the promise, where the fleet has a steady state.
    pub ttft: Option<Millis>,
    /// Mean ITL of a request at the percentile of the promise, likewise.
    pub itl: Option<Millis>,
    /// Share of the requests within both targets.
    pub good: Share,
    /// Whether that is what runs (as far as it was asked for).
    pub present: bool,
}

/// What would have to be different for one replica fewer of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "if", rename_all = "snake_case")]
pub enum IfOnly {
    /// This target, were it at least that.
    Target {
        /// The pool.
        role: Role,
        /// What would be enough.
        replicas: Replicas,
        /// Which target.
        latency: Latency,
        /// The least target that would do.
        at_least: Millis,
    },
    /// The load, were it at most this share of what is planned for.
    Load {
        /// The pool.
        role: Role,
        /// What would be enough.
        replicas: Replicas,
        /// The most of the load that would do.
        at_most: Share,
    },
}

impl Fleets<'_> {
    /// The fleets with one replica fewer of a pool than `chosen` and the present one (`now`, in the
    /// order of the pools); and what one replica fewer would take, where the share `late` of the
    /// requests may be late.
    pub(crate) fn alternatives(
        &self,
        chosen: &Sizing,
        now: Option<&[Replicas]>,
        late: Share,
    ) -> (Vec<Alternative>, Vec<IfOnly>) {
        let Self { candidates, sla, .. } = self;
        let counts: Vec<u32> = chosen.pools.iter().map(|p| p.replicas.get()).collect();
        if counts.len() != candidates.len() {
            return Default::default();
        }
        let late = late.get().max(sla.percentile.share().rest().get());
        let (mut all, mut if_only) = (Vec::new(), Vec::new());
        for (i, c) in candidates.iter().enumerate() {
            let Some(fewer) = counts[i].checked_sub(1).filter(|n| *n >= c.pool.min.get().max(1))
            else {
                continue;
            };
            let mut counts = counts.clone();
            counts[i] = fewer;
            all.push(look(candidates, &counts, false));
            // Of a promise that is not kept as it is, one replica fewer is no question.
            if chosen.verdict == Verdict::Kept {
                if_only.extend(c.if_only(fewer, first_step(candidates, &counts), late));
            }
        }
        let now: Option<Vec<u32>> = now.map(|now| now.iter().map(|n| n.get()).collect());
        if let Some(now) = now.filter(|now| *now != counts && now.len() == candidates.len()) {
            all.retain(|a| a.replicas.iter().zip(&now).any(|((_, n), now)| n.get() != *now));
            all.push(look(candidates, &now, true));
        }
        (all, if_only)
    }
}

fn look(candidates: &[Candidate<'_>], counts: &[u32], present: bool) -> Alternative {
    let step = first_step(candidates, counts);
    let (mut ttft, mut itl) = (None, None);
    for (c, n) in candidates.iter().zip(counts) {
        let (own_ttft, own_itl) = c.latencies(*n, step);
        (ttft, itl) = (ttft.or(own_ttft), itl.or(own_itl));
    }
    Alternative {
        replicas: candidates
            .iter()
            .zip(counts)
            .map(|(c, n)| (c.pool.role, Replicas::new(*n)))
            .collect(),
        gpus: gpus(candidates, counts),
        ttft,
        itl,
        good: Share::clamped(joint(candidates, counts)),
        present,
    }
}
