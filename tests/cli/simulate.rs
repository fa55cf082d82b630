//! `simulate`, `backtest`, `merge`, `frontier` and `demo`.

use std::fs;

use serde_json::Value;

use tempfile::TempDir;

use crate::planner;

/// A file below a folder that is there already.
fn put(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn json(args: &[&str]) -> Value {
    planner(&[&["simulate", "--format", "json"], args].concat()).json()
}

const SHORT: [&str; 2] = ["--trace", "poisson:rps=20,isl=3000,osl=100,for=5m"];

#[test]
fn a_policy_on_a_trace_has_a_score_for_machines_and_for_people() {
    let answer = json(&["--policy", "static:2,1"]);
    assert_eq!(answer["requests"], 2867);
    for key in ["attainment", "gpu_hours", "wall_s"] {
        assert!(answer[key].as_f64().unwrap() > 0.0, "{key}");
    }
    for latency in ["ttft_ms", "itl_ms"] {
        let p = |q: &str| answer[latency][q].as_f64().unwrap();
        assert!(p("p50") > 0.0 && p("p50") <= p("p95") && p("p95") <= p("p99"), "{latency}");
    }
    // Two prefill and one decode engine for ten minutes.
    let hours = answer["gpu_hours"].as_f64().unwrap();
    assert!((0.5..0.51).contains(&hours), "{hours}");
    let page = planner(&["simulate", "--format", "html"]).ok();
    assert!(page.starts_with("<!doctype html>") && page.matches("<svg").count() == 2);
    let text = planner(&["simulate"]).ok();
    assert!(text.contains("Policy   ours") && text.contains("promise kept"), "{text}");
    // A static fleet is what its name says from the start, whatever the flags say.
    let text = planner(&["simulate", "--policy", "static:2,1", "--initial", "3,3"]).ok();
    assert!(text.contains("Fleet    2 prefill + 1 decode at the start"), "{text}");
}

#[test]
fn a_cluster_has_no_more_gpus_than_its_budget() {
    let scarce = [&SHORT[..], &["--policy", "static:4,2", "--max-gpu-budget", "4"]].concat();
    let answer = json(&scarce);
    assert_eq!(answer["score"]["peak_gpus"], 4);
    let hours = answer["gpu_hours"].as_f64().unwrap();
    assert!((0.33..0.36).contains(&hours), "four GPUs for five minutes and a little: {hours}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let more = ["--router", "random", "--startup-cv", "0.5", "--fault", "losing-workers:decode,1m"];
    let run = |seed: &str| {
        let mut answer = json(&[&SHORT[..], &more, &["--seed", seed, "--step", "10s"]].concat());
        answer.as_object_mut().unwrap().remove("wall_s");
        answer.to_string()
    };
    assert_eq!(run("7"), run("7"));
    assert_ne!(run("7"), run("8"));
}

#[test]
fn every_policy_plays_and_the_comparison_comes_in_three_forms() {
    let markdown = planner(&[&["backtest"], &SHORT[..]].concat()).ok();
    for policy in [
        "ours",
        "static-best",
        "oracle",
        "dynamo-0.9",
        "dynamo-1.6",
        "dynamo-1.6-load",
        "dynamo-1.6-throughput",
        "hpa-ttft",
        "hpa-queue",
        "hpa-cpu",
        "keda",
        "llm-d",
        "wva",
        "kpa",
    ] {
        assert!(markdown.contains(&format!("| {policy} | ")), "{policy}: {markdown}");
    }
    let few =
        [&["backtest"], &SHORT[..], &["--policy", "ours", "--policy", "static-best"]].concat();
    let page = planner(&[&few[..], &["--format", "html"]].concat()).ok();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert_eq!(page.matches("<svg").count(), 3, "a frontier and the course of each run");
    let document: Value = planner(&[&few[..], &["--format", "json"]].concat()).json();
    assert_eq!(
        (document["version"].as_u64(), document["runs"].as_array().unwrap().len()),
        (Some(1), 2)
    );
}

#[test]
fn shards_are_kept_taken_up_again_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("runs");
    let kept = kept.to_str().unwrap();
    let suite = put(
        &dir,
        "suite.yaml",
        "policies: [ours, \"static:2,1\"]\nstartups: [60s, 2m]\nflags: --seed 3\nscenarios:\n  \
         one: --trace poisson:rps=20,for=2m\n  two: --trace step:rps=5,at=1m,for=2m --ttft 1s\n",
    );
    let shard = |i: &str| {
        let args = ["backtest", "--suite", &suite, "--keep", kept, "--shard", i];
        let done = planner(&args);
        assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
        assert!(done.err.contains("4 runs of this shard"), "{}", done.err);
    };
    shard("0/2");
    assert_eq!(fs::read_dir(kept).unwrap().count(), 4);
    shard("1/2");
    let names: Vec<_> = fs::read_dir(kept).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(names.len(), 8);
    let touched = |p: &std::path::PathBuf| fs::metadata(p).unwrap().modified().unwrap();
    let before: Vec<_> = names.iter().map(touched).collect();
    shard("1/2");
    assert_eq!(before, names.iter().map(touched).collect::<Vec<_>>(), "what is there is taken");
    let merged = planner(&["merge", kept]).ok();
    let whole = planner(&["backtest", "--suite", &suite]).ok();
    let cells = |text: &str| {
        let sorted = |line: &str| {
            let mut cells: Vec<String> =
                line.split(" | ").map(|c| c.trim_matches(['|', ' ']).to_owned()).collect();
            cells.sort();
            cells
        };
        let mut lines: Vec<Vec<String>> = text.lines().map(sorted).collect();
        lines.sort();
        lines
    };
    // Tables come in the order of the files' names: what is in them is the same.
    assert_eq!(cells(&merged), cells(&whole));
    // A run that was torn is refused with its name.
    fs::write(&names[0], "{\"run\":").unwrap();
    planner(&["merge", kept]).refused(2, &[names[0].to_str().unwrap(), "expected a kept run"]);
    let empty = tempfile::tempdir().unwrap();
    planner(&["merge", empty.path().to_str().unwrap()]).refused(2, &["no run to merge"]);
}

#[test]
fn a_suite_that_is_wrong_is_refused_with_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |text: &str, says: &[&str]| {
        let suite = put(&dir, "suite.yaml", text);
        planner(&["backtest", "--suite", &suite]).refused(2, says);
    };
    refused("scenarios:\n  a: --trase x\n", &["scenario a", "--trase"]);
    refused("scenario:\n  a: x\n", &["suite.yaml", "scenario"]);
    refused("scenarios: {}\n", &["no scenario to play"]);
    refused("policies: [hpa-tft]\nscenarios:\n  a: --trace poisson:for=1m\n", &["hpa-ttft"]);
    refused("startups: [5]\nscenarios:\n  a: --trace poisson:for=1m\n", &["startups", "unit"]);
    planner(&["backtest", "--shard", "2/2", "--keep", "x"]).refused(2, &["from 0"]);
}

