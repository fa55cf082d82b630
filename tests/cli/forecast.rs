//! How good forecasts are, and who predicts.

use crate::{PROFILE, TRACE, file, here, planner};

const PREDICTORS: [&str; 6] = ["auto", "constant", "arima", "kalman", "prophet", "seasonal_naive"];

#[test]
fn the_example_trace_is_studied_series_by_series() {
    let trace = here(TRACE).display().to_string();
    let study = planner(&["forecast-study", &trace, "--format", "json"]).json();
    assert_eq!(study["horizon_s"], 130.0);
    let series = study["traces"][0]["series"].as_array().unwrap();
    let names: Vec<&str> = series.iter().map(|s| s["series"].as_str().unwrap()).collect();
    assert_eq!(names, ["rate", "ISL", "OSL"]);
    for one in series {
        let rows = one["predictors"].as_array().unwrap();
        let names: Vec<&str> = rows.iter().map(|r| r["predictor"].as_str().unwrap()).collect();
        assert_eq!(names, PREDICTORS);
        for row in rows {
            // Ten minutes are 59 whole ticks, of which the last 46 are 130 s after another.
            assert_eq!(row["forecasts"], 46, "{row}");
            for share in ["coverage", "low_coverage"] {
                assert!((0.5..=1.0).contains(&row[share].as_f64().unwrap()), "{row}");
            }
            assert!((0.001..0.5).contains(&row["pinball"].as_f64().unwrap()), "{row}");
        }
        let weights = rows[0]["weights"].as_object().unwrap();
        let all: f64 = weights.values().map(|w| w.as_f64().unwrap()).sum();
        assert!(weights.len() > 5 && (all - 1.0).abs() < 1e-9, "{weights:?}");
    }
    let text = planner(&["forecast-study"]).ok();
    assert!(text.contains("| azure-2023-conv-10min | rate "), "{text}");
    assert!(text.contains("Upper end of the band 2m10s ahead, to cover 95.0 %"), "{text}");
}

#[test]
fn the_upper_end_covers_what_was_asked_for() {
    let load = "diurnal:rps=12,amplitude=0.5,period=1h,isl=3000,osl=150,isl-cv=1,osl-cv=1,for=3h";
    for (quantile, range) in [("0.95", 0.93..=0.97), ("0.8", 0.77..=0.83)] {
        let args = ["forecast-study", load, "--quantile", quantile, "--horizon", "70s"];
        let study = planner(&[&args[..], &["--format", "json"]].concat()).json();
        for series in study["traces"][0]["series"].as_array().unwrap() {
            let rows = series["predictors"].as_array().unwrap();
            let of = |row: usize, key: &str| rows[row][key].as_f64().unwrap();
            assert!(range.contains(&of(0, "coverage")), "{quantile}: {series}");
            let best = (1..6).map(|i| of(i, "pinball")).fold(f64::INFINITY, f64::min);
            assert!(of(0, "pinball") < 1.1 * best, "{quantile}: {series}");
        }
    }
}

#[test]
fn a_study_says_what_it_cannot_use() {
    planner(&["forecast-study", "no-such.csv"]).refused(2, &["cannot open no-such.csv"]);
    let (_kept, path) = file("short.csv", "timestamp_ms,input_length,output_length\n0,1,1\n");
    planner(&["forecast-study", &path])
        .refused(2, &["short.csv", "before the first horizon (2m10s)", "shorter --horizon"]);
    planner(&["forecast-study", "--quantile", "0.4"])
        .refused(2, &["expected a share above 0.5 and below 1"]);
    planner(&["forecast-study", "--tick", "10"]).refused(2, &["unit"]);
}

/// A configuration that `run` could begin with, but for this part.
fn config(forecast: &str) -> String {
    format!(
        "target: {{dgd: chat}}\nprometheus: {{url: 'http://127.0.0.1:9'}}\nmetrics_port: 0\n\
         pools: {{aggregated: {{profile: {}}}}}\n{forecast}\n",
        here(PROFILE).display()
    )
}

#[test]
fn a_warm_up_trace_is_read_before_anything_else() {
    let of = |trace: &str| {
        let (kept, path) =
            file("planner.yaml", config(&format!("forecast: {{warmup_trace: {trace}}}")));
        (kept, ["run".to_owned(), "--config".to_owned(), path])
    };
    let refused = |trace: &str, says: &[&str]| {
        let (_kept, args) = of(trace);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        planner(&args).refused(2, says);
        planner(&["validate", args[2]]).refused(2, says);
    };
    refused("/no/such.csv", &["cannot open /no/such.csv"]);
    let (_kept, path) = file("t.csv", "timestamp_ms,input_length,output_length\n5,1,1\n0,1,1\n");
    refused(&path, &["t.csv", "line 3", "sort the trace"]);
    let (_kept, path) = file("t.csv", "timestamp_ms,input_length,output_length\n0,1,1\n");
    refused(&path, &["shorter than a tick (10s)"]);
    let (_kept, path) = file(
        "planner.yaml",
        config(&format!("forecast: {{predictor: arima, warmup_trace: {}}}", here(TRACE).display())),
    );
    let text = planner(&["validate", &path]).ok();
    assert!(text.contains("forecast: by arima\n"), "{text}");
    assert!(text.contains("learns from 59 ticks of "), "{text}");
}

#[test]
fn a_predictor_can_be_played_and_one_that_there_is_not_is_refused() {
    let trace = here(TRACE).display().to_string();
    let hours = |policy: &str| {
        let args = ["simulate", "--trace", &trace, "--policy", policy, "--format", "json"];
        let run = planner(&args).json();
        assert_eq!(run["run"]["policy"], policy);
        run["score"]["gpu_hours"].as_f64().unwrap()
    };
    assert_eq!(hours("ours:predictor=auto"), hours("ours"));
    assert!(hours("ours:predictor=kalman") > 0.0);
    planner(&["simulate", "--policy", "ours:predictor=oracle"])
        .refused(2, &["expected auto, constant, arima, kalman or prophet, found \"oracle\""]);
    planner(&["simulate", "--policy", "ours:price=1"]).refused(2, &["it has predictor"]);
    let (_kept, path) = file("planner.yaml", "forecast: {predictor: karman}\n");
    planner(&["validate", &path]).refused(2, &["did you mean `kalman`?"]);
}
