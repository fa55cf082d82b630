//! Rules across fields, reported at the line of the field at fault.

use garde::error::Path;
use garde::{Error, Report, Validate};

use super::cluster::ClusterFile;
use super::file::{File, ForecastFile, LatencyFile, PoolFile, PoolsFile, SlaFile, TargetFile};
use super::text::DurationText;
use super::webhook::complaints;

/// The most of a stated load: requests per second, tokens. A thousand times what any fleet serves;
/// beyond it the arithmetic of a queue has no digits left, and the answer would be noise.
const MOST_LOAD: f64 = 1e9;

/// Collects complaints under paths.
struct Findings<'a> {
    report: &'a mut Report,
}

impl Findings<'_> {
    fn add(&mut self, path: &[&str], message: impl std::fmt::Display) {
        let path = path.iter().fold(Path::empty(), |p, part| p.join((*part).to_owned()));
        self.report.append(path, Error::new(message.to_string()));
    }
}

impl Validate for File {
    type Context = ();

    fn validate_into(&self, (): &(), _: &mut dyn FnMut() -> Path, report: &mut Report) {
        let found = &mut Findings { report };
        let Self {
            sla,
            pools,
            max_gpu_budget,
            intervals,
            forecast,
            prometheus,
            target,
            cluster,
            mode: _,
            load,
            adapter_controller: _,
            on_conflict: _,
            metrics_port: _,
            record: _,
            webhook,
        } = self;
        check_sla(sla, found);
        check_pools(pools, found);
        check_budget(*max_gpu_budget, pools, found);
        for (name, value) in [
            ("adjustment", intervals.adjustment),
            ("window", intervals.window),
            ("max_metric_age", intervals.max_metric_age),
        ] {
            positive(value, &["intervals", name], found);
        }
        if forecast.warmup_trace.as_ref().is_some_and(|path| path.trim().is_empty()) {
            found.add(
                &["forecast", "warmup_trace"],
                "expected the name of a file, found an empty text: leave the key out for none",
            );
        }
        if let Some(cluster) = cluster {
            check_cluster(cluster, target, forecast, found);
        }
        positive(prometheus.timeout, &["prometheus", "timeout"], found);
        if prometheus.bearer_token.is_some() && prometheus.token_file.is_some() {
            found.add(
                &["prometheus", "token_file"],
                "give either `bearer_token` or `token_file`, not both",
            );
        }
        for (path, text) in complaints(webhook) {
            let path: Vec<&str> = ["webhook"].into_iter().chain(path).collect();
            found.add(&path, text);
        }
        if let Some(load) = load {
            for (name, value, lowest) in
                [("rps", load.rps, 0.0), ("isl", load.isl, 1.0), ("osl", load.osl, 1.0)]
            {
                if !(lowest..=MOST_LOAD).contains(&value) {
                    found.add(
                        &["load", name],
                        format!("expected a finite number of at least {lowest} and at most {MOST_LOAD:e}, found {value}"),
                    );
                }
            }
        }
    }
}

fn check_cluster(
    cluster: &ClusterFile,
    target: &TargetFile,
    forecast: &ForecastFile,
    found: &mut Findings<'_>,
) {
    let TargetFile { namespace, dgd, dynamo_namespace, model } = target;
    if [namespace, dgd, dynamo_namespace, model].into_iter().any(Option::is_some) {
        found.add(
            &["target"],
            "`cluster` plans for every DGD that asks for it: leave out `target`, or leave out `cluster`",
        );
    }
    if forecast.warmup_trace.is_some() {
        found.add(
            &["forecast", "warmup_trace"],
            "the load of a trace is that of one DGD, and `cluster` plans for many: leave it out",
        );
    }
    let named = cluster.namespaces.as_deref();
    if named.is_some_and(<[_]>::is_empty) {
        found.add(
            &["cluster", "namespaces"],
            "expected at least one namespace: leave the key out for every namespace",
        );
    }
    if named.is_some_and(|named| named.iter().any(|name| name.trim().is_empty())) {
        found.add(&["cluster", "namespaces"], "expected a namespace, found an empty text");
    }
    for (name, value) in
        [("profiles", &cluster.profiles), ("lease_namespace", &cluster.lease_namespace)]
    {
        if value.as_ref().is_some_and(|text| text.trim().is_empty()) {
            found.add(&["cluster", name], "found an empty text: leave the key out for the default");
        }
    }
}