#[test]
fn fleets_that_were_measured_stand_beside_what_is_simulated() {
    let dir = tempfile::tempdir().unwrap();
    let suite = put(
        &dir,
        "suite.yaml",
        "scenarios:\n  one: --trace poisson:rps=20,for=2m\n  two: --trace poisson:rps=5,for=2m\n",
    );
    let beside = |csv: &str| {
        let file = put(&dir, "fleets.csv", csv);
        planner(&["backtest", "--suite", &suite, "--measured", &file])
    };
    let head = "# of our own engines\nscenario,prefill,decode,attainment_pct,p95_ttft_ms,note\n";
    let text = beside(&format!("{head}one,2,1,100,200,quiet\none,3,1,50,,\n")).ok();
    let rows: Vec<&str> = text.lines().filter(|l| l.starts_with("| one ")).collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert!(rows[0].contains("static:2,1") && rows[0].contains("(100.0, +0.00)"), "{text}");
    assert!(rows[0].contains("(200, ") && !rows[1].contains("(200, "), "{text}");
    assert!(rows[1].contains("(50.0, +50.00)") && !text.contains("| two "), "{text}");
    assert!(text.contains("differences of the 1 fleets"), "{text}");
    let refused = |csv: &str, says: &[&str]| beside(csv).refused(2, says);
    refused("scenario,prefill\none,2\n", &["fleets.csv", "missing field `decode`", "columns"]);
    refused("scenario,prefill,decode\none,2,x\n", &["fleets.csv", "line: 2", "invalid digit"]);
    refused("scenario,prefill,decode\none,2,0\n", &["one 2+0", "column decode"]);
    refused("scenario,prefill,decode\none,2,1\nthree,2,1\n", &["three", "suite"]);
    refused("scenario,prefill,decode\none,2,1\none,2,1\n", &["one 2+1", "twice"]);
    let file = put(&dir, "fleets.csv", "scenario,prefill,decode\none,2,1\n");
    let args = ["backtest", "--suite", &suite, "--measured", &file];
    planner(&[&args[..], &["--startups", "60s,120s"]].concat()).refused(2, &["--startups 60s"]);
    planner(&[&args[..], &["--only", "two"]].concat()).refused(2, &["none of the scenarios"]);
    refused("scenario,prefill,decode\n", &["no fleet"]);
    refused("scenario,prefill,decode,mean_itl_ms\none,2,1,NaN\n", &["one 2+1", "NaN"]);
}

