//! `profile lint`, `show` and `plot`.

use serde_json::Value;

use crate::{PROFILE, file, here, planner};

const NAME: &str = "measured_llama-3.1-8b-fp8_h200_vllm_tp1";
const H100: &str = "tests/data/profile/dynamo-0.9.0/h100_70b";

fn path(of: &str) -> String {
    here(of).display().to_string()
}

#[test]
fn the_shipped_profiles_have_no_errors() {
    let names: Vec<String> = std::fs::read_dir(here("profiles"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert!(names.len() >= 4);
    let args: Vec<&str> =
        ["profile", "lint"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let text = planner(&args).ok();
    assert!(text.contains(": 0 errors, "), "{text}");
    assert!(text.contains("warning  measured_llama-3.1-8b-fp8_h200_vllm_tp1/decode_raw_data.json, z_itl: ITL falls"), "{text}");
    assert!(text.contains("to mend: "), "{text}");
    // The same by its path.
    let by_path = planner(&["profile", "lint", &path(PROFILE), "--format", "json"]).json();
    assert_eq!(by_path["warnings"], 2, "{by_path}");
    assert!(by_path["findings"][0]["file"].as_str().unwrap().ends_with("decode_raw_data.json"));
}

#[test]
fn the_tables_that_contradict_each_other_end_with_code_7() {
    let done = planner(&["profile", "lint", &path(H100), "--format", "json"]);
    assert_eq!(done.code, 7, "{}", done.err);
    let answer: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(answer["profiles"], 3, "every sweep of the file is looked at");
    let errors: Vec<&Value> = answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["severity"] == "error")
        .collect();
    let of = |sweep: &str, field: &str| {
        errors
            .iter()
            .any(|f| f["profile"].as_str().unwrap().ends_with(sweep) && f["field"] == field)
    };
    assert!(of("tp=4", "prefill_thpt_per_gpu") && of("tp=2", "prefill_thpt_per_gpu"), "{answer}");
    assert!(!of("tp=8", "prefill_thpt_per_gpu"), "{answer}");
    let shared = errors.iter().find(|f| f["field"] == "max_kv_tokens").unwrap();
    assert!(shared["found"].as_str().unwrap().contains("engines of 2 and of 8 GPUs"), "{shared}");
    let one = planner(&["profile", "lint", &path(H100), "--row", "tp=8", "--format", "json"]);
    let answer: Value = serde_json::from_str(&one.out).unwrap();
    assert_eq!(answer["profiles"], 1, "{answer}");
}

#[test]
fn a_table_that_cannot_be_read_is_a_finding_and_the_others_are_looked_at_too() {
    let bad = std::fs::read_to_string(here(PROFILE).join("prefill_raw_data.json")).unwrap();
    let (kept, _) = file("prefill_raw_data.json", bad.replacen("[", "[-5,", 1));
    std::fs::copy(
        here(PROFILE).join("decode_raw_data.json"),
        kept.path().join("decode_raw_data.json"),
    )
    .unwrap();
    let folder = kept.path().display().to_string();
    let done = planner(&["profile", "lint", &folder, NAME]);
    assert_eq!(done.code, 7, "{}{}", done.out, done.err);
    assert!(done.out.contains("error    ") && done.out.contains("[0]: found -5"), "{}", done.out);
    assert!(done.out.contains("to mend: mend or drop that point"), "{}", done.out);
    assert!(done.out.contains("2 profiles: 1 errors, 2 warnings"), "{}", done.out);
    planner(&["profile", "lint", "/no/such/dir"]).refused(2, &["no such directory or file"]);
    planner(&["profile", "lint", "measured_lama"]).refused(2, &["did you mean"]);
    planner(&["profile", "lint"]).refused(2, &["DIR|FILE|NAME"]);
}

#[test]
fn a_choice_of_a_sweep_that_there_is_not_is_refused() {
    for command in ["lint", "show", "plot"] {
        for profile in [NAME, &path(PROFILE)] {
            planner(&["profile", command, profile, "--row", "tp=4"]).refused(
                2,
                &[profile, "no sweeps to choose tp=4 from; leave the choice out", "hint:"],
            );
        }
        let says = ["prefill.npz has no sweep with tp=3; it holds: [0] ", "tp=8; [1] ", "tp=2"];
        planner(&["profile", command, &path(H100), "--row", "tp=3"]).refused(2, &says);
    }
    let both = ["profile", "lint", &path(H100), NAME, "--row", "tp=8"];
    planner(&both).refused(2, &[NAME, "leave the choice out"]);
}

/// A folder with these two tables.
fn tables(prefill: &[u8], decode: &[u8]) -> (tempfile::TempDir, String) {
    let (kept, _) = file("prefill.npz", prefill);
    std::fs::write(kept.path().join("decode.npz"), decode).unwrap();
    let folder = kept.path().display().to_string();
    (kept, folder)
}

#[test]
fn a_file_of_no_sweep_is_an_error_and_a_list_of_sweeps_is_told_whole() {
    let [prefill, decode] = ["prefill_2d", "decode_2d"]
        .map(|name| std::fs::read(path(&format!("tests/data/profile/{name}.npz"))).unwrap());
    // Its arrays are stored as they are.
    let none = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let (two, zero) = (b"'shape': (2, ", b"'shape': (0, ");
        while let Some(at) = bytes.windows(two.len()).position(|part| part == two) {
            bytes[at..at + two.len()].copy_from_slice(zero);
        }
        bytes
    };
    let no_rows = (none(&prefill), none(&decode));
    for (prefill, decode) in
        [(&no_rows.0, &decode), (&prefill, &no_rows.1), (&no_rows.0, &no_rows.1)]
    {
        let (_kept, folder) = tables(prefill, decode);
        let done = planner(&["profile", "lint", &folder]);
        assert_eq!(done.code, 7, "{}{}", done.out, done.err);
        assert!(done.out.contains("holds no sweep: its columns have 0 rows"), "{}", done.out);
        assert!(done.out.contains("to mend: write it again with the profiler"), "{}", done.out);
        planner(&["profile", "show", &folder, "--row", "tp=1"]).refused(2, &["holds no sweep"]);
    }
    // The sweeps of one file are not those of the other.
    let other = std::fs::read(here(H100).join("decode.npz")).unwrap();
    let (_kept, folder) = tables(&prefill, &other);
    let done = planner(&["profile", "lint", &folder, "--format", "json"]);
    assert_eq!(done.code, 7, "{}{}", done.out, done.err);
    let answer: Value = serde_json::from_str(&done.out).unwrap();
    let first = &answer["findings"][0];
    assert!(first["found"].as_str().unwrap().ends_with("has no sweep with tp=1"), "{first}");
    let mend = first["mend"].as_str().unwrap();
    assert!(mend.starts_with("it holds: [0] ") && mend.contains("; [2] "), "{mend}");
}

#[test]
fn show_prints_the_tables_and_marks_what_leaves_them() {
    let text = planner(&["profile", "show", NAME]).ok();
    for part in [
        "H200",
        "KV cache",
        "as measured",
        "as planned with",
        "outside the data",
        "no room",
        "batch",
    ] {
        assert!(text.to_lowercase().contains(&part.to_lowercase()), "{part}: {text}");
    }
    assert!(text.contains("131072 ") && text.contains('*'), "{text}");
    let text = planner(&["profile", "show", &path(H100), "--row", "tp=4"]).ok();
    assert!(text.contains("GPUs      4 (throughput was divided by 8.00)"), "{text}");
    planner(&["profile", "show", &path(H100)]).refused(2, &["3 sweeps", "tp=4"]);
    planner(&["profile", "show", NAME, "--row", "tp"]).refused(2, &["a key and its value"]);
}

#[test]
fn plot_writes_one_svg() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("profile.svg").display().to_string();
    planner(&["profile", "plot", NAME, "--out", &out]).ok();
    let svg = std::fs::read_to_string(&out).unwrap();
    assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>"));
    assert_eq!(planner(&["profile", "plot", NAME]).ok(), svg);
    planner(&["profile", "plot", NAME, "--out", "/no/such/x.svg"]).refused(2, &["/no/such"]);
}
