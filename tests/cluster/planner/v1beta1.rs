//! The planner on a graph of `v1beta1`.

use serde_json::json;
use sla_planner::api::Version;

use super::scene::{HIGH, LOW, SOON, Scene};
use crate::bench::eventually;
use crate::v1beta1::scene::{adapted, asked, create, namespace, worker};

#[tokio::test]
async fn a_graph_of_components_is_planned_for_by_its_adapter_or_where_it_has_none_itself() {
    let ns = namespace("planned").await;
    let components = json!([
        {"name": "Frontend", "type": "frontend", "replicas": 1},
        adapted(worker("Decode", "decode", 1)),
        worker("Prefill", "prefill", 1)
    ]);
    create(&ns, components).await;
    let scene = Scene::around(ns, Version::V1beta1).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let mut planner = scene.start(&user);
    let both = async |what: &str, wanted: fn(u64) -> bool| {
        eventually(what, SOON, async || {
            let found = (asked(&scene.ns, "Decode").await?, asked(&scene.ns, "Prefill").await?);
            if let (Some(decode), Some(prefill)) = found
                && wanted(decode)
                && wanted(prefill)
            {
                return Ok(());
            }
            Err(format!("{found:?}; {:?}", scene.records().last().map(|r| r.writes.clone())))
        })
        .await;
    };
    both("more than one engine of each", |n| n > 1).await;
    let paths: Vec<String> =
        scene.records().iter().flat_map(|r| r.writes.clone()).filter_map(|w| w.path).collect();
    assert!(paths.iter().any(|path| path.ends_with("llama-decode/scale")), "{paths:?}");
    assert!(paths.iter().any(|path| !path.ends_with("/scale")), "{paths:?}");
    scene.frontend.set_load(Some(LOW));
    both("one engine of each", |n| n == 1).await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}
