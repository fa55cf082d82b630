//! Whole profiles: reading, refusing, interpolating.

use proptest::prelude::*;

use super::*;
use crate::units::{Gpus, Tokens};

const PREFILL_1D: &[u8] = include_bytes!("../../tests/data/profile/prefill_1d.npz");
const DECODE_1D: &[u8] = include_bytes!("../../tests/data/profile/decode_1d.npz");
const PREFILL_2D: &[u8] = include_bytes!("../../tests/data/profile/prefill_2d.npz");
const DECODE_2D: &[u8] = include_bytes!("../../tests/data/profile/decode_2d.npz");
const PREFILL_TEXT: &[u8] = include_bytes!("../../tests/data/profile/prefill_text.npz");

const PREFILL_NPZ: &str = "selected_prefill_interpolation/raw_data.npz";
const DECODE_NPZ: &str = "selected_decode_interpolation/raw_data.npz";

const PREFILL_JSON: &str = r#"{"prefill_isl":[100,1100,2100],"prefill_ttft":[20,40,60.5],
    "prefill_thpt_per_gpu":[5000,27500,34710.7]}"#;
const DECODE_JSON: &str = r#"{"x_kv_usage":[0.025,0.25,0.05,0.5],"y_context_length":[1000,1000,2000,2000],
    "z_itl":[5,7,5.5,9],"z_thpt_per_gpu":[200,1428.6,181.8,1111.1],"max_kv_tokens":40000}"#;

/// The sweep of `tp` GPUs in the table of Llama 3.3 70B on H100 that Dynamo 0.9.0 ships.
pub(super) fn shipped_h100(tp: &str) -> EngineProfile {
    let mut files = files(&[
        (
            "prefill.npz",
            include_bytes!("../../tests/data/profile/dynamo-0.9.0/h100_70b/prefill.npz"),
        ),
        ("decode.npz", include_bytes!("../../tests/data/profile/dynamo-0.9.0/h100_70b/decode.npz")),
    ]);
    files.row = vec![("tp".to_owned(), tp.to_owned())];
    EngineProfile::from_files(&files).unwrap()
}

fn files(list: &[(&str, &[u8])]) -> ProfileFiles {
    ProfileFiles {
        place: "here".to_owned(),
        files: list
            .iter()
            .map(|(name, bytes)| ProfileFile { name: (*name).to_owned(), bytes: bytes.to_vec() })
            .collect(),
        row: Vec::new(),
    }
}

fn load(list: &[(&str, &[u8])]) -> Result<EngineProfile, ProfileError> {
    EngineProfile::from_files(&files(list))
}

fn load_json(prefill: &str, decode: &str) -> Result<EngineProfile, ProfileError> {
    load(&[
        ("d/prefill_raw_data.json", prefill.as_bytes()),
        ("d/decode_raw_data.json", decode.as_bytes()),
    ])
}

fn refused(list: &[(&str, &[u8])]) -> String {
    load(list).unwrap_err().to_string()
}

fn refused_json(prefill: &str, decode: &str) -> String {
    load_json(prefill, decode).unwrap_err().to_string()
}

#[test]
fn npz_and_json_of_the_same_numbers_answer_alike() {
    let npz = load(&[(PREFILL_NPZ, PREFILL_1D), (DECODE_NPZ, DECODE_1D)]).unwrap();
    assert_eq!(npz.prefill().ttft(1600.0).value.get(), 50.0);
    assert_eq!(npz.decode().max_kv_tokens().get(), 40_000.0);
    assert_eq!(npz.decode().itl(10.0, 1000.0).value.get(), 7.0);
    assert_eq!(npz.decode_points()[1].batch, 10.0);
    assert_eq!(npz.gpus_per_engine(), Some(Gpus::new(1)));
    let json = load_json(PREFILL_JSON, DECODE_JSON).unwrap();
    assert_eq!(json.decode().itl(10.0, 1000.0).value.get(), 7.0);
    assert_eq!(json.decode().itl(10.0, 1500.0).value.get(), 8.0);
}