#[test]
fn a_load_is_drawn_cut_scaled_and_put_over_another_one() {
    let requests = |more: &[&str]| {
        json(&[&["--policy", "static:1,1"], more].concat())["requests"].as_u64().unwrap()
    };
    let poisson = "poisson:rps=10,for=10m,isl=100,osl=10";
    let all = requests(&["--trace", poisson]);
    assert!((5_700..6_300).contains(&all), "{all}");
    let half = requests(&["--trace", poisson, "--cut", "5m..10m"]);
    assert!((2_800..3_200).contains(&half), "{half}");
    let twice = requests(&["--trace", poisson, "--scale", "2.5"]);
    assert!((14_500..15_500).contains(&twice), "{twice}");
    assert_eq!(requests(&["--trace", poisson, "--stretch", "3"]), all);
    assert_eq!(requests(&["--trace", poisson, "--trace", poisson]), 2 * all);
    let spliced = requests(&["--trace", poisson, "--splice", &format!("5m@{poisson}")]);
    assert_eq!(spliced, all - half + all);
}

#[test]
fn what_cannot_be_simulated_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.json");
    let out = out.to_str().unwrap();
    let trace = |text: &str| put(&dir, "trace.csv", text);
    let head = "timestamp_ms,input_length,output_length\n";
    let refused = |trace: &str, says: &[&str]| {
        planner(&["simulate", "--trace", trace, "--format", "json", "--out", out]).refused(2, says);
        assert!(!fs::exists(out).unwrap(), "nothing is written");
    };
    refused(
        &trace(&format!("{head}5,100,10\n4,100,10\n")),
        &["trace.csv", "line 3", "sort the trace"],
    );
    refused(&trace(&format!("{head}-5,100,10\n")), &["line 2", "timestamp_ms"]);
    refused(&trace(&format!("{head}5,100,0\n")), &["line 2", "output_length"]);
    let huge = format!("{head}5,100,10\n6,900000000,10\n");
    refused(&trace(&huge), &["request 2", "KV cache", "--context-length"]);
    refused("no-such-file.csv", &["no-such-file.csv"]);
    refused("poisson:rps=x", &["key rps"]);
    let bad = |more: &[&str], says: &[&str]| {
        planner(&[&["simulate"], &SHORT[..], more].concat()).refused(2, says);
    };
    let spliced = ["--splice", "10m@poisson:rps=5,for=1m", "--splice", "5m@poisson:rps=5,for=1m"];
    bad(&spliced, &["--splice", "found 5m after 10m", "in the order"]);
    bad(&["--policy", "dynamo-2"], &["not known"]);
    bad(&["--policy", "keda:x=1"], &["no knob", "cooldown"]);
    bad(&["--policy", "static:4"], &["one count for each pool"]);
    bad(&["--policy", "dynamo-0.9", "--aggregated"], &["a prefill and a decode pool"]);
    bad(&["--initial", "1,2,3"], &["--initial"]);
    bad(&["--router", "nearest"], &["round-robin"]);
    bad(&["--fault", "metrics-gap:5m"], &["10m..15m"]);
    bad(&["--startup", "60"], &["unit"]);
}

