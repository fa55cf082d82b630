use std::collections::BTreeMap;

use super::super::{Change, Counts, Promise, Row, RunKey, RunResult, Score, Timeline};
use super::*;
use crate::units::Role;

fn result(policy: &str, trace: &str, attainment: f64, gpu_hours: f64) -> RunResult {
    RunResult {
        run: RunKey {
            policy: policy.to_owned(),
            trace: trace.to_owned(),
            profile: "h100".to_owned(),
            startup_s: 90.0,
            seed: 1,
            scenario: String::new(),
        },
        promise: Promise { ttft_ms: 500.0, itl_ms: 40.0, percentile: 99.0 },
        score: Score { attainment, gpu_hours, regret_oracle: Some(0.123), ..Score::default() },
        timeline: None,
        wall_s: 0.1,
    }
}

fn course(rows: u32) -> Timeline {
    let row = |i: u32| {
        let t = f64::from(i);
        let wave = 1.0 + (t / 90.0).sin();
        let serving = 2 + i / 60 % 3;
        let starting = u32::from(i % 60 > 45);
        let counts = Counts { wanted: serving + starting, serving, starting, draining: 0 };
        Row {
            t_s: t * 10.0,
            rps: 4.0 + 6.0 * wave + f64::from(i % 7) / 5.0,
            forecast: Some([3.0 + 6.0 * wave, 4.5 + 6.0 * wave, 6.0 + 6.5 * wave]),
            pools: BTreeMap::from([(Role::Prefill, counts), (Role::Decode, counts)]),
            ttft_p95_ms: (!i.is_multiple_of(50)).then_some(150.0 * (1.0 + wave * wave)),
            itl_p95_ms: Some(22.0 + 8.0 * wave),
            good: Some(if i % 60 > 50 { 80.0 } else { 100.0 }),
            gpus: 2 * (serving + starting),
        }
    };
    let change = |i: u32| Change {
        t_s: f64::from(i) * 600.0,
        role: if i.is_multiple_of(2) { Role::Decode } else { Role::Prefill },
        from: 2,
        to: 3,
        why: "<script>alert('why')</script> forecast 12 req/s needs 3".to_owned(),
    };
    Timeline {
        step_s: 10.0,
        rows: (0..rows).map(row).collect(),
        decisions: (1..rows / 60).map(change).collect(),
    }
}

fn some() -> Vec<RunResult> {
    let mut out = vec![
        result("oracle", "steady", 99.9, 8.0),
        result("static-best", "steady", 99.2, 16.0),
        result("ours", "steady", 99.1, 12.3),
        result("hpa-ttft:max=9", "steady", 98.999, 10.0),
        result("ours", "burst", 97.0, 20.0),
    ];
    out[2].timeline = Some(course(720));
    out
}

fn points() -> Vec<FrontierPoint> {
    let point = |policy: &str, value: f64| FrontierPoint {
        policy: policy.to_owned(),
        knob: "margin".to_owned(),
        value,
        attainment: 100.0 - 8.0 / (1.0 + 9.0 * value),
        gpu_hours: 10.0 + 4.0 * value + if policy == "ours" { 0.0 } else { 2.0 },
    };
    [0.0, 0.5, 1.0, 2.0]
        .into_iter()
        .flat_map(|v| [point("ours", v), point("<b>hpa</b>", v)])
        .collect()
}

fn count(page: &str, part: &str) -> usize {
    page.matches(part).count()
}

#[test]
fn the_page_has_a_table_and_a_frontier_for_every_group_and_a_course_for_every_timeline() {
    let page = html("night", &some());
    assert!(page.starts_with("<!doctype html>"));
    assert_eq!(count(&page, "<thead><tr><th scope=\"col\">policy"), 2);
    assert_eq!(count(&page, "aria-label=\"good share against GPU-hours\""), 2);
    assert_eq!(count(&page, "<figure class=\"course\""), 1);
    for name in ["load, requests / s", "prefill replicas", "decode replicas", "TTFT p95, ms"] {
        assert!(page.contains(name), "{name}");
    }
    assert!(page.contains("Decisions (11)"));
    for tag in ["section", "svg", "table", "figure", "details", "g"] {
        let opened = count(&page, &format!("<{tag}>")) + count(&page, &format!("<{tag} "));
        let alone = if tag == "g" { count(&page, "<g class=\"values\"") } else { 0 };
        assert_eq!(opened - alone, count(&page, &format!("</{tag}>")), "{tag}");
    }
}