#[test]
fn npz_is_taken_before_json_as_dynamo_does() {
    let both = load(&[
        ("prefill_raw_data.json", b"not json"),
        (PREFILL_NPZ, PREFILL_1D),
        (DECODE_NPZ, DECODE_1D),
    ]);
    assert!(both.is_ok());
}

#[test]
fn a_sweep_is_chosen_by_its_keys() {
    let mut two = files(&[("prefill.npz", PREFILL_2D), ("decode.npz", DECODE_2D)]);
    let text = EngineProfile::from_files(&two).unwrap_err().to_string();
    assert_eq!(
        text,
        "prefill.npz holds 2 sweeps that fit; choose one by its keys: [0] tp=1; [1] tp=2"
    );
    two.row = vec![("tp".to_owned(), "2".to_owned())];
    let p = EngineProfile::from_files(&two).unwrap();
    assert_eq!(p.prefill().ttft(1100.0).value.get(), 80.0);
    assert_eq!(p.decode().max_kv_tokens().get(), 80_000.0);
    assert_eq!(p.gpus_per_engine(), Some(Gpus::new(2)));
    two.row = vec![("tp".to_owned(), "8".to_owned())];
    let text = EngineProfile::from_files(&two).unwrap_err().to_string();
    assert!(text.starts_with("prefill.npz has no sweep with tp=8; it holds: [0]"), "{text}");
}

#[test]
fn a_choice_between_sweeps_lists_those_that_are_left_and_is_told_whole() {
    let many = |choice: &[(&str, &str)]| {
        let mut two = files(&[("prefill.npz", PREFILL_2D), ("decode.npz", DECODE_2D)]);
        two.row = choice.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        EngineProfile::from_files(&two).unwrap_err()
    };
    let error = many(&[]);
    assert!(error.is_of_choice());
    let mend = "choose one by its keys: [0] tp=1; [1] tp=2".to_owned();
    assert_eq!(
        error.found_and_mend(),
        ("prefill.npz holds 2 sweeps that fit".to_owned(), Some(mend))
    );
    let mend = "it holds: [0] tp=1; [1] tp=2".to_owned();
    assert_eq!(
        many(&[("tp", "1; 2")]).found_and_mend(),
        ("prefill.npz has no sweep with tp=1; 2".to_owned(), Some(mend))
    );
    let mut one = files(&[(PREFILL_NPZ, PREFILL_1D), (DECODE_NPZ, DECODE_1D)]);
    one.row = vec![("tp".to_owned(), "2".to_owned())];
    let error = EngineProfile::from_files(&one).unwrap_err();
    assert_eq!(error.label(), "no_choice");
    assert_eq!(
        error.to_string(),
        "here holds one table for each role and no sweeps to choose tp=2 from; leave the choice out"
    );
}

#[test]
fn the_tables_that_dynamo_ships_are_read() {
    let h200 = load(&[
        (
            "prefill.npz",
            include_bytes!("../../tests/data/profile/dynamo-0.9.0/h200_8b/prefill.npz"),
        ),
        ("decode.npz", include_bytes!("../../tests/data/profile/dynamo-0.9.0/h200_8b/decode.npz")),
    ])
    .unwrap();
    let json = library::get(library::DEFAULT).unwrap();
    assert_eq!(h200.prefill(), json.prefill());
    assert_eq!(h200.decode(), json.decode());
    assert_eq!((h200.model(), h200.gpus_stated()), (json.model(), json.gpus_stated()));
    let h100 = shipped_h100("4");
    assert_eq!(h100.model(), Some("nvidia/Llama-3.3-70B-Instruct-FP8"));
    // Shipped with throughput divided by 8 and not by 4.
    let (stated, implied) = (Gpus::new(4), h100.gpus_implied().unwrap());
    assert!((implied - 8.0).abs() < 1e-6);
    assert!(lint(&h100).contains(&Finding::GpuCount { stated, implied }));
}