#[test]
fn a_torn_gzip_is_said_with_its_line() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("timestamp_ms,input_length,output_length\n");
    for i in 0..20_000 {
        let line = format!("{},{},{}\n", i * 7, 100 + i % 977, 1 + i % 211);
        text.push_str(&line);
    }
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(text.as_bytes()).unwrap();
    let whole = gz.finish().unwrap();
    let torn = dir.path().join("torn.csv.gz");
    fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    planner(&["simulate", "--trace", torn.to_str().unwrap()])
        .refused(2, &["torn.csv.gz", "line ", "gzip data ends before its end"]);
}

#[test]
fn a_frontier_sweeps_the_published_values_or_others() {
    let rows = planner(
        &[&["frontier"], &SHORT[..], &["--policy", "hpa-ttft", "--values", "0.2,1"]].concat(),
    )
    .ok();
    assert_eq!(rows.matches("| hpa-ttft | target |").count(), 2, "{rows}");
    let all = planner(&[&["frontier", "--format", "json"], &SHORT[..]].concat()).json();
    let policies: Vec<&str> =
        all.as_array().unwrap().iter().map(|p| p["policy"].as_str().unwrap()).collect();
    for (policy, values) in [("ours", 6), ("static", 6), ("oracle", 6), ("hpa-ttft", 4)] {
        assert_eq!(policies.iter().filter(|p| **p == policy).count(), values, "{policy}");
    }
}

#[test]
fn a_frontier_tells_policies_of_one_name_by_what_they_were_asked_for() {
    let policies = [
        "--policy",
        "ours",
        "--policy",
        "ours:predictor=kalman",
        "--policy",
        "hpa-ttft:target=7,down=120",
        "--policy",
        "static:4,3",
    ];
    let args = [&["frontier", "--values", "5"], &SHORT[..], &policies[..]].concat();
    let rows = planner(&args).ok();
    for row in [
        "| ours | percentile | 5 |",
        "| ours:predictor=kalman | percentile | 5 |",
        // What is swept is not what was asked for.
        "| hpa-ttft:down=120 | target | 5 |",
        "| static | share | 5 |",
    ] {
        assert_eq!(rows.matches(row).count(), 1, "{row}: {rows}");
    }
}