#[test]
fn runs_of_different_promises_or_scenarios_are_in_tables_of_their_own() {
    let mut results = vec![some()[2].clone(), some()[2].clone(), some()[2].clone()];
    results[1].promise.ttft_ms = 200.0;
    results[2].run.scenario = "0123456789abcdef".to_owned();
    let text = markdown(&results);
    assert_eq!(count(&text, "\n### "), 3, "{text}");
    assert!(text.contains("TTFT 200 ms") && text.contains("scenario 01234567"), "{text}");
}

#[test]
fn the_headline_names_the_promise_and_the_cheapest_that_kept_it() {
    let page = html("night", &some()[..4]);
    assert!(page.contains("99 % of requests with their first token within 500 ms"));
    assert!(page.contains("start-up of a replica: 90 s"));
    assert!(page.contains("ours used the fewest GPU-hours while keeping the promise: 12.3"));
    let page = html("night", &some());
    assert!(page.contains("ours in 1 of 2 comparisons; nobody kept it in 1"));
}

#[test]
fn a_missed_promise_is_a_word_and_is_never_rounded_to_a_kept_one() {
    let page = html("night", &some());
    assert!(page.contains("<td>98.99</td><td>✗ missed</td>"));
    assert!(page.contains("<td>99.1</td><td>✓ kept</td><td>12.3</td>"));
    assert!(page.contains("+12.3 %"));
}

#[test]
fn nothing_from_outside_is_markup() {
    let mut results = some();
    results[2].run.policy = "<script>p".to_owned();
    results[2].run.trace = "\"><script>t".to_owned();
    let page = html("<script>title", &results);
    assert_eq!(count(&page, "<script>"), 1, "only our own");
    assert!(page.contains("&lt;script&gt;alert(&#39;why&#39;)"));
    assert!(!frontier_html("t", &points()).contains("<b>hpa"));
    assert!(!markdown(&results).contains("<script>"));
}

#[test]
fn a_page_refers_to_nothing_outside() {
    for page in [html("night", &some()), frontier_html("sweep", &points())] {
        let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for part in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.contains(part), "{part}");
        }
    }
}

#[test]
fn no_number_of_a_page_is_mad() {
    let mut results = some();
    results[0].score.gpu_hours = f64::NAN;
    results[1].score.gpu_hours = f64::INFINITY;
    results[2].timeline = Some(Timeline { step_s: 0.0, rows: vec![Row::default()], ..course(0) });
    let page = html("night", &results);
    for mad in ["NaN", "inf"] {
        assert!(
            !page.contains(&format!("\"{mad}")) && !page.contains(&format!(" {mad} ")),
            "{mad}"
        );
    }
}

#[test]
fn empty_input_says_so() {
    assert!(html("night", &[]).contains("No results"));
    assert!(frontier_html("sweep", &[]).contains("No points"));
    assert_eq!(markdown(&[]), "No results.\n");
    assert_eq!(frontier_markdown(&[]), "No points.\n");
}

#[test]
fn a_long_course_is_thinned_and_keeps_its_spike() {
    let mut points: Vec<(f64, Option<f64>)> =
        (0..100_000u32).map(|i| (f64::from(i), Some(1.0))).collect();
    points[77_777].1 = Some(50.0);
    points[5].1 = None;
    let thinned = svg::thin(&points);
    assert!(thinned.len() <= svg::MOST_POINTS);
    assert!(thinned.contains(&(77_777.0, Some(50.0))));
    assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
}

#[test]
fn time_axes_use_the_unit_that_fits() {
    let labels = |hi| -> Vec<String> {
        svg::time_ticks(0.0, hi, 9.0).into_iter().map(|(_, words)| words).collect()
    };
    assert_eq!(labels(60.0)[1], "10 s");
    assert_eq!(labels(3_600.0)[1], "10 min");
    assert_eq!(labels(86_400.0)[1], "3 h");
    assert_eq!(labels(7.0 * 86_400.0)[1], "1 d");
}

#[test]
fn the_summary_has_policies_down_and_groups_across() {
    let text = markdown(&some());
    assert!(text.contains(
        "| policy | steady, h100, start-up 90 s | burst, h100, start-up 90 s |\n|---|---:|---:|\n"
    ));
    assert!(text.contains("| ours | 99.1 @ 12.3 | 97.0 @ 20 ✗ |\n"));
    assert!(text.contains("| hpa-ttft:max=9 | 98.99 @ 10 ✗ | – |\n"));
    assert!(text.contains("\n### burst, h100, start-up 90 s\n"));
}