#[test]
fn one_json_file_may_hold_both_tables() {
    let side_by_side = format!(
        "{},\"gpus_per_engine\":4,\"model\":\"m\",{}",
        &PREFILL_JSON[..PREFILL_JSON.len() - 1],
        &DECODE_JSON[1..]
    );
    let p = load(&[("mine.json", side_by_side.as_bytes())]).unwrap();
    assert_eq!(p.gpus_stated(), Some(Gpus::new(4)));
    assert_eq!(p.model(), Some("m"));
    let nested = format!("{{\"prefill\":{PREFILL_JSON},\"decode\":{DECODE_JSON}}}");
    assert!(load(&[("mine.json", nested.as_bytes())]).is_ok());
    let half = load(&[("mine.json", PREFILL_JSON.as_bytes())]).unwrap_err();
    assert_eq!(half.label(), "missing");
}

#[test]
fn a_role_without_a_table_says_what_was_looked_for() {
    assert_eq!(
        refused(&[("decode_raw_data.json", DECODE_JSON.as_bytes()), ("meta.json", b"{}")]),
        "here has no prefill table: looked for selected_prefill_interpolation/raw_data.npz, \
         prefill.npz, prefill_raw_data.json; run the profiler, or name a shipped profile"
    );
    let text = refused(&[(PREFILL_NPZ, PREFILL_1D)]);
    assert!(text.starts_with("here has no decode table: looked for selected_decode"), "{text}");
    assert_eq!(load(&[]).unwrap_err().label(), "missing");
}

#[test]
fn files_that_are_not_what_they_say_are_refused() {
    let npz = |bytes| refused(&[(PREFILL_NPZ, bytes), (DECODE_NPZ, DECODE_1D)]);
    assert!(npz(&[]).contains("the file is empty"));
    assert!(npz(b"hello").contains("does not begin like a zip"));
    assert!(npz(&PREFILL_1D[..PREFILL_1D.len() / 2]).contains("as in a file cut short"));
    assert!(npz(PREFILL_TEXT).contains("field prefill_ttft: expected a list of numbers"));
    let json = |text| refused_json(text, DECODE_JSON);
    assert!(json("").contains("it is empty"));
    assert!(json("{\"prefill_isl\": [1, NaN]}").contains("is not a JSON object: expected"));
    assert!(json("[1]").contains("it holds a list"));
    assert_eq!(load_json(PREFILL_JSON, "{").unwrap_err().label(), "malformed");
}

