//! Prometheus and the API server go away; the process is told to end.

use std::time::{Duration, Instant};

use sla_planner::observe::Role;
use sla_planner::record::Record;
use tokio::net::TcpListener;

use super::scene::{HIGH, SOON, Scene, code, graph};
use crate::bench::eventually;

#[tokio::test]
async fn while_prometheus_is_away_nothing_changes_and_then_it_goes_on() {
    let mut scene = Scene::set("outage", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    scene.frontend.set_load(Some(HIGH));
    let mut planner = scene.start(&user);
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    // The first sizes are those of a load that is still rising; for longer than the stabilisation
    // window nothing else is to be wanted.
    let steady = |r: &Record| r.decision.pools.iter().all(|p| p.reason.code() == "steady");
    eventually("eight steady decisions in a row", SOON, async || {
        let records = scene.records();
        let n = records.iter().rev().take_while(|r| steady(r)).count();
        if n >= 8 { Ok(()) } else { Err(format!("{n}")) }
    })
    .await;
    let before = scene.asked().await;

    scene.prometheus.stop();
    let seen = scene.records().len();
    let away = scene.record("a hold", seen, |r| code(r, Role::Prefill) == "hold_no_metrics").await;
    let text = away.decision.pools[0].reason.to_string();
    assert!(text.contains("did not answer"), "{text}");
    // Longer than the stabilisation window: several ticks without metrics.
    let seen = scene.records().len();
    eventually("five more decisions", SOON, async || {
        let n = scene.records().len();
        if n >= seen + 5 { Ok(()) } else { Err(format!("{n}")) }
    })
    .await;
    for record in scene.records().iter().skip(seen) {
        assert_eq!(code(record, Role::Prefill), "hold_no_metrics");
        assert!(record.writes.is_empty(), "{:?}", record.writes);
    }
    assert_eq!(scene.asked().await, before, "nothing changed");

    // Back again: the same load is the same fleet, whatever the gap in the counters looks like.
    scene.prometheus.start_again().await;
    let back = scene.records().len();
    scene.record("steady pools on fresh metrics", back, steady).await;
    let writes: Vec<_> = scene.records().into_iter().skip(back).flat_map(|r| r.writes).collect();
    // What was held for the first minutes may go by then; a gap that reads as half of the load would
    // take more, and ask for it again.
    assert!(writes.iter().all(|w| w.write.to < w.write.from), "{writes:?}");
    let now = scene.asked().await;
    assert!(now.0 > 1 && now.1 > 1 && now.0 <= before.0 && now.1 <= before.1, "{now:?} {before:?}");

    scene.frontend.set_load(None);
    scene.asks("the minimum", |asked| asked == (1, 1)).await;
    assert_eq!(planner.ended(), None, "the same process: {}", planner.stderr());
    assert!(planner.stderr().contains("prometheus"), "it was said: {}", planner.stderr());
}

#[tokio::test]
async fn without_any_data_no_engine_is_ever_taken_away() {
    let mut spec = graph(true);
    for service in ["VllmPrefillWorker", "VllmDecodeWorker"] {
        spec["services"][service]["replicas"] = 3.into();
    }
    let scene = Scene::set("nodata", spec).await;
    let user = scene.user(Scene::rules()).await;
    // The frontend has never seen a request, so that it shows no series at all.
    let _planner = scene.start(&user);
    eventually("ten decisions", SOON, async || {
        let n = scene.records().len();
        if n >= 10 { Ok(()) } else { Err(format!("{n}")) }
    })
    .await;
    assert_eq!(scene.asked().await, (3, 3));
    assert!(scene.records().iter().all(|r| r.writes.is_empty()));
}

#[tokio::test]
async fn while_the_api_server_is_away_it_says_so_and_then_it_goes_on() {
    let scene = Scene::set("cut", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    let (proxy, mut planner) = scene.start_cut_off(&user).await;
    assert!(planner.stderr().contains("API server"), "it was said: {}", planner.stderr());

    proxy.cut(false);
    scene.asks("more engines", |(prefill, decode)| prefill > 2 && decode > 1).await;
    proxy.cut(true);
    let seen = scene.records().len();
    scene
        .record("no inventory again", seen, |r| code(r, Role::Decode) == "hold_no_inventory")
        .await;
    assert_eq!(planner.ended(), None, "{}", planner.stderr());
}

#[tokio::test]
async fn sigterm_ends_it_within_a_second_also_while_prometheus_hangs() {
    let scene = Scene::set("term", graph(true)).await;
    let user = scene.user(Scene::rules()).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let config = scene.config(&url, "adapter_controller: true");
    let mut planner = scene.start_with(user.kubeconfig(), &config);
    // It has asked, and waits for an answer that does not come.
    let asked = tokio::time::timeout(SOON, silent.accept()).await;
    let _held = asked.expect("a connection in time").expect("a connection");
    let begun = Instant::now();
    let status = planner.terminate(Duration::from_secs(30));
    let took = begun.elapsed();
    assert!(status.success(), "{status}: {}", planner.stderr());
    // A second is promised; the guard and a busy machine get another one.
    assert!(took < Duration::from_secs(2), "{took:?}");
}