#[test]
fn policies_keep_the_order_of_their_first_appearance_in_every_group() {
    let results = [
        result("b", "one", 99.0, 1.0),
        result("a", "one", 99.0, 1.0),
        result("a", "two", 99.0, 1.0),
        result("b", "two", 99.0, 1.0),
    ];
    let text = markdown(&results);
    let second = text.split("### two").nth(1).unwrap();
    assert!(second.find("| b |") < second.find("| a |"));
}

#[test]
fn a_sweep_is_sorted_by_cost_within_its_policy() {
    let mut shuffled = points();
    shuffled.reverse();
    let text = frontier_markdown(&shuffled);
    assert!(text.starts_with("| policy | knob | value | good % | GPU-hours |\n"));
    assert!(text.contains("| ours | margin | 0 | 92.0 | 10 |\n| ours | margin | 0.5 |"));
    assert_eq!(count(&frontier_html("sweep", &points()), "<circle"), 8);
}

/// Two policies with three seeds: `even` keeps the promise in the mean and `lucky` with its best
/// seed alone.
fn seeded() -> Vec<RunResult> {
    let mut out = Vec::new();
    for (policy, runs) in [
        ("lucky", [(99.9, 5.0), (97.0, 9.0), (97.5, 10.0)]),
        ("even", [(99.5, 11.0), (98.8, 12.0), (99.3, 13.0)]),
    ] {
        for (seed, (attainment, gpu_hours)) in (1..).zip(runs) {
            let mut run = result(policy, "steady", attainment, gpu_hours);
            run.run.seed = seed;
            run.score.lost = seed;
            run.score.recovery.longest_s = 10.0 * seed as f64;
            out.push(run);
        }
    }
    out
}

#[test]
fn several_seeds_of_a_policy_are_one_row_of_means_with_their_spread() {
    let text = markdown(&seeded());
    assert!(text.contains("Means over the seeds, 3 of them (smallest..largest)"), "{text}");
    assert!(text.contains("| even | 99.2 (98.8..99.5) @ 12 (11..13) |\n"), "{text}");
    assert!(text.contains("| lucky | 98.13 (97.0..99.9) @ 8 (5..10) ✗ |\n"), "{text}");
    assert!(text.contains("| even | 3 | 99.2 (98.8..99.5) | ✓ kept | 12 (11..13) |"), "{text}");
    assert!(text.contains("| 2 | 30 s |\n"), "mean of the lost, longest of the spells: {text}");
    assert_eq!(count(&text, "\n| even |"), 2, "one in the summary, one in the table");
}

#[test]
fn one_seed_is_told_without_means() {
    let text = markdown(&some());
    for word in ["seed", "..", "Mean"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

#[test]
fn the_winner_is_chosen_from_the_means_over_the_seeds() {
    let mut runs = seeded();
    runs[0].timeline = Some(course(60));
    let page = html("night", &runs);
    assert!(
        page.contains(
            "even used the fewest GPU-hours while keeping the promise: 12 (11..13) for 99.2 \
             (98.8..99.5) % good, in the mean of 3 seeds (1 of 2 policies"
        ),
        "{page}"
    );
    assert_eq!(count(&page, "★ fewest"), 1);
    assert_eq!(count(&page, "<circle"), 2, "a dot for each policy");
    assert!(page.contains("lucky, seed 1: steady"), "a course is of one seed");
}

#[test]
fn a_policy_without_a_run_of_every_seed_does_not_win() {
    let mut runs = seeded();
    let mut easy = result("easy", "steady", 100.0, 1.0);
    easy.run.seed = 3;
    runs.push(easy);
    let page = html("night", &runs);
    assert!(page.contains("even used the fewest GPU-hours"), "{page}");
    let apart = [runs[0].clone(), runs[4].clone()];
    assert!(html("night", &apart).contains("every one of the 2 seeds: none is best"));
}

#[test]
fn a_mean_of_equal_shares_keeps_what_each_of_them_keeps() {
    let mut runs = seeded();
    for run in &mut runs {
        run.promise.percentile = 99.1;
        run.score.attainment = 99.1;
    }
    assert!(markdown(&runs).contains("| even | 99.1 (99.1..99.1) @ 12 (11..13) |"));
}