#[test]
fn fields_that_are_missing_empty_uneven_or_mistyped_are_named() {
    let json = |text| refused_json(text, DECODE_JSON);
    assert!(json("{}").contains("has no field prefill_isl; a prefill table needs"));
    assert!(
        json(r#"{"prefill_isl":[],"prefill_ttft":[]}"#).contains("field prefill_isl: no values")
    );
    assert!(
        json(r#"{"prefill_isl":[1,2],"prefill_ttft":[1]}"#)
            .contains("prefill_ttft has 1 values but prefill_isl has 2")
    );
    assert!(json(r#"{"prefill_isl":[1,"2"],"prefill_ttft":[1,2]}"#).contains("text at [1]"));
    let two_sizes = DECODE_JSON.replace("40000", "[40000,1]");
    assert!(refused_json(PREFILL_JSON, &two_sizes).contains("max_kv_tokens has 2 values"));
    let listed = DECODE_JSON.replace("40000", "[40000]");
    assert!(load_json(PREFILL_JSON, &listed).is_ok());
    let bare = r#"{"prefill_isl":[100,200],"prefill_ttft":[1,2]}"#;
    assert!(load_json(bare, DECODE_JSON).unwrap().gpus_per_engine().is_none());
}

#[test]
fn numbers_that_cannot_be_measurements_are_refused_with_their_place() {
    let with = |from: &str, to: &str| refused_json(PREFILL_JSON, &DECODE_JSON.replace(from, to));
    assert_eq!(
        with("[5,7,5.5,9]", "[5,-7,5.5,9]"),
        "d/decode_raw_data.json, field z_itl[1]: found -7, expected above 0 and at most 1e9 ms; \
         mend or drop that point"
    );
    assert!(with("181.8", "0").contains("field z_thpt_per_gpu[2]: found 0"));
    assert!(with("0.25", "1.02").contains("field x_kv_usage[1]: found 1.02"));
    assert!(with("[1000,1000", "[0,1000").contains("field y_context_length[0]"));
    assert!(with("40000", "0").contains("field max_kv_tokens[0]"));
    let kv_of_101 = DECODE_JSON.replace("0.5", "1.009");
    assert!(load_json(PREFILL_JSON, &kv_of_101).is_ok());
    for bad in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e300, 1e-300] {
        let kv = Tokens::clamped(1e5);
        assert!(EngineProfile::from_points(&[(100.0, bad)], &[(1.0, 100.0, 5.0)], kv).is_err());
        assert!(EngineProfile::from_points(&[(100.0, 9.0)], &[(1.0, 100.0, bad)], kv).is_err());
        assert!(EngineProfile::from_points(&[(100.0, 9.0)], &[(bad, 100.0, 5.0)], kv).is_err());
    }
    assert!(EngineProfile::from_points(&[(9.0, 9.0)], &[(1.0, 9.0, 5.0)], Tokens::ZERO).is_err());
    assert!(EngineProfile::from_points(&[], &[(1.0, 9.0, 5.0)], Tokens::clamped(1e5)).is_err());
}

#[test]
fn a_broken_meta_is_refused_and_an_absent_one_is_not() {
    let with = |meta: &str| {
        load(&[
            ("prefill_raw_data.json", PREFILL_JSON.as_bytes()),
            ("decode_raw_data.json", DECODE_JSON.as_bytes()),
            ("meta.json", meta.as_bytes()),
        ])
    };
    assert_eq!(with("{}").unwrap().gpus_stated(), None);
    assert_eq!(with("{\"gpus_per_engine\":2}").unwrap().gpus_stated(), Some(Gpus::new(2)));
    for bad in ["{\"gpus_per_engine\":0}", "{\"gpus_per_engine\":1.5}", "{\"model\":1}", "x"] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn shipped_profiles_load_and_a_wrong_name_gets_the_nearest() {
    for name in library::names() {
        let p = library::get(name).unwrap();
        assert!(p.gpus_stated().is_some() && p.model().is_some(), "{name}");
        assert!(
            (p.gpus_implied().unwrap() / f64::from(p.gpus_stated().unwrap().get()) - 1.0).abs()
                < 0.01
        );
    }
    assert!(library::names().is_sorted());
    assert!(library::get(library::DEFAULT).is_ok());
    assert_eq!(
        library::get("aic_qwen3_32b_h200").unwrap_err().to_string(),
        "no shipped profile is called \"aic_qwen3_32b_h200\"; did you mean \
         \"aic_qwen3-32b_h200_vllm_tp2\"?"
    );
    assert!(library::get("zzz").unwrap_err().to_string().contains("there are aic_llama"));
}

#[test]
fn the_linter_tells_what_is_known_of_the_measured_profile() {
    let found = lint(&library::get(library::DEFAULT).unwrap());
    let text: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "ITL falls from 46.6 ms to 41.0 ms between batches of 1049 and 1311 at context 350 tokens",
            "decode throughput disagrees with batch / ITL / GPUs at 2 points, worst 1.95 times at \
             batch 1573, context 350 tokens",
        ]
    );
}

#[test]
fn the_linter_finds_what_was_put_there() {
    let p = load_json(
        r#"{"prefill_isl":[2000,100,100],"prefill_ttft":[20,30,50],
            "prefill_thpt_per_gpu":[50000,1250,1250]}"#,
        r#"{"x_kv_usage":[0.01,0.5],"y_context_length":[1000,1000],"z_itl":[5,4],
            "z_thpt_per_gpu":[100,2500],"max_kv_tokens":40000}"#,
    )
    .unwrap();
    let found = lint(&p);
    let hundred = Tokens::clamped(100.0);
    assert!(found.contains(&Finding::DuplicateIsl { isl: hundred, points: 2 }));
    assert!(found.iter().any(|f| matches!(f, Finding::TtftFalls { .. })));
    assert!(found.iter().any(|f| matches!(f, Finding::ItlFalls { .. })));
    assert!(found.contains(&Finding::FewPoints { table: Table::Decode, points: 2, wanted: 9 }));
    assert!(found.iter().any(|f| matches!(f, Finding::OneContext { .. })));
    assert!(found.contains(&Finding::BatchBelowOne { points: 1, smallest: 0.4 }));
    assert_eq!(p.prefill().ttft(100.0).value.get(), 30.0);
}

