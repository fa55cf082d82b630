//! How much memory the service takes for many graphs. It is not part of the tests: it takes minutes of all
//! cores. To run it, with a release build or without:
//!
//! ```sh
//! cargo test --test cluster -- --ignored --nocapture service::load
//! ```

use std::time::{Duration, Instant};

use super::{config, create, decode_of, rules};
use crate::bench::eventually;
use crate::process::{Running, memory};
use crate::serving::namespace;

/// Graphs of two services, with an adapter each.
const GRAPHS: u32 = 400;

/// Ticks that are watched, by the shipped interval.
const WATCHED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, see the head of the file"]
async fn four_hundred_graphs_are_planned_for() {
    let ns = namespace("service-load").await;
    for number in 0..GRAPHS {
        create(&ns, &format!("g{number}"), Some(&decode_of(3))).await;
    }
    let user = ns.token(rules()).await;
    let mut config = config(&ns, &[ns.name()], true);
    config["intervals"] = serde_json::json!({});
    let began = Instant::now();
    let service = Running::start(&ns, &user, "pod-1", config);
    let planned = || {
        let records = service.process.stdout();
        let of = |line: &str| Some(line.split_once("\"dgd\":\"")?.1.split('"').next()?.to_owned());
        let found: std::collections::BTreeSet<String> = records.lines().filter_map(of).collect();
        found.len()
    };
    eventually("a decision for each", Duration::from_secs(600), async || {
        let found = planned();
        if found == GRAPHS as usize { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    let all = began.elapsed();
    let first = memory("run", ns.name());
    let before = service.process.stdout().lines().count();
    tokio::time::sleep(WATCHED).await;
    let ticks = service.process.stdout().lines().count() - before;
    eprintln!(
        "{GRAPHS} graphs, each planned for after {all:?}; {ticks} records in {WATCHED:?}; memory {first} \
         then, {} at the end",
        memory("run", ns.name())
    );
}
