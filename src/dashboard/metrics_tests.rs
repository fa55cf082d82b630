use super::*;
use crate::observe::{Missing, PoolInventory};
use crate::plan::{Starting, Trust};
use crate::units::{Percentile, Share};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_500);

fn traffic() -> Traffic {
    fn fresh<T>(value: T) -> Signal<T> {
        Signal::Fresh { value, at: NOW.minus(Duration::from_secs(2)) }
    }
    let millis = |x| fresh(Millis::new(x).unwrap());
    let percentile = Percentile::default();
    Traffic {
        window: Duration::from_secs(180),
        arrivals: fresh(PerSecond::new(12.5).unwrap()),
        isl: fresh(Tokens::new(3000.0).unwrap()),
        osl: fresh(Tokens::new(150.0).unwrap()),
        ttft: LatencySignals { mean: millis(250.0), quantile: millis(610.0), percentile },
        itl: LatencySignals { mean: millis(20.0), quantile: millis(40.0), percentile },
        request_duration: millis(3250.0),
        queued: fresh(2.0),
        inflight: fresh(40.0),
        kv_usage: fresh(Share::new(0.45).unwrap()),
    }
}

/// Everything set once.
fn filled() -> Metrics {
    let metrics = Metrics::new("1.2.3");
    metrics.set_leader(true);
    metrics.set_adapter_leader("llm", false);
    metrics.error("prometheus", "timeout");
    let path = "/validate/nvidia.com/v1beta1/dynamographdeployments";
    metrics.webhook_review(path, "UPDATE", "denied", "replicas", Duration::from_millis(2));
    metrics.set_webhook_certificate_end(Some(NOW));
    let deployment = metrics.deployment("prod/llama");
    deployment.tick("decided", Duration::from_millis(30));
    deployment.success(NOW, "observe");
    deployment.decision(Role::Decode, "demand_grew");
    deployment.write(Role::Decode, "applied");
    deployment.set_recommended(Role::Prefill, Replicas::new(2));
    deployment.set_recommended(Role::Decode, Replicas::new(5));
    deployment.add_gpu_time(Gpus::new(8), Duration::from_secs(900));
    deployment.set_targets(Millis::new(500.0), Millis::new(50.0));
    deployment.set_estimates(Millis::new(420.0), Millis::new(44.0));
    deployment.set_late("hour", Some(Share::clamped(0.02)), Some(0.4));
    deployment.set_late("day", None, None);
    let minutes = |n: u64| Duration::from_secs(60 * n);
    deployment.set_starting(&[Starting {
        role: Role::Decode,
        seen: 7,
        median: minutes(2),
        p90: minutes(3),
        given_up_after: minutes(5),
        expected: 4.5,
        stuck: Vec::new(),
    }]);
    deployment.set_trust(&Trust::default());
    deployment.set_conflict(Role::Prefill, Some(false));
    deployment.set_conflict(Role::Decode, None);
    deployment.set_regret("prefill", Some(-0.12));
    deployment.set_regret("decode", None);
    deployment.set_forecast(&ForecastFigures {
        low: PerSecond::new(10.0),
        point: PerSecond::new(13.0),
        high: PerSecond::new(17.0),
        isl: Tokens::new(3100.0),
        osl: Tokens::new(160.0),
    });
    let at = NOW;
    let pools = [(Role::Prefill, 2), (Role::Decode, 4)]
        .map(|(role, n)| (role, Signal::Fresh { value: PoolInventory::steady(n), at }));
    deployment.set_inventory(&Inventory { pools: pools.into_iter().collect() });
    deployment.set_traffic(NOW, &traffic());
    metrics
}

#[test]
fn the_whole_page() {
    // The series of one metric come in any order; the buckets of a histogram do not.
    let page = filled().page();
    let families: Vec<String> = page
        .split_inclusive('\n')
        .collect::<Vec<_>>()
        .chunk_by(|_, next| !next.starts_with("# HELP"))
        .map(|family| {
            let mut lines = family.to_vec();
            if !page.contains(&format!("{}_bucket", lines[0].split(' ').nth(2).unwrap())) {
                lines[2..].sort_unstable_by_key(|line| (line.starts_with('#'), *line));
            }
            lines.concat()
        })
        .collect();
    insta::assert_snapshot!(families.concat());
}