#[test]
fn the_linter_finds_a_wrong_gpu_count() {
    let p = load(&[
        ("prefill_raw_data.json", PREFILL_JSON.as_bytes()),
        ("decode_raw_data.json", DECODE_JSON.as_bytes()),
        ("meta.json", b"{\"gpus_per_engine\":4}"),
    ])
    .unwrap();
    let found = lint(&p);
    assert!(found.iter().any(|f| matches!(f, Finding::GpuCount { .. })), "{found:?}");
    assert!(found.iter().any(|f| matches!(f, Finding::LittlesLaw { points: 4, .. })), "{found:?}");
    assert!(
        found.iter().all(|f| f.severity() == Severity::Error
            || f.field().ends_with("isl")
            || f.field() == "x_kv_usage"),
        "{found:?}"
    );
}

#[test]
fn the_linter_finds_order_single_points_and_contexts_that_contradict_each_other() {
    let p = load_json(
        r#"{"prefill_isl":[100,2100,1100],"prefill_ttft":[20,60.5,40],
            "prefill_thpt_per_gpu":[5000,34710.7,31000]}"#,
        &DECODE_JSON.replace("[5,7,5.5,9]", "[5,7,5.5,6]"),
    )
    .unwrap();
    let found = lint(&p);
    let tokens = Tokens::clamped;
    assert!(found.contains(&Finding::IslOutOfOrder { isl: tokens(1100.0) }), "{found:?}");
    let Some(Finding::PrefillThroughput { points, worst, isl }) =
        found.iter().find(|f| matches!(f, Finding::PrefillThroughput { .. }))
    else {
        panic!("{found:?}")
    };
    let (points, worst, isl) = (*points, *worst, isl.get());
    assert!(points == 1 && isl == 1100.0 && (worst - 27_500.0 / 31_000.0).abs() < 1e-3, "{worst}");
    let falls = |f: &&Finding| matches!(f, Finding::ItlFallsWithContext { .. });
    assert_eq!(
        found.iter().find(falls).map(ToString::to_string).as_deref(),
        Some(
            "ITL falls from 7.0 ms to 6.0 ms between contexts of 1000 tokens and 2000 tokens at \
             batch 10"
        )
    );
    assert_eq!(found.iter().map(Finding::severity).max(), Some(Severity::Warning));
}

#[test]
fn one_kv_cache_for_engines_of_several_sizes_is_an_error() {
    let sweeps = ["2", "4", "8"].map(shipped_h100);
    let all: Vec<&EngineProfile> = sweeps.iter().collect();
    let found = lint_together(&all);
    let max_kv_tokens = sweeps[0].decode().max_kv_tokens();
    let gpus = [Gpus::new(2), Gpus::new(8)];
    assert_eq!(found, [Finding::SharedKvTokens { gpus, max_kv_tokens }]);
    assert_eq!(found[0].severity(), Severity::Error);
    assert_eq!(lint_together(&all[..1]), []);
    let shipped: Vec<EngineProfile> = library::names().map(|n| library::get(n).unwrap()).collect();
    assert_eq!(lint_together(&shipped.iter().collect::<Vec<_>>()), []);
}

#[test]
fn no_shipped_profile_has_an_error_and_each_finding_says_how_to_mend_it() {
    for name in library::names() {
        for f in lint(&library::get(name).unwrap()) {
            assert!(f.severity() < Severity::Error, "{name}: {f}");
            assert!(f.mend().len() > 10 && !f.mend().ends_with('.'), "{name}: {f}");
        }
    }
}

#[test]
fn the_sweeps_of_a_file_are_listed_by_what_chooses_them() {
    let two = files(&[("prefill.npz", PREFILL_2D), ("decode.npz", DECODE_2D)]);
    let tp = |n: &str| vec![("tp".to_owned(), n.to_owned())];
    assert_eq!(two.rows().unwrap(), [tp("1"), tp("2")]);
    let one = files(&[(PREFILL_NPZ, PREFILL_1D), (DECODE_NPZ, DECODE_1D)]);
    assert_eq!(one.rows().unwrap(), [vec![]]);
    assert_eq!(one.table(Table::Prefill), Some(PREFILL_NPZ));
    assert_eq!(one.table(Table::Decode), Some(DECODE_NPZ));
}

