//! Runs side by side.

use std::collections::BTreeMap;

use super::RunResult;

/// What runs have in common that may be compared: trace, profile, start-up time in ms, scenario and
/// promise.
pub type GroupKey = (String, String, u64, String, [u64; 3]);

/// The group of a run.
#[must_use]
pub fn group_of(result: &RunResult) -> GroupKey {
    let run = &result.run;
    let ms = crate::units::round_to_u64(run.startup_s * 1e3);
    (run.trace.clone(), run.profile.clone(), ms, run.scenario.clone(), result.promise.key())
}

/// Fills in what each run cost over the perfect-foresight run and over the best static fleet of its
/// group (of the same seed), where the group has them.
pub fn fill_regrets(results: &mut [RunResult]) {
    let mut rows: BTreeMap<(GroupKey, u64, &str), f64> = BTreeMap::new();
    for result in results.iter() {
        let name = result.run.policy.split(':').next().unwrap_or_default();
        for known in ["oracle", "static-best"] {
            if name == known {
                rows.insert((group_of(result), result.run.seed, known), result.score.gpu_hours);
            }
        }
    }
    for result in results.iter_mut() {
        let over = |known| {
            let least = rows.get(&(group_of(result), result.run.seed, known))?;
            (*least > 0.0).then(|| result.score.gpu_hours / least - 1.0)
        };
        let (oracle, best_static) = (over("oracle"), over("static-best"));
        result.score.regret_oracle = oracle;
        result.score.regret_static = best_static;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::{Promise, RunKey, Score};

    fn result(policy: &str, trace: &str, gpu_hours: f64) -> RunResult {
        RunResult {
            run: RunKey {
                policy: policy.to_owned(),
                trace: trace.to_owned(),
                profile: "p".to_owned(),
                startup_s: 60.0,
                seed: 1,
                scenario: String::new(),
            },
            promise: Promise { ttft_ms: 500.0, itl_ms: 50.0, percentile: 99.0 },
            score: Score { gpu_hours, ..Score::default() },
            timeline: None,
            wall_s: 0.0,
        }
    }

    #[test]
    fn regret_is_over_the_rows_of_the_same_trace() {
        let mut all = vec![
            result("ours", "a", 12.0),
            result("oracle:target=99", "a", 8.0),
            result("static-best", "a", 16.0),
            result("ours", "b", 12.0),
        ];
        fill_regrets(&mut all);
        assert_eq!(all[0].score.regret_oracle, Some(0.5));
        assert_eq!(all[0].score.regret_static, Some(-0.25));
        assert_eq!(all[3].score.regret_oracle, None);
    }

    #[test]
    fn regret_is_not_over_the_rows_of_another_scenario_or_promise() {
        let mut all =
            vec![result("ours", "a", 12.0), result("ours", "a", 12.0), result("oracle", "a", 8.0)];
        all[0].run.scenario = "other".to_owned();
        all[1].promise.ttft_ms = 100.0;
        fill_regrets(&mut all);
        assert_eq!(all[0].score.regret_oracle, None);
        assert_eq!(all[1].score.regret_oracle, None);
    }
}
