//! What Prometheus answers, as our observer asks and reads it.

use std::time::Duration;

use sla_planner::observe::{Missing, Signal, Traffic};
use sla_planner::prometheus::{
    Answer, Part, Question, Rules, Selector, decode_answer, decode_traffic, part_query,
};
use sla_planner::units::{Percentile, Timestamp};

use super::fleet::{Fleet, INTERVAL, Seen, codes};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn question() -> Question {
    Question { window: INTERVAL, percentile: Percentile::default() }
}

/// The body of an answer with these rows, sampled 2 s ago.
fn body(rows: &[(Part, &str)]) -> String {
    let row = |(part, value): &(Part, &str)| {
        format!(r#"{{"metric":{{"part":"{}"}},"value":[1700000000,"{value}"]}}"#, part.as_str())
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
        rows.join(",")
    )
}

fn read(body: &str) -> Traffic {
    let answer = decode_answer(body.as_bytes()).unwrap();
    decode_traffic(NOW, &answer, &question(), &Rules::default(), None).0
}

/// A fleet under load, which then sees this for 20 intervals.
fn after(traffic: &Traffic) -> ([u32; 2], [u32; 2], [&'static str; 2]) {
    let mut fleet = Fleet::new(8, 4);
    for _ in 0..10 {
        fleet.tick(Seen::load(111.0, 3000.0, 150.0));
    }
    let before = fleet.asked;
    let mut last = ["", ""];
    for _ in 0..20 {
        last = codes(&fleet.tick_on(traffic.clone()));
    }
    (before, fleet.asked, last)
}

#[test]
fn d05_means_of_no_request_are_idleness_where_the_counter_says_zero() {
    let alive = [
        (Part::Arrivals, "0"),
        (Part::Queued, "0"),
        (Part::Inflight, "0"),
        (Part::FrontendNow, "1699999998"),
        (Part::Samples, "36"),
        (Part::Progress, "1e6"),
    ];
    let mut rows = alive.to_vec();
    for (mean, count) in [
        (Part::IslMean, Part::IslCount),
        (Part::OslMean, Part::OslCount),
        (Part::TtftMean, Part::TtftCount),
        (Part::ItlMean, Part::ItlCount),
    ] {
        rows.extend([(mean, "NaN"), (count, "0")]);
    }
    rows.extend([(Part::TtftQuantile, "NaN"), (Part::ItlQuantile, "NaN")]);
    let idle = read(&body(&rows));
    assert_eq!(idle.arrivals.fresh().map(|r| r.get()), Some(0.0));
    assert!(idle.isl.has_no_samples() && idle.ttft.quantile.has_no_samples());
    let (before, asked, reasons) = after(&idle);
    assert!(before[0] > 6, "{before:?}");
    assert_eq!((asked, reasons), ([1, 1], ["idle", "idle"]));

    // The same NaN with requests behind them is no idleness: nothing is taken away.
    rows[0] = (Part::Arrivals, "0.5");
    let broken = read(&body(&rows));
    let (before, asked, _) = after(&broken);
    assert_eq!(asked, before);
}

#[test]
fn d06_w03_every_way_not_to_answer_holds() {
    // The rival reads each of these as no request at all.
    let silent = [
        Ok(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#.to_owned()),
        Ok(body(&[])),
        Ok(body(&[(Part::Arrivals, "NaN"), (Part::Samples, "36")])),
        Ok(body(&[(Part::Arrivals, "+Inf"), (Part::Samples, "36")])),
        Ok(body(&[(Part::Arrivals, "-3"), (Part::Samples, "36")])),
        Ok(body(&[(Part::Arrivals, "0")])),
        Ok(body(&[(Part::Arrivals, "0"), (Part::Samples, "36")])),
        Err(""),
        Err("<html>503 Service Unavailable</html>"),
        Err(r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#),
        Err(r#"{"status":"success","data":{"resultType":"vector","result":[{"metric"#),
    ];
    for answer in silent {
        let traffic = match &answer {
            Ok(body) => read(body),
            Err(body) => {
                let detail = decode_answer(body.as_bytes()).unwrap_err().to_string();
                let why = Missing::SourceDown { detail };
                Traffic::all_missing(INTERVAL, Percentile::default(), &why)
            }
        };
        assert_ne!(traffic.arrivals.fresh().map(|r| r.get()), Some(0.0), "{answer:?}");
        let (before, asked, reasons) = after(&traffic);
        assert_eq!(asked, before, "{answer:?}");
        assert_eq!(reasons, ["hold_no_metrics", "hold_no_metrics"], "{answer:?}");
    }
    // A rate that no fleet has is not believed either.
    let huge = read(&body(&[
        (Part::Arrivals, "1e300"),
        (Part::FrontendNow, "1699999998"),
        (Part::Samples, "36"),
    ]));
    assert!(matches!(huge.arrivals, Signal::Missing { .. }), "{:?}", huge.arrivals);
    let (before, asked, reasons) = after(&huge);
    assert_eq!((asked, reasons), (before, ["hold_no_metrics", "hold_no_metrics"]));
}

#[test]
fn d08_a_mean_is_of_all_requests_and_an_idle_frontend_has_none() {
    // The rival averages the averages: 10,000 requests at 0.1 s and 10 at 5 s are 2,550 ms, and NaN
    // where a third frontend is idle. True are 104.9 ms. We ask for the ratio of two sums, in which
    // an idle frontend is 0 in both; `tests/cluster/metrics.rs` asks a real Prometheus for it.
    let selector = Selector { dynamo_namespace: "llm-chat".to_owned(), model: None };
    let text = part_query(Part::TtftMean, &selector, &question());
    let (above, below) = text.split_once(" / ").unwrap();
    for (part, series) in [(above, "_sum{"), (below, "_count{")] {
        assert!(part.starts_with("sum(") && part.contains(series), "{text}");
        assert_eq!(part.matches('(').count(), part.matches(')').count(), "{text}");
    }
    assert!(!text.contains("avg"), "{text}");
}

#[test]
fn an_answer_to_nothing_is_unknown_in_every_figure() {
    let nothing = decode_traffic(NOW, &Answer::default(), &question(), &Rules::default(), None).0;
    let why = Missing::NoSeries;
    assert_eq!(nothing, Traffic::all_missing(INTERVAL, Percentile::default(), &why));
    assert_eq!(question().window, Duration::from_secs(180));
}
