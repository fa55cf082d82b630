//! The observer against a real Prometheus that scrapes doubles of Dynamo frontends.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sla_planner::dashboard::{Health, Metrics, Server};
use sla_planner::observe::{Missing, Role, Signal, Traffic};
use sla_planner::prometheus::{
    Client, Endpoint, Observer, Part, Preflight, Question, Rules, Selector, part_query,
};
use sla_planner::units::{PerSecond, Percentile, Replicas, Timestamp};

use crate::bench::{Guarded, Prometheus, Target, eventually, free_port};
use crate::frontend_double::{Answering, FrontendDouble, Load};

const NAMESPACE: &str = "prod-llama";
const MODEL: &str = "Meta/Llama-3.1-8B";
const WINDOW: Duration = Duration::from_secs(10);

/// What takes a window and a few scrapes, on a busy machine.
const SOON: Duration = Duration::from_secs(90);

const LOAD: Load = Load { rps: 20.0, isl: 3000.0, osl: 50.0, ttft: 0.2, itl: 0.01 };

fn target(double: &FrontendDouble, namespace: &str, pod: &str) -> Target {
    Target::new(double.address()).label("dynamo_namespace", namespace).label("pod", pod)
}

fn selector() -> Selector {
    Selector { dynamo_namespace: NAMESPACE.to_owned(), model: Some(MODEL.to_owned()) }
}

fn question() -> Question {
    Question { window: WINDOW, percentile: Percentile::new(90.0).unwrap() }
}

/// Scrapes come every second here.
fn rules() -> Rules {
    Rules { fresh_for: Duration::from_secs(5), frozen_after: Duration::from_secs(4) }
}

async fn client(prometheus: &Prometheus) -> Client {
    Client::new(Endpoint {
        url: prometheus.url(),
        timeout: Duration::from_secs(10),
        ..Endpoint::default()
    })
    .await
    .unwrap()
}

