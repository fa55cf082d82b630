//! "Viewing Scaling Adapters".

use super::printed::Table;
use super::scene::{GRAPH, Scene};
use crate::bench::{Bench, eventually};
use crate::serving::SOON;

#[tokio::test]
async fn get_dgdsa_shows_one_adapter_for_each_service() {
    let scene = Scene::set(Bench::get().await, "guide-view").await;
    eventually("the table of the guide", SOON, async || {
        let table = Table::read(&scene.says("kubectl get dgdsa -n default").await);
        assert_eq!(table.head, ["NAME", "DGD", "SERVICE", "REPLICAS", "AGE"]);
        // The guide has them in the order of the graph; kubectl sorts by name.
        let expected = [
            ["sglang-agg-decode", GRAPH, "decode", "1"],
            ["sglang-agg-frontend", GRAPH, "Frontend", "1"],
        ];
        if table.rows_of_some_age() == expected { Ok(()) } else { Err(format!("{table:?}")) }
    })
    .await;
}

#[tokio::test]
async fn get_dgd_shows_that_the_graph_is_ready() {
    let scene = Scene::set(Bench::get().await, "guide-graph").await;
    eventually("a graph that is ready", SOON, async || {
        let table = Table::read(&scene.says("kubectl get dgd -n default").await);
        assert_eq!(table.head, ["NAME", "READY", "BACKEND", "AGE"]);
        let ready = table.rows_of_some_age() == [[GRAPH, "True", "sglang"]];
        if ready { Ok(()) } else { Err(format!("{table:?}")) }
    })
    .await;
}