#[test]
fn shipped_profiles_never_fall() {
    for name in library::names() {
        let p = library::get(name).unwrap();
        let steps: Vec<f64> = (0..60).map(|i| 1.2_f64.powi(i)).collect();
        let ttft = |x: f64| p.prefill().ttft(x).value;
        assert!(steps.windows(2).all(|w| ttft(w[0]) <= ttft(w[1])), "{name}");
        let at = |b: f64, c: f64| p.decode().itl(b, c).value.get();
        for &fixed in &steps {
            for w in steps.windows(2) {
                assert!(at(w[1], fixed) >= at(w[0], fixed) * (1.0 - 1e-12), "{name} {w:?} {fixed}");
                assert!(at(fixed, w[1]) >= at(fixed, w[0]) * (1.0 - 1e-12), "{name} {fixed} {w:?}");
            }
        }
    }
}

fn any_prefill() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((1.0..1e5_f64, 1e-3..1e5_f64), 1..12)
}

/// Points in rows of equal context, or scattered, within the memory of 1e6 tokens.
fn any_decode() -> impl Strategy<Value = Vec<(f64, f64, f64)>> {
    let context = prop_oneof![Just(350.0), Just(353.0), Just(3000.0), Just(9000.0), 1.0..1e5_f64];
    prop::collection::vec((0.5..1.0_f64, 0.0..1.0_f64, context, 1e-3..1e3_f64), 1..20).prop_map(
        |v| {
            v.into_iter()
                .map(|(low, share, context, itl)| ((1e6 * share / context).max(low), context, itl))
                .collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ttft_never_falls_and_is_finite(
        points in any_prefill(),
        mut asked in prop::collection::vec(0.0..3e5_f64, 2..40),
    ) {
        let p = EngineProfile::from_points(&points, &[(1.0, 100.0, 5.0)], Tokens::clamped(1e6)).unwrap();
        asked.sort_by(f64::total_cmp);
        let mut before = 0.0;
        for isl in asked {
            let now = p.prefill().ttft(isl).value.get();
            prop_assert!(now.is_finite() && now > 0.0);
            prop_assert!(now >= before * (1.0 - 1e-12), "{now} after {before} at {isl}");
            before = now;
        }
    }

    #[test]
    fn itl_never_falls_in_batch_or_context_and_is_finite(
        points in any_decode(),
        batches in prop::collection::vec(0.0..3e3_f64, 1..8),
        contexts in prop::collection::vec(0.0..2e5_f64, 1..8),
        step in 0.0..100.0_f64,
    ) {
        let p = EngineProfile::from_points(&[(100.0, 9.0)], &points, Tokens::clamped(1e6)).unwrap();
        let at = |b: f64, c: f64| p.decode().itl(b, c).value.get();
        for &b in &batches {
            for &c in &contexts {
                let here = at(b, c);
                prop_assert!(here.is_finite() && here >= 0.0);
                prop_assert!(at(b + step, c) >= here * (1.0 - 1e-9), "batch {b} context {c}");
                prop_assert!(at(b, c + 100.0 * step) >= here * (1.0 - 1e-9), "batch {b} context {c}");
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        cut in 0_usize..2000, at in 0_usize..2000, with in any::<u8>(),
    ) {
        for good in [PREFILL_1D, DECODE_1D, PREFILL_2D, DECODE_2D] {
            let mut bytes = good[..good.len().min(cut + 200)].to_vec();
            let n = bytes.len();
            bytes[at % n] = with;
            drop(load(&[(PREFILL_NPZ, &bytes), (DECODE_NPZ, &bytes)]));
            let mut whole = good.to_vec();
            let n = whole.len();
            whole[at % n] = with;
            drop(load(&[(PREFILL_NPZ, &whole), (DECODE_NPZ, &whole)]));
        }
    }
}
