//! The smaller commands, and the manners of all.

use std::collections::BTreeMap;
use std::process::Stdio;

use crate::{PROFILE, command, file, here, planner};

#[test]
fn a_valid_file_is_summed_up() {
    let example = here("examples/planner.yaml").display().to_string();
    let text = planner(&["validate", &example]).ok();
    for part in ["is valid", "promise: ", "prefill: at least", "decides every"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("scales DGD llm/chat\n"), "{text}");
    let (_kept, path) = file("advise.yaml", "mode: advise\ntarget: {dgd: chat}\n");
    assert!(planner(&["validate", &path]).ok().contains("advises on DGD default/chat\n"));
    let (_kept, path) = file("empty.yaml", "# all defaults\n");
    let text = planner(&["validate", &path]).ok();
    for needed in ["a DGD to scale", "a Prometheus", "pools to scale"] {
        assert!(text.contains(&format!("`run` will need {needed}: give")), "{needed}: {text}");
    }
    let (_kept, path) = file("pools.yaml", "pools: {decode: {}}\n");
    let text = planner(&["validate", &path]).ok();
    assert!(text.contains("`run` will have no profile of decode: sized by latencies"), "{text}");
}

#[test]
fn the_profiles_of_a_service_of_the_cluster_are_shipped_ones_or_entries_of_its_folder() {
    let (kept, path) = file("service.yaml", "");
    let valid = |profile: &str, cluster: &str| {
        let text = format!("cluster: {cluster}\npools: {{decode: {{profile: {profile}}}}}\n");
        std::fs::write(&path, text).unwrap();
        planner(&["validate", &path])
    };
    let folder = kept.path().join("profiles");
    let in_folder = format!("{{profiles: {}}}", folder.display());
    let copy = |name: &str| {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        for entry in std::fs::read_dir(here(PROFILE)).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, folder.join(name).join(from.file_name().unwrap())).unwrap();
        }
    };
    copy("ours");
    let shipped = PROFILE.trim_start_matches("profiles/");
    for (profile, cluster) in [("ours", &in_folder), (shipped, &in_folder)] {
        let text = valid(profile, cluster).ok();
        assert!(text.contains(&format!("decode: profile {profile} is readable")), "{text}");
    }
    valid("theirs", &in_folder).refused(2, &["profile of the decode pool", "profiles/theirs"]);
    let outside = ["expected a shipped profile, or the name of an entry of the folder"];
    for profile in ["../profiles/ours", "/etc/passwd", "ours/prefill_raw_data.json", ".."] {
        valid(profile, &in_folder).refused(2, &outside);
    }
    let without = ["expected a shipped profile; with `cluster.profiles` the service has a folder"];
    valid("ours", "{}").refused(2, &without);
}

#[test]
fn the_definitions_are_printed_as_they_are_committed() {
    let printed = planner(&["crd"]).ok();
    let committed: BTreeMap<String, String> = std::fs::read_dir(here("crds"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    assert_eq!(committed.len(), 3);
    let mut documents: Vec<&str> = printed.split("---\n").collect();
    documents.sort_unstable();
    let mut expected: Vec<&str> = committed.values().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(documents, expected);
    let folder = tempfile::TempDir::new().unwrap();
    planner(&["crd", "--write", &folder.path().display().to_string()]).ok();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "and nothing else");
    for (name, text) in &committed {
        assert_eq!(&std::fs::read_to_string(folder.path().join(name)).unwrap(), text);
    }
    planner(&["crd", "--write", "/no/such"]).refused(1, &["cannot write /no/such"]);
}

#[test]
fn every_command_helps() {
    let commands =
        ["predict", "forecast-study", "run", "why", "replay", "profile", "validate", "crd", "docs"];
    for command in commands {
        let text = planner(&[command, "--help"]).ok();
        assert!(text.contains(&format!("Usage: sla-planner {command}")), "{text}");
        assert_eq!(planner(&["help", command]).ok(), text);
    }
    assert!(planner(&["--help"]).ok().contains("predict"));
    assert!(planner(&["--version"]).ok().starts_with("sla-planner "));
    assert!(planner(&["docs"]).ok().contains("# Exit codes"));
    planner(&[]).refused(2, &["Usage: sla-planner"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for args in [&["docs"][..], &["crd"], &["predict"], &["--help"], &["run", "--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert!(output.status.success(), "{args:?}");
    }
}

#[test]
fn the_code_says_what_went_wrong_where_nobody_reads_the_message() {
    let (_kept, path) = file("planner.yaml", "sla: {ttft: 500}\n");
    for args in [&["predict", "--ttft", "500"][..], &["validate", &path], &["predikt"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(args).stderr(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(output.stdout, b"", "{args:?}");
    }
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = std::fs::File::create("/dev/full").unwrap();
    let output = command(&["docs"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("error: write to standard output: No space"), "{text}");
}

#[test]
fn two_at_once_answer_the_same() {
    let both: Vec<_> =
        (0..2).map(|_| command(&["predict"]).stdout(Stdio::piped()).spawn().unwrap()).collect();
    let [a, b] = both.try_into().unwrap_or_else(|_| unreachable!("two were started"));
    let (a, b) = (a.wait_with_output().unwrap(), b.wait_with_output().unwrap());
    assert!(a.status.success() && a.stdout == b.stdout);
}
