use super::*;
use crate::backtest::{Change, Counts, Promise, Row, RunKey, Score, Timeline};
use crate::units::Role;

fn result(policy: &str, attainment: f64, rows: usize) -> RunResult {
    let counts = |n| Counts { wanted: n, serving: n, starting: 1, draining: 0 };
    let row = |i: usize| Row {
        t_s: i as f64 * 10.0,
        rps: 5.0 + (i % 7) as f64,
        forecast: Some([4.0, 6.0, 9.0]),
        pools: [(Role::Prefill, counts(3)), (Role::Decode, counts(2))].into(),
        ttft_p95_ms: (!i.is_multiple_of(5)).then_some(120.0),
        itl_p95_ms: Some(9.0),
        good: Some(99.0),
        gpus: 6,
    };
    let why = "scale_up: <script>alert(1)</script>".to_owned();
    let change = Change { t_s: 30.0, role: Role::Prefill, from: 2, to: 3, why };
    RunResult {
        run: RunKey {
            policy: policy.to_owned(),
            trace: "a & b".to_owned(),
            profile: "p".to_owned(),
            startup_s: 60.0,
            seed: 1,
        },
        promise: Promise { ttft_ms: 500.0, itl_ms: 50.0, percentile: 99.0 },
        score: Score {
            requests: 1000,
            attainment,
            gpu_hours: 12.5,
            regret_oracle: Some(0.25),
            ..Score::default()
        },
        timeline: (rows > 0).then(|| Timeline {
            step_s: 10.0,
            rows: (0..rows).map(row).collect(),
            decisions: vec![change],
        }),
        wall_s: 0.1,
    }
}

#[test]
fn the_page_stands_alone_and_nothing_in_it_is_run() {
    let page = html("Back-test <1>", &[result("ours", 99.5, 50), result("<script>", 42.0, 0)]);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert!(page.contains("Back-test &lt;1&gt;") && page.contains("a &amp; b"));
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("url("));
    assert!(page.contains("✗ broken") && page.contains("ours kept it with the fewest GPU-hours"));
    let svgs = page.matches("<svg").count();
    assert_eq!((svgs, page.matches("</svg>").count()), (9, 9), "a frontier and eight charts");
    assert!(page.contains("scale_up: &lt;script&gt;"), "the reason of a decision");
}

#[test]
fn a_long_course_makes_no_large_page() {
    let page = html("A week", &[result("ours", 99.5, 60_480)]);
    assert!(page.len() < 600_000, "{}", page.len());
    assert!(page.contains("7.0 d"), "time is told in days");
}

#[test]
fn tables_tell_what_was_kept_and_at_what_cost() {
    let text = markdown(&[result("ours", 99.5, 0), result("static-best", 42.0, 0)]);
    assert!(text.contains("| ours | 99.50 @ 12.5 |"), "{text}");
    assert!(text.contains("| static-best | 42.00 @ 12.5 ✗ |"), "{text}");
    assert!(text.contains("| ours | 99.50 | 12.50 | 0 | +25 % |"), "{text}");
    assert_eq!(markdown(&[]), "No runs.\n");
    assert!(html("x", &[]).contains("No runs."));
}

#[test]
fn a_frontier_names_its_knobs() {
    let point = |value, attainment| FrontierPoint {
        policy: "hpa-ttft".to_owned(),
        knob: "target".to_owned(),
        value,
        attainment,
        gpu_hours: 10.0 / value,
    };
    let points = [point(0.5, 99.0), point(1.0, 90.0)];
    assert!(frontier_markdown(&points).contains("| hpa-ttft | target | 0.5 | 99.00 | 20.00 |"));
    assert!(frontier_html("f", 99.0, &points).contains("hpa-ttft 0.5"));
}