#[test]
fn the_demo_says_what_it_shows_and_what_a_static_fleet_would_have_cost() {
    let done = planner(&[&["demo", "--speed", "100000"], &SHORT[..]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    let last: Vec<&str> = done.out.lines().rev().take(3).collect();
    assert!(last[1].contains("fleet that never changes"), "{}", done.out);
    assert!(last[2].contains("GPU-hours") && last[2].contains("promise"), "{}", done.out);
    assert!(done.err.contains("to compare with"));
}

#[test]
fn faults_are_felt() {
    let good = |more: &[&str]| {
        json(&[&SHORT[..], &["--policy", "static:3,1"], more].concat())["attainment"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(good(&[]), 100.0);
    assert!(good(&["--fault", "slow-engine:prefill,20,1m..4m"]) < 95.0);
    assert!(good(&["--fault", "lost-worker:decode,2m"]) < 100.0);
    assert!(good(&["--prefill-factor", "6"]) < 60.0);
}

#[test]
fn the_demo_plays_the_planner_as_simulate_does_and_says_where_no_static_fleet_keeps_the_promise() {
    let demo = planner(&[&["demo", "--speed", "100000"], &SHORT[..]].concat());
    let played = json(&SHORT);
    let want = format!(
        "{:.2} % of {} requests good",
        played["attainment"].as_f64().unwrap(),
        played["requests"]
    );
    let hours = format!("at {:.2} GPU-hours", played["gpu_hours"].as_f64().unwrap());
    assert!(demo.out.contains(&want) && demo.out.contains(&hours), "{want}, {hours}: {}", demo.out);
    let says = "which does not keep the promise";
    assert!(!demo.out.contains(says), "{}", demo.out);
    let scarce = planner(
        &[
            &["demo", "--speed", "100000", "--max-gpu-budget", "2", "--prefill-factor", "5"],
            &SHORT[..],
        ]
        .concat(),
    );
    assert!(scarce.out.contains(says), "{}{}", scarce.out, scarce.err);
}

#[test]
fn a_kept_run_is_not_taken_for_one_of_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("runs");
    let kept = kept.to_str().unwrap();
    let trace = |n: u32| {
        let rows = (0..n).map(|i| format!("{},100,10\n", i * 1000)).collect::<String>();
        format!("timestamp_ms,input_length,output_length\n{rows}")
    };
    let suite = put(
        &dir,
        "suite.yaml",
        "policies: [\"static:1,1\"]\nscenarios:\n  one: --trace {dir}/trace.csv\n",
    );
    let requests = |dir: &str| {
        let args =
            ["backtest", "--suite", &suite, "--keep", kept, "--dir", dir, "--format", "json"];
        planner(&args).json()["runs"][0]["score"]["requests"].as_u64().unwrap()
    };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(&one, "trace.csv", &trace(30));
    put(&two, "trace.csv", &trace(40));
    let (one_dir, two_dir) = (one.path().to_str().unwrap(), two.path().to_str().unwrap());
    assert_eq!(requests(one_dir), 30);
    assert_eq!(requests(two_dir), 40, "another --dir");
    put(&one, "trace.csv", &trace(50));
    assert_eq!(requests(one_dir), 50, "a trace that changed");
    assert_eq!(fs::read_dir(kept).unwrap().count(), 3);
    assert_eq!(requests(one_dir), 50);
    assert_eq!(fs::read_dir(kept).unwrap().count(), 3, "the same again is taken");
}

#[test]
fn flags_that_would_be_ignored_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let suite =
        put(&dir, "suite.yaml", "scenarios:\n  one: --trace poisson:rps=5,isl=100,osl=10,for=1m\n");
    for (flag, value) in
        [("--startup", "60s"), ("--percentile", "90"), ("--seed", "2"), ("--trace", "x.csv")]
    {
        planner(&["backtest", "--suite", &suite, flag, value]).refused(2, &[flag, "--suite"]);
    }
    planner(&["backtest", "--only", "one"]).refused(2, &["--suite"]);
    let bad = |more: &[&str], says: &[&str]| {
        planner(&[&["simulate"], &SHORT[..], more].concat()).refused(2, says);
    };
    bad(&["--policy", "ours:4,3"], &["no counts"]);
    bad(&["--policy", "static-best:4,3"], &["no counts"]);
    bad(&["--policy", "oracle:target=100"], &["below 100"]);
    bad(&["--policy", "static-best:target=0"], &["above 0"]);
    bad(&["--policy", "static:10001,1"], &["10000"]);
    bad(&["--initial", "10001,1"], &["10000"]);
}

#[test]
fn what_cannot_come_to_anything_is_refused_before_anything_is_played() {
    let bad = |more: &[&str], says: &[&str]| {
        planner(&[&["simulate"], &SHORT[..], more].concat()).refused(2, says);
    };
    bad(&["--cut", "2h..3h"], &["no request", "--cut"]);
    bad(&["--cut", "2h..3h", "--initial", "1,1"], &["no request"]);
    bad(&["--fault", "lost-worker:aggregated,1m"], &["no aggregated pool", "prefill"]);
    bad(&["--aggregated", "--fault", "lost-worker:decode,1m"], &["no decode pool"]);
    bad(&["--out", "no-such-directory/a.txt"], &["--out", "no-such-directory"]);
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("runs");
    let kept = kept.to_str().unwrap();
    for (policy, says) in [("hpa-tft", "hpa-ttft"), ("keda:x=1", "no knob")] {
        let policies = ["--keep", kept, "--policy", "static:1,1", "--policy", policy];
        planner(&[&["backtest"], &SHORT[..], &policies].concat()).refused(2, &[says]);
        assert!(!fs::exists(kept).unwrap(), "nothing was played");
    }
}

#[test]
fn a_merge_keeps_the_course_of_a_run_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (scores, courses, document) = (path("scores"), path("courses"), path("runs.json"));
    let play = |more: &[&str]| {
        let policies = ["--policy", "static:2,1", "--policy", "static-best"];
        let done = planner(&[&["backtest"], &SHORT[..], &policies, more].concat());
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{}", done.out);
    };
    play(&["--keep", &scores]);
    play(&["--keep", &courses, "--format", "html"]);
    play(&["--format", "json", "--out", &document]);
    let merged = |parts: &[&str]| planner(&[&["merge", "--format", "html"], parts].concat());
    let drawn = |page: &str| page.matches("<figure class=\"course\"").count();
    for parts in [[&scores, &courses, &document], [&document, &scores, &courses]] {
        let page = merged(&parts.map(String::as_str)).ok();
        assert_eq!(drawn(&page), 2, "{parts:?}");
    }
    // Without any course the page is made all the same, and it is said what it lacks.
    for part in [&scores, &document] {
        let done = merged(&[part]);
        assert_eq!((done.code, drawn(&done.out)), (0, 0));
        for says in ["2 of 2 runs", "--keep DIR --format html"] {
            assert!(done.err.contains(says), "{says}: {}", done.err);
        }
    }
}

#[test]
fn the_job_of_a_back_test_keeps_what_its_merge_asks_for() {
    let job = fs::read_to_string(crate::here("deploy/backtest/job.yaml")).unwrap();
    let parsed: serde_json::Value = serde_saphyr::from_str(&job).unwrap();
    let container = &parsed["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], serde_json::json!(["/usr/local/bin/sla-planner"]));
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let suite = put(
        &dir,
        "suite.yaml",
        "policies: [\"static:1,1\", \"static:2,1\"]\nscenarios:\n  one: --trace \
         poisson:rps=5,isl=100,osl=10,for=1m\n",
    );
    let data = dir.path().to_str().unwrap();
    for shard in ["0", "1", "7"] {
        let word = |arg: &String| {
            let arg =
                arg.replace("/suite/suite.yaml", &suite).replace("=/data", &format!("={data}"));
            arg.replace("$(JOB_COMPLETION_INDEX)", shard)
        };
        let words: Vec<String> = args.iter().map(word).collect();
        let done = planner(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
        assert!(done.err.contains("runs of this shard are kept"), "{}", done.err);
    }
    let (_, merge) = job.split_once("#   sla-planner ").unwrap();
    let (merge, _) = merge.split_once(" --out ").unwrap();
    let merge = merge.replace(" runs ", &format!(" {data}/runs "));
    let page = planner(&merge.split_whitespace().collect::<Vec<_>>()).ok();
    assert_eq!(page.matches("<figure class=\"course\"").count(), 2);
}

#[test]
fn a_knob_that_a_policy_is_not_swept_over_is_refused_with_those_it_has() {
    for (policy, has) in [
        ("ours", "it has percentile"),
        ("oracle", "it has target"),
        ("static-best", "it has target"),
        ("static", "it has share"),
        ("hpa-ttft", "target"),
    ] {
        let args = ["--policy", policy, "--knob", "margin"];
        planner(&[&["frontier"], &SHORT[..], &args].concat()).refused(
            2,
            &[&format!("policy {policy} has no knob \"margin\""), has, "docs/policies.md"],
        );
    }
    planner(&[&["frontier"], &SHORT[..], &["--knob", "target"]].concat())
        .refused(2, &["policy ours has no knob"]);
    let swept = ["--policy", "static", "--knob", "share", "--values", "1"];
    let rows = planner(&[&["frontier"], &SHORT[..], &swept].concat()).ok();
    assert_eq!(rows.matches("| static | share | 1 |").count(), 1, "{rows}");
}

#[test]
fn a_kept_run_is_not_taken_after_another_profile_or_from_another_build() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (profile, kept, binary) = (path("profile"), path("runs"), path("sla-planner"));
    fs::create_dir(&profile).unwrap();
    // Other programs write to the binary: a descriptor of this one would be open in what another test
    // starts at that moment, and a file that is open for writing cannot be started.
    let other = |program: &str, args: &[&std::ffi::OsStr]| {
        assert!(std::process::Command::new(program).args(args).status().unwrap().success());
    };
    other("cp", &[env!("CARGO_BIN_EXE_sla-planner").as_ref(), binary.as_ref()]);
    let tables = ["prefill_raw_data.json", "decode_raw_data.json"];
    let measured = crate::here(crate::PROFILE);
    for name in ["meta.json"].iter().chain(&tables) {
        fs::copy(measured.join(name), profile.join(name)).unwrap();
    }
    let play = || {
        let output = std::process::Command::new(&binary)
            .args(["backtest", "--policy", "static:2,1", "--format", "json"])
            .args(SHORT)
            .args([std::path::Path::new("--keep"), &kept, "--profile".as_ref(), &profile])
            .output()
            .unwrap();
        let done = crate::Done::of(output).json();
        (done["runs"][0]["score"].clone(), fs::read_dir(&kept).unwrap().count())
    };
    let (first, _) = play();
    assert_eq!(play(), (first.clone(), 1), "the same again is taken");
    let table = profile.join(tables[0]);
    let mut slower: Value = serde_json::from_str(&fs::read_to_string(&table).unwrap()).unwrap();
    for ttft in slower["prefill_ttft"].as_array_mut().unwrap() {
        *ttft = (2.0 * ttft.as_f64().unwrap()).into();
    }
    fs::write(&table, slower.to_string()).unwrap();
    let (second, files) = play();
    assert_eq!(files, 2, "another profile under the same path");
    assert!(second["ttft_ms"]["mean"].as_f64() > first["ttft_ms"]["mean"].as_f64(), "{second}");
    other("touch", &["-d".as_ref(), "2026-01-01".as_ref(), binary.as_ref()]);
    assert_eq!(play(), (second, 3), "another build");
}

#[test]
fn prompts_beyond_the_profile_are_told_once_for_each_scenario() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("runs");
    let kept = kept.to_str().unwrap();
    let suite = put(
        &dir,
        "suite.yaml",
        "policies: [\"static:2,1\", \"static:3,1\"]\nseeds: [1, 2]\nscenarios:\n  long: --trace \
         poisson:rps=0.2,isl=20000,osl=10,for=2m\n  short: --trace \
         poisson:rps=0.2,isl=2000,osl=10,for=2m\n",
    );
    let told = |args: &[&str]| {
        let done = planner(args);
        assert_eq!(done.code, 0, "{}", done.err);
        let notes: Vec<&str> =
            done.err.lines().filter(|l| l.contains("than any that the profile measured")).collect();
        assert_eq!(notes.len(), 1, "{}", done.err);
        assert!(notes[0].contains("long: "), "{}", notes[0]);
    };
    for _ in ["played", "taken as kept"] {
        told(&["backtest", "--suite", &suite, "--keep", kept]);
    }
    told(&["merge", kept]);
}

#[test]
fn the_start_up_times_of_a_file_are_those_of_the_fleet_unless_a_flag_says_another() {
    let dir = tempfile::tempdir().unwrap();
    let file = put(
        &dir,
        "sla.yaml",
        "sla: {ttft: {target: 500ms, percentile: 99}, percentile: 80}\npools:\n  prefill: {startup: \
         20s}\n  decode: {startup: 5m}\n",
    );
    // The load steps up by much more than the fleet at the start can take.
    let step = ["--trace", "step:rps=2,times=20,at=1m,isl=3000,osl=100,for=6m"];
    let play = |more: &[&str]| {
        let args =
            [&["simulate", "--format", "json", "--initial", "1,1"], &step[..], more].concat();
        let done = planner(&args);
        assert_eq!(done.code, 0, "{}", done.err);
        (serde_json::from_str::<Value>(&done.out).unwrap(), done.err)
    };
    let (of_file, err) = play(&["--sla", &file]);
    assert_eq!(of_file["run"]["startup_s"], 300.0, "that of the slowest pool");
    assert_eq!(of_file["promise"]["percentile"], 80.0);
    assert!(err.contains("99 % of TTFT alone is planned for and not scored"), "{err}");
    let (both_slow, _) = play(&["--sla", &file, "--startup", "5m"]);
    assert_eq!(both_slow["run"]["startup_s"], 300.0);
    assert_ne!(both_slow["run"]["scenario"], of_file["run"]["scenario"], "they are told apart");
    let late = |run: &Value| run["score"]["late_ttft"].as_u64().unwrap();
    assert!(2 * late(&of_file) < late(&both_slow), "prefill is up in 20 s: {of_file} {both_slow}");
    assert_eq!(play(&[]).0["run"]["startup_s"], 60.0);
    let text = planner(&["simulate", "--sla", &file, "--policy", "static:2,1"]).out;
    assert!(text.contains("start-up prefill 20 s, decode 300 s"), "{text}");
}
