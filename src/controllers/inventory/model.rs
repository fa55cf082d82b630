//! The model's name, read off a worker's command line.

use crate::api::Service;

/// The options that name a model, in the order in which they are believed.
const OPTIONS: [&str; 3] = ["--served-model-name", "--model-name", "--model"];

/// The model that a worker serves: the value of the first of `--served-model-name`, `--model-name`,
/// `--model` that its command line has. A whole shell line in one word is read too.
#[must_use]
pub fn model_name(service: &Service) -> Option<String> {
    let words: Vec<&str> = service.command_line().flat_map(str::split_whitespace).collect();
    OPTIONS.iter().find_map(|option| value_of(&words, option))
}

fn value_of(words: &[&str], option: &str) -> Option<String> {
    words.iter().enumerate().find_map(|(at, word)| {
        let value = match word.strip_prefix(option)? {
            "" => words.get(at + 1).copied()?,
            rest => rest.strip_prefix('=')?,
        };
        let value = value.trim_matches(['"', '\'']);
        (!value.is_empty() && !value.starts_with("--")).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn worker(command: &[&str], args: &[&str]) -> Service {
        serde_json::from_value(json!({
            "extraPodSpec": {"mainContainer": {"command": command, "args": args}}
        }))
        .unwrap()
    }

    #[test]
    fn the_served_name_wins_over_the_model() {
        let worker = worker(
            &["python3", "-m", "dynamo.vllm"],
            &["--model", "Qwen/Qwen3-0.6B", "--served-model-name", "qwen"],
        );
        assert_eq!(model_name(&worker).as_deref(), Some("qwen"));
    }

    #[test]
    fn a_shell_line_and_an_equals_sign_are_read() {
        let line = worker(&["/bin/sh", "-c"], &["python3 -m dynamo.sglang --model 'org/m' --tp 2"]);
        assert_eq!(model_name(&line).as_deref(), Some("org/m"));
        let equals = worker(&["serve"], &["--model-name=\"m\""]);
        assert_eq!(model_name(&equals).as_deref(), Some("m"));
    }

    #[test]
    fn an_option_that_only_begins_alike_is_another_one() {
        let worker = worker(&["serve"], &["--model-path", "/models/x", "--model", "--tp"]);
        assert_eq!(model_name(&worker), None);
        assert_eq!(model_name(&Service::default()), None);
    }
}
