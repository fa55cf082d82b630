//! What a command needs beyond a valid configuration file.

use crate::spec::Config;
use crate::units::{Gpus, Replicas};

use super::exit::CliError;

/// Something that `run` needs and a configuration does not have.
pub(super) struct Need {
    /// What, for people.
    pub(super) what: String,
    /// How to give it.
    pub(super) how: String,
}

/// What `run` needs and `config` does not have, the most needed first.
pub(super) fn of_run(config: &Config) -> Vec<Need> {
    let need = |what: &str, how: &str| Need { what: what.to_owned(), how: how.to_owned() };
    let mut needs = Vec::new();
    let one = config.cluster.is_none();
    if one && config.target.is_none() {
        let how =
            "give `target.dgd`, or set DYN_PARENT_DGD_K8S_NAME; or `cluster: {}` for all that ask";
        needs.push(need("a DGD to scale", how));
    }
    if config.prometheus.is_none() {
        needs.push(need("a Prometheus", "give `prometheus.url`, or set PROMETHEUS_ENDPOINT"));
    }
    // Who plans for many may leave it to each what its pools are.
    if one && config.pools.is_empty() {
        let how = "give `pools.prefill` and `pools.decode`, or `pools.aggregated`";
        needs.push(need("pools to scale", how));
    }
    needs
}

/// What to say of pools without profiling data, where there are any: they are planned for.
pub(super) fn without_profile(config: &Config) -> Option<String> {
    let without = config.pools.iter().filter(|(_, pool)| pool.profile.is_none());
    let roles: Vec<&str> = without.map(|(role, _)| role.as_str()).collect();
    (!roles.is_empty()).then(|| {
        format!(
            "no profile of {}: sized by latencies and KV memory until traffic has shown what an \
             engine does, which takes some minutes; `pools.*.profile` gives one",
            roles.join(" and ")
        )
    })
}

/// Refuses a budget that does not hold the fewest replicas of the pools: each one's `min` with the
/// GPUs of a replica.
pub(super) fn check_budget(
    budget: Option<Gpus>,
    pools: impl IntoIterator<Item = (Replicas, Gpus)>,
) -> Result<(), CliError> {
    let least = pools.into_iter().fold(Gpus::new(0), |sum, (min, each)| sum.plus(min.gpus(each)));
    match budget {
        Some(budget) if budget < least => Err(CliError::bad_input(format!(
            "the GPU budget {budget} is less than the {least} GPUs that the pools' minimum \
             replicas take"
        ))
        .hint("raise --max-gpu-budget (max_gpu_budget in the file), or lower a pool's `min`")),
        Some(_) | None => Ok(()),
    }
}
