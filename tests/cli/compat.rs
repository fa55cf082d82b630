//! `predict --compat dynamo-0.9` names the replicas that Dynamo's planner 0.9.0 names.

use crate::{file, planner};

/// Length of Dynamo's interval: the golden values are requests in that time.
const INTERVAL: f64 = 180.0;

fn sized(requests: f64, isl: &str, osl: &str, itl: &str, more: &[&str]) -> (u64, u64) {
    let rps = (requests / INTERVAL).to_string();
    let itl = format!("{itl}ms");
    let steady = ["predict", "--rps", &rps, "--isl", isl, "--osl", osl, "--itl", &itl];
    let how = ["--compat", "dynamo-0.9", "--format", "json"];
    let answer = planner(&[&steady[..], &how[..], more].concat()).json();
    let count = |i: usize| answer["pools"][i]["replicas"].as_u64().unwrap();
    (count(0), count(1))
}

/// The golden replica counts of a run of NVIDIA's own code on the profile that is the default here.
#[test]
fn the_golden_replica_counts_hold() {
    for (requests, isl, osl, itl, expected) in [
        (100.0, "3000", "150", "50", (1, 1)),
        (20_000.0, "3000", "150", "50", (7, 3)),
        (20_000.0, "3000", "150", "10", (7, 4)),
        (20_000.0, "8000", "500", "20", (19, 21)),
        (5_000.0, "500", "1000", "15", (1, 3)),
        (60_000.0, "1000", "300", "30", (13, 8)),
        (200_000.0, "3000", "150", "50", (68, 25)),
    ] {
        assert_eq!(sized(requests, isl, osl, itl, &[]), expected, "{requests} {isl} {osl} {itl}");
    }
    for requests in [20_000.0, 200_000.0] {
        let budget = ["--max-gpu-budget", "8"];
        assert_eq!(sized(requests, "3000", "150", "50", &budget), (6, 2));
    }
    let (_kept, wide) = file(
        "sla.yaml",
        "pools: {prefill: {gpus_per_replica: 2}, decode: {gpus_per_replica: 4}}\n\
         max_gpu_budget: 40\n",
    );
    assert_eq!(sized(200_000.0, "3000", "150", "50", &["--sla", &wide]), (14, 3));
}