#[test]
fn every_name_of_the_table_is_on_the_page_with_its_type_and_labels() {
    let page = filled().page();
    for metric in names::ALL {
        let head = format!("# TYPE {} {}\n", registered_name(metric), metric.kind.as_str());
        assert!(page.contains(&head), "{head}");
        let sample = page
            .lines()
            .find(|line| {
                let name = line.split(['{', ' ']).next();
                name == Some(metric.name) || name == Some(&format!("{}_sum", metric.name))
            })
            .unwrap_or_else(|| panic!("no sample of {}", metric.name));
        for label in metric.labels {
            assert!(sample.contains(&format!("{label}=\"")), "{sample}");
        }
    }
    let types = page.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!(types, names::ALL.len());
}

#[test]
fn what_is_no_longer_known_has_no_series_but_a_state() {
    let metrics = filled();
    let deployment = metrics.deployment("prod/llama");
    let why = Missing::SourceDown { detail: "refused".to_owned() };
    let gone = Traffic::all_missing(Duration::from_secs(180), Percentile::default(), &why);
    deployment.set_traffic(NOW, &gone);
    let page = metrics.page();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        assert!(!line.contains("_observed_"), "{line}");
        assert!(!line.starts_with("sla_planner_signal_age_seconds"), "{line}");
    }
    let state = |signal: &str, state: &str, value: &str| {
        format!(
            "sla_planner_signal_state{{deployment=\"prod/llama\",signal=\"{signal}\",\
             state=\"{state}\"}} {value}\n"
        )
    };
    assert!(page.contains(&state("arrivals", "missing", "1.0")), "{page}");
    assert!(page.contains(&state("arrivals", "fresh", "0.0")));
    // What was not observed anew stays.
    assert!(page.contains("sla_planner_recommended_replicas{"));
}

#[test]
fn a_pool_that_cannot_be_read_has_no_replicas() {
    let metrics = filled();
    let deployment = metrics.deployment("prod/llama");
    deployment.set_inventory(&Inventory::default());
    let page = metrics.page();
    assert!(!page.contains("sla_planner_replicas{"), "{page}");
    assert!(!page.contains("dynamo_planner_num_decode_replicas{"));
}

#[test]
fn aggregated_replicas_go_by_the_name_of_decode() {
    let metrics = Metrics::new("x");
    let deployment = metrics.deployment("a/b");
    deployment.set_recommended(Role::Aggregated, Replicas::new(7));
    let at = NOW;
    let pool = Signal::Fresh { value: PoolInventory::steady(6), at };
    deployment.set_inventory(&Inventory { pools: [(Role::Aggregated, pool)].into() });
    let page = metrics.page();
    assert!(page.contains("dynamo_planner_predicted_num_decode_replicas{deployment=\"a/b\"} 7.0"));
    assert!(page.contains("dynamo_planner_num_decode_replicas{deployment=\"a/b\"} 6.0"));
    assert!(!page.contains("dynamo_planner_num_prefill_replicas{"));
}

#[test]
fn a_deployment_that_is_forgotten_leaves_no_series_and_its_neighbours_theirs() {
    let metrics = filled();
    metrics.deployment("prod/llama-2").set_recommended(Role::Decode, Replicas::new(1));
    metrics.deployment("prod/llama").forget();
    let page = metrics.page();
    assert!(!page.contains("\"prod/llama\""), "{page}");
    assert!(page.contains("\"prod/llama-2\""));
    assert!(page.contains("sla_planner_leader{} 1.0"));
}

#[test]
fn a_hostile_name_stays_inside_its_label() {
    let metrics = Metrics::new("x");
    metrics.deployment("a\"} 1\n\\").set_recommended(Role::Decode, Replicas::new(1));
    let page = metrics.page();
    assert!(page.contains(r#"{deployment="a\"} 1\n\\",pool="decode"} 1.0"#), "{page}");
}