async fn observer(prometheus: &Prometheus) -> Observer {
    Observer::new(client(prometheus).await, selector(), question(), rules())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

/// Observes until `wanted` holds.
async fn until(observer: &mut Observer, what: &str, wanted: impl Fn(&Traffic) -> bool) -> Traffic {
    eventually(what, SOON, async || {
        let sighting = observer.observe(now()).await;
        assert_eq!(sighting.warnings, [""; 0]);
        if wanted(&sighting.traffic) { Ok(sighting.traffic) } else { Err(format!("{sighting:?}")) }
    })
    .await
}

fn rate(traffic: &Traffic) -> Option<f64> {
    traffic.arrivals.fresh().map(|rate| rate.get())
}

fn near(found: f64, expected: f64, share: f64) -> bool {
    (found - expected).abs() <= share * expected
}

#[track_caller]
fn assert_near(what: &str, found: Option<f64>, expected: f64, share: f64) {
    let found = found.unwrap_or_else(|| panic!("{what} is not fresh"));
    assert!(near(found, expected, share), "{what}: {found}, expected about {expected}");
}

#[tokio::test]
async fn what_the_double_exposes_is_prometheus_text() {
    let double = FrontendDouble::start(MODEL).await;
    double.count_started(true);
    double.set_load(Some(Load { osl: 5.0, ..LOAD }));
    tokio::time::sleep(Duration::from_millis(700)).await;
    let page = double.page();
    for series in [
        "dynamo_frontend_requests_total{endpoint=\"chat_completions\",model=\"meta/llama-3.1-8b\",\
         request_type=\"stream\",status=\"success\"}",
        "dynamo_frontend_time_to_first_token_seconds_bucket{model=\"meta/llama-3.1-8b\",le=\"0\"} 0",
        "le=\"480\"}",
        "dynamo_component_kvstats_gpu_cache_usage_percent{",
    ] {
        assert!(page.contains(series), "{series} is not in\n{page}");
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    // 3 is lint ("use a base unit"), which is Dynamo's own choice of names; 1 is a parse error.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
}

#[tokio::test]
async fn scripted_traffic_is_seen_as_it_is_and_decoys_are_not() {
    // Ours: an old frontend that is scraped twice, and a new one with the suffix of a rollout.
    let old = FrontendDouble::start(MODEL).await;
    let new = FrontendDouble::start(MODEL).await;
    new.count_started(true);
    new.set_load(Some(Load { rps: 10.0, isl: 1500.0, ..LOAD }));
    old.set_load(Some(LOAD));
    old.set_kv_usage(0.6);
    new.set_kv_usage(0.3);
    // Not ours: longer namespaces, one with a suffix that is no hash, one that is ours but for a
    // letter, another model. Workers have no model: those in our namespace
    // are ours.
    let decoy = FrontendDouble::start(MODEL).await;
    let other_model = FrontendDouble::start("Meta/Llama-3.1-8B-Instruct").await;
    for double in [&decoy, &other_model] {
        double.set_load(Some(Load { rps: 500.0, isl: 50.0, osl: 5.0, ttft: 5.0, itl: 0.5 }));
    }
    decoy.set_kv_usage(0.99);
    other_model.set_kv_usage(0.6);
    let prometheus = Prometheus::start(&[
        target(&old, NAMESPACE, "old-0"),
        target(&old, NAMESPACE, "old-0").label("prometheus_replica", "b"),
        target(&new, "prod-llama-0a1b2c3d", "new-0"),
        target(&decoy, "prod-llama-b", "decoy-0"),
        target(&decoy, "xprod-llama", "decoy-1"),
        target(&decoy, "prod-llama-bad", "decoy-2"),
        target(&decoy, "prod-llamb", "decoy-3"),
        target(&other_model, NAMESPACE, "decoy-4"),
    ])
    .await;
    let mut observer = observer(&prometheus).await;
    // Both rates have a whole window behind them when they have settled.
    let traffic = until(&mut observer, "the scripted rate", |t| {
        rate(t).is_some_and(|r| near(r, 30.0, 0.04)) && t.isl.is_fresh() && t.osl.is_fresh()
    })
    .await;

    let weighted = (20.0 * 3000.0 + 10.0 * 1500.0) / 30.0;
    assert_near("isl", traffic.isl.fresh().map(|t| t.get()), weighted, 0.05);
    assert_near("osl", traffic.osl.fresh().map(|t| t.get()), 50.0, 0.05);
    assert_near("ttft", traffic.ttft.mean.fresh().map(|t| t.get()), 200.0, 0.05);
    assert_near("itl", traffic.itl.mean.fresh().map(|t| t.get()), 10.0, 0.08);
    assert_near("duration", traffic.request_duration.fresh().map(|t| t.get()), 690.0, 0.08);
    assert_near("kv", traffic.kv_usage.fresh().map(|s| s.get()), 0.5, 0.01);
    // The 90th percentile of 100..300 ms is 280; the bucket around it is 110..230..490 ms wide.
    let quantile = traffic.ttft.quantile.fresh().unwrap().get();
    assert!((220.0..490.0).contains(&quantile), "{quantile}");
    let quantile = traffic.itl.quantile.fresh().unwrap().get();
    assert!((11.0..23.0).contains(&quantile), "{quantile}");
    let inflight = *traffic.inflight.fresh().unwrap();
    assert!(near(inflight, 30.0 * 0.69, 0.35), "Little's law: {inflight}");
    assert!(traffic.queued.fresh().unwrap() < &inflight);

    let preflight = observer.preflight().await.unwrap();
    assert!(preflight.is_complete(), "{preflight}");
    assert!(preflight.samples.unwrap() >= 4.0, "{preflight}");

    // Every question can be asked by hand too.
    for part in Part::ALL {
        let text = part_query(part, &selector(), &question());
        prometheus.query(&text).await.unwrap_or_else(|err| panic!("{}: {err}", part.as_str()));
    }
    // A label that tries to break out finds nothing and breaks nothing.
    let hostile = Selector {
        dynamo_namespace: "\"} or vector(1) #\\".to_owned(),
        model: Some("(?i).*\n\0\"".to_owned()),
    };
    let found = Preflight::run(&client(&prometheus).await, &hostile, &question()).await.unwrap();
    assert!(found.series.iter().all(|check| !check.found), "{found}");
    assert!(found.to_string().contains("dynamo_namespace=\"prod-llama\""), "{found}");
}

#[tokio::test]
async fn an_idle_fleet_is_a_fresh_zero() {
    let double = FrontendDouble::start(MODEL).await;
    double.set_load(Some(Load { osl: 5.0, ..LOAD }));
    let prometheus = Prometheus::start(&[target(&double, NAMESPACE, "a")]).await;
    let mut observer = observer(&prometheus).await;
    until(&mut observer, "traffic", |t| rate(t).is_some_and(|r| r > 1.0)).await;

    double.set_load(None);
    // The latest arrivals get their tokens after the arrivals have ended.
    let idle = |t: &Traffic| rate(t) == Some(0.0) && t.itl.mean.has_no_samples();
    let traffic = until(&mut observer, "idleness", idle).await;
    assert_eq!(traffic.arrivals.fresh(), Some(&PerSecond::ZERO));
    assert_eq!(traffic.inflight.fresh(), Some(&0.0));
    for signal in [&traffic.ttft.mean, &traffic.ttft.quantile, &traffic.itl.quantile] {
        assert!(signal.has_no_samples(), "{signal}");
    }
}

#[tokio::test]
async fn a_frontend_that_never_had_a_request_is_no_zero() {
    let double = FrontendDouble::start(MODEL).await;
    let prometheus = Prometheus::start(&[target(&double, NAMESPACE, "a")]).await;
    prometheus.eventually("dynamo_frontend_model_workers").await;
    let sighting = observer(&prometheus).await.observe(now()).await;
    assert_eq!(sighting.traffic.arrivals, Signal::missing(Missing::NoSeries));
    assert!(sighting.traffic.kv_usage.is_fresh());
}

#[tokio::test]
async fn a_prometheus_that_is_stopped_is_a_source_that_is_down() {
    let double = FrontendDouble::start(MODEL).await;
    double.set_load(Some(Load { osl: 5.0, ..LOAD }));
    let mut prometheus = Prometheus::start(&[target(&double, NAMESPACE, "a")]).await;
    let mut observer = observer(&prometheus).await;
    until(&mut observer, "traffic", |t| rate(t).is_some()).await;

    prometheus.stop();
    let sighting = observer.observe(now()).await;
    let error = sighting.error.expect("an error");
    assert_eq!(error.label(), "unreachable");
    let Signal::Missing { why: Missing::SourceDown { detail } } = &sighting.traffic.arrivals else {
        panic!("{sighting:?}", sighting = sighting.traffic);
    };
    assert!(detail.contains(&prometheus.url()), "{detail}");

    prometheus.start_again().await;
    until(&mut observer, "traffic again", |t| rate(t).is_some_and(|r| r > 1.0)).await;
}

#[tokio::test]
async fn a_target_that_is_gone_is_late_and_then_missing_but_never_zero() {
    let double = FrontendDouble::start(MODEL).await;
    double.set_load(Some(Load { osl: 5.0, ..LOAD }));
    let prometheus = Prometheus::start(&[target(&double, NAMESPACE, "a")]).await;
    let mut observer = observer(&prometheus).await;
    until(&mut observer, "traffic", |t| rate(t).is_some_and(|r| r > 1.0)).await;

    prometheus.set_targets(&[]);
    let mut late = false;
    eventually("no series", SOON, async || {
        let traffic = observer.observe(now()).await.traffic;
        assert_ne!(rate(&traffic), Some(0.0));
        late |= matches!(traffic.arrivals, Signal::Late { .. });
        let gone = Signal::missing(Missing::NoSeries);
        if traffic.arrivals == gone { Ok(()) } else { Err(format!("{:?}", traffic.arrivals)) }
    })
    .await;
    assert!(late, "the window remembers the target for a while");
}

#[tokio::test]
async fn half_of_the_frontends_silent_is_not_half_of_the_traffic() {
    let speaks = FrontendDouble::start(MODEL).await;
    let hangs = FrontendDouble::start(MODEL).await;
    for double in [&speaks, &hangs] {
        double.set_load(Some(Load { osl: 5.0, ..LOAD }));
    }
    let targets = [target(&speaks, NAMESPACE, "a"), target(&hangs, NAMESPACE, "b")];
    let prometheus = Prometheus::start(&targets).await;
    let mut observer = observer(&prometheus).await;
    until(&mut observer, "both", |t| rate(t).is_some_and(|r| near(r, 40.0, 0.05))).await;

    hangs.answer(Answering::Never);
    let half = |t: &Traffic| t.arrivals.known().is_some_and(|r| r.get() < 25.0);
    let traffic = until(&mut observer, "half", half).await;
    assert!(matches!(traffic.arrivals, Signal::Late { .. }), "{}", traffic.arrivals);

    // A frontend that was taken away on purpose is no longer missed.
    prometheus.set_targets(&targets[..1]);
    until(&mut observer, "one frontend", |t| rate(t).is_some_and(|r| near(r, 20.0, 0.05))).await;
}

#[tokio::test]
async fn arrivals_are_seen_while_nothing_completes() {
    let double = FrontendDouble::start(MODEL).await;
    double.set_load(Some(Load { osl: 5.0, ..LOAD }));
    let prometheus = Prometheus::start(&[target(&double, NAMESPACE, "a")]).await;
    let mut observer = observer(&prometheus).await;
    until(&mut observer, "traffic", |t| rate(t).is_some_and(|r| near(r, 20.0, 0.05))).await;

    double.set_stalled(true);
    let stalled =
        |t: &Traffic| t.ttft.mean.has_no_samples() && t.queued.known().is_some_and(|q| *q > 100.0);
    let traffic = until(&mut observer, "a queue", stalled).await;
    let arrivals = traffic.arrivals.known().map(|r| r.get());
    assert_near("arrivals", arrivals, 20.0, 0.1);
}

#[tokio::test]
async fn a_frontend_that_repeats_itself_is_frozen_and_a_restart_is_not() {
    let double = FrontendDouble::start(MODEL).await;
    double.set_load(Some(Load { osl: 20.0, ..LOAD }));
    let prometheus = Prometheus::start(&[target(&double, NAMESPACE, "a")]).await;
    let mut observer = observer(&prometheus).await;
    until(&mut observer, "traffic", |t| rate(t).is_some_and(|r| near(r, 20.0, 0.05))).await;

    double.restart();
    let until_settled = tokio::time::Instant::now() + WINDOW;
    while tokio::time::Instant::now() < until_settled {
        let traffic = observer.observe(now()).await.traffic;
        let arrivals = traffic.arrivals.known().map(|r| r.get());
        assert!(arrivals.is_some_and(|r| r > 10.0 && r < 25.0), "{arrivals:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    double.answer(Answering::Frozen);
    let frozen = |t: &Traffic| matches!(t.arrivals, Signal::Frozen { .. });
    let traffic = until(&mut observer, "a frozen frontend", frozen).await;
    assert!(matches!(traffic.ttft.mean, Signal::Frozen { .. }), "{}", traffic.ttft.mean);
    assert!(!matches!(traffic.kv_usage, Signal::Frozen { .. }));

    double.answer(Answering::Unavailable);
    until(&mut observer, "nothing", |t| t.inflight.known().is_none()).await;
}

#[tokio::test]
async fn our_own_page_is_scraped_and_a_forgotten_deployment_ends() {
    let metrics = Metrics::new("1.2.3");
    let deployment = metrics.deployment("prod/llama");
    deployment.set_recommended(Role::Decode, Replicas::new(5));
    deployment.decision(Role::Decode, "demand_grew");
    deployment.tick("decided", Duration::from_millis(20));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(any, metrics, Health::default()).await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let serving = tokio::spawn(server.serve(std::future::pending()));

    let prometheus = Prometheus::start(&[Target::new(address)]).await;
    let recommended = "sla_planner_recommended_replicas{deployment=\"prod/llama\",pool=\"decode\"}";
    assert_eq!(prometheus.eventually(recommended).await[0].value, 5.0);
    for series in [
        "sla_planner_build_info{version=\"1.2.3\"}",
        "sla_planner_decisions_total{reason=\"demand_grew\"}",
        "sla_planner_decision_duration_seconds_bucket{le=\"+Inf\"}",
        "dynamo_planner_predicted_num_decode_replicas",
    ] {
        assert_eq!(prometheus.eventually(series).await.len(), 1, "{series}");
    }
    deployment.forget();
    eventually("the series to end", SOON, async || {
        let samples = prometheus.query(recommended).await?;
        if samples.is_empty() { Ok(()) } else { Err(format!("{samples:?}")) }
    })
    .await;
    serving.abort();
}

/// Starts a Prometheus behind TLS and basic authentication (`admin`, `test`); its base address.
fn behind_tls(dir: &Path) -> (Guarded, String) {
    for arguments in [
        "-keyout ca.key -out ca.crt -subj /CN=bench-ca",
        "-keyout tls.key -out tls.crt -subj /CN=bench -CA ca.crt -CAkey ca.key \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1",
    ] {
        let new_key = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        let openssl = Command::new("openssl")
            .current_dir(dir)
            .args(new_key.split_whitespace())
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        assert!(openssl.status.success(), "{openssl:?}");
    }
    let web = "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\nbasic_auth_users:\n  \
               admin: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay\n";
    std::fs::write(dir.join("web.yml"), web).unwrap();
    std::fs::write(dir.join("empty.yml"), "").unwrap();
    let port = free_port();
    let args = [
        format!("--config.file={}", dir.join("empty.yml").display()),
        format!("--storage.tsdb.path={}", dir.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        format!("--web.config.file={}", dir.join("web.yml").display()),
    ];
    (Guarded::start("prometheus", dir, "prometheus", args, &[]), format!("127.0.0.1:{port}"))
}

#[tokio::test]
async fn tls_and_authentication_are_those_of_a_real_prometheus() {
    let dir = tempfile::tempdir().unwrap();
    let (_prometheus, address) = behind_tls(dir.path());
    drop(rustls::crypto::ring::default_provider().install_default());
    let ask = async |user: &str, ca: bool| {
        let endpoint = Endpoint {
            url: format!("https://{user}{address}"),
            ca_file: ca.then(|| dir.path().join("ca.crt")),
            timeout: Duration::from_secs(10),
            ..Endpoint::default()
        };
        Client::new(endpoint).await.unwrap().query("vector(3)").await
    };
    let answer = eventually("an answer", SOON, async || {
        ask("admin:test@", true).await.map_err(|error| error.chain())
    })
    .await;
    assert_eq!(answer.samples[0].value, 3.0);
    let refused = ask("admin:wrong@", true).await.unwrap_err();
    assert_eq!(refused.label(), "denied", "{}", refused.chain());
    let untrusted = ask("admin:test@", false).await.unwrap_err();
    assert_eq!(untrusted.label(), "unreachable", "{}", untrusted.chain());
    assert!(untrusted.chain().contains("ertificate"), "{}", untrusted.chain());
    assert!(!untrusted.chain().contains("test"), "{}", untrusted.chain());
}
