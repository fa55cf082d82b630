//! A load test of the webhook process through the API server. It is not part of the tests: it takes
//! a minute of all cores. To run it, with a release build or without:
//!
//! ```sh
//! cargo test --test cluster -- --ignored --nocapture webhook::load
//! ```

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use sla_planner::api::DynamoGraphDeployment;

use super::process::{process_rules, serve};
use super::scene::{editor_rules, replicas};
use crate::process::memory;
use crate::serving::{DGD, create_dgd, namespace, two_services};

/// Updates each second; each is asked about twice, by the mutating and the validating webhook.
const UPDATES_PER_SECOND: u32 = 100;
const SECONDS: u32 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, see the head of the file"]
async fn two_hundred_reviews_a_second_for_half_a_minute() {
    let ns = namespace("load").await;
    let (rules, cluster_rules) = process_rules(&ns);
    let user = ns.service_account("sla-planner", rules, cluster_rules).await;
    let editor = ns.token(editor_rules()).await;
    let served = serve(&ns, &user, serde_json::json!({})).await;
    create_dgd(&ns, two_services()).await;
    let resource = ApiResource::erase::<DynamoGraphDeployment>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(editor.client().await, ns.name(), &resource);

    let before = memory("webhook", ns.name());
    let took = Arc::new(Mutex::new(Vec::new()));
    let begin = Instant::now();
    let mut calls = Vec::new();
    for index in 0..UPDATES_PER_SECOND * SECONDS {
        let due = Duration::from_secs(1) * index / UPDATES_PER_SECOND;
        tokio::time::sleep_until((begin + due).into()).await;
        let (api, took) = (api.clone(), Arc::clone(&took));
        calls.push(tokio::spawn(async move {
            // One of two is refused by the guard.
            let service = if index % 2 == 0 { "Decode" } else { "Prefill" };
            let patch = Patch::Merge(replicas(service, 3 + index % 7));
            let params = PatchParams { dry_run: true, ..PatchParams::default() };
            let began = Instant::now();
            let answer = api.patch(DGD, &params, &patch).await;
            took.lock().unwrap().push(began.elapsed());
            match answer {
                Ok(_) => assert_eq!(service, "Prefill"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(service == "Decode" && text.contains("denied the request"), "{text}");
                }
            }
        }));
    }
    for call in calls {
        call.await.expect("every update is answered as it should be");
    }
    let whole = begin.elapsed();
    let mut took = took.lock().unwrap().clone();
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    let (_, page) = served.page("metrics").await.unwrap();
    let figures = page.lines().filter(|line| line.starts_with("sla_planner_webhook_duration"));
    let after = memory("webhook", ns.name());
    eprintln!(
        "{} updates in {whole:?}; through the API server p50 {:?} p99 {:?} max {:?}; memory {before} \
         before, {after} after\n{}",
        took.len(),
        at(50),
        at(99),
        at(100),
        figures.collect::<Vec<_>>().join("\n")
    );
    assert!(!page.contains("result=\"error\""), "{page}");
}