fn check_sla(sla: &SlaFile, found: &mut Findings<'_>) {
    percentile(sla.percentile, &["sla", "percentile"], found);
    for (name, latency) in [("ttft", &sla.ttft), ("itl", &sla.itl)] {
        match latency {
            Some(LatencyFile::Target(d)) => positive(Some(*d), &["sla", name], found),
            Some(LatencyFile::Own(own)) => {
                positive(Some(own.target), &["sla", name, "target"], found);
                percentile(own.percentile, &["sla", name, "percentile"], found);
            }
            None => {}
        }
    }
}

fn check_pools(pools: &PoolsFile, found: &mut Findings<'_>) {
    if pools.aggregated.is_some() && (pools.prefill.is_some() || pools.decode.is_some()) {
        found.add(
            &["pools", "aggregated"],
            "`aggregated` does the work of `prefill` and `decode`: give it alone, or give those two",
        );
    }
    let names = [
        ("prefill", pools.prefill.as_ref().and_then(|p| p.service.as_deref())),
        ("decode", pools.decode.as_ref().and_then(|p| p.service.as_deref())),
    ];
    if let (Some(p), Some(d)) = (names[0].1, names[1].1)
        && p == d
    {
        found.add(
            &["pools", "decode", "service"],
            format!("`{d}` is already the service of the prefill pool"),
        );
    }
    for (role, pool) in pools.each() {
        check_pool(role, pool, found);
    }
}

fn check_pool(role: &str, pool: &PoolFile, found: &mut Findings<'_>) {
    let at = |field| ["pools", role, field];
    if let (Some(min), Some(max)) = (pool.min, pool.max)
        && min > max
    {
        found.add(
            &at("min"),
            format!("min {min} is more than max {max}: lower `min` or raise `max`"),
        );
    } else if let (None, Some(0)) = (pool.min, pool.max) {
        found.add(
            &at("max"),
            "max 0 is less than the default min 1: raise `max`, or set `min: 0` as well",
        );
    }
    for (field, value) in [
        ("gpus_per_replica", pool.gpus_per_replica),
        ("max_num_batched_tokens", pool.max_num_batched_tokens),
        ("max_num_seqs", pool.max_num_seqs),
        ("context_length", pool.context_length),
    ] {
        if value == Some(0) {
            found.add(&at(field), "expected a number of at least 1, found 0");
        }
    }
}

fn check_budget(budget: Option<i64>, pools: &PoolsFile, found: &mut Findings<'_>) {
    let Some(budget) = budget else { return };
    if budget == -1 {
        return;
    }
    if budget < 1 || budget > i64::from(u32::MAX) {
        let most = u32::MAX;
        found.add(
            &["max_gpu_budget"],
            format!("expected at least 1, or -1 for no limit, and at most {most}, found {budget}"),
        );
        return;
    }
    let least: i64 = pools
        .each()
        .map(|(_, p)| i64::from(p.min.unwrap_or(1)) * i64::from(p.gpus_per_replica.unwrap_or(1)))
        .sum();
    if budget < least {
        found.add(
            &["max_gpu_budget"],
            format!(
                "{budget} GPUs are fewer than the {least} that the pools' `min` replicas take: \
                 raise `max_gpu_budget` to {least} or lower a `min`"
            ),
        );
    }
}

fn positive(value: Option<DurationText>, path: &[&str], found: &mut Findings<'_>) {
    if value.is_some_and(|d| d.0.is_zero()) {
        found.add(path, "expected more than zero");
    }
}

fn percentile(value: Option<f64>, path: &[&str], found: &mut Findings<'_>) {
    if let Some(p) = value
        && crate::units::Percentile::new(p).is_none()
    {
        found.add(
            path,
            format!(
                "expected a percentile between 0 and 100 (in percent, 100 excluded), found {p}"
            ),
        );
    }
}

impl PoolsFile {
    /// The pools that were given, with their names.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, &PoolFile)> {
        [("prefill", &self.prefill), ("decode", &self.decode), ("aggregated", &self.aggregated)]
            .into_iter()
            .filter_map(|(role, pool)| pool.as_ref().map(|p| (role, p)))
    }
}
