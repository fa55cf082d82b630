//! Faults as they are written on the command line.

use std::time::Duration;

use crate::sim::{Fault, SimTime};
use crate::spec::parse_duration;
use crate::units::Role;

/// All that can be written.
pub(super) const HELP: &str = "\
Something that goes wrong; more than once for more. Times are from the start of the trace.
  metrics-gap:10m..15m            Prometheus is down
  stale-metrics:10m..15m          scrapes bring old values
  slow-engine:decode,3,10m..15m   one worker takes three times as long
  lost-worker:prefill,10m         one worker is gone, with its requests
  losing-workers:decode,1h        a worker is lost every hour on average
  clock-jump:10m,-1h              the planner's clock is set back";

pub(super) fn parse(text: &str) -> Result<Fault, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let parts: Vec<&str> = rest.split(',').map(str::trim).collect();
    match (kind, &parts[..]) {
        ("metrics-gap", [span]) => {
            let (from, to) = spell(span)?;
            Ok(Fault::MetricsGap { from, to })
        }
        ("stale-metrics", [span]) => {
            let (from, to) = spell(span)?;
            Ok(Fault::StaleMetrics { from, to })
        }
        ("slow-engine", [pool, factor, span]) => {
            let (from, to) = spell(span)?;
            let factor = factor
                .parse::<f64>()
                .ok()
                .filter(|x| x.is_finite() && *x > 0.0)
                .ok_or_else(|| format!("expected a factor above 0, found `{factor}`"))?;
            Ok(Fault::SlowEngine { role: role(pool)?, factor, from, to })
        }
        ("lost-worker", [pool, at]) => {
            Ok(Fault::LostWorker { role: role(pool)?, at: SimTime::from_start(time(at)?) })
        }
        ("losing-workers", [pool, every]) => {
            let every = time(every)?;
            if every.is_zero() {
                return Err("expected more than zero between two losses".to_owned());
            }
            Ok(Fault::LosingWorkers { role: role(pool)?, every })
        }
        ("clock-jump", [at, by]) => {
            let (sign, size) = by.strip_prefix('-').map_or((1, *by), |size| (-1, size));
            let seconds = i64::try_from(time(size)?.as_secs()).unwrap_or(i64::MAX);
            Ok(Fault::ClockJump { at: SimTime::from_start(time(at)?), seconds: sign * seconds })
        }
        _ => Err("expected a fault such as metrics-gap:10m..15m (see --help for all)".to_owned()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| e.to_string())
}

fn spell(text: &str) -> Result<(SimTime, SimTime), String> {
    let (from, to) = text
        .split_once("..")
        .ok_or_else(|| format!("expected a time such as 10m..15m, found `{text}`"))?;
    let (from, to) = (time(from)?, time(to)?);
    if from >= to {
        return Err(format!("expected an end after the beginning, found `{text}`"));
    }
    Ok((SimTime::from_start(from), SimTime::from_start(to)))
}

fn role(text: &str) -> Result<Role, String> {
    [Role::Prefill, Role::Decode, Role::Aggregated]
        .into_iter()
        .find(|role| role.to_string() == text)
        .ok_or_else(|| format!("expected prefill, decode or aggregated, found `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_help_can_be_written() {
        let examples: Vec<&str> =
            HELP.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(examples.len(), 6);
        for example in examples {
            parse(example).unwrap();
        }
        assert_eq!(
            parse("clock-jump:10m,-1h"),
            Ok(Fault::ClockJump { at: SimTime::from_millis(600_000), seconds: -3600 })
        );
    }

    #[test]
    fn what_is_no_fault_is_said() {
        for (text, want) in [
            ("metrics-gap:15m..10m", "expected an end after the beginning"),
            ("metrics-gap:10m", "such as 10m..15m"),
            ("slow-engine:decode,0,1m..2m", "a factor above 0"),
            ("lost-worker:frontend,1m", "expected prefill, decode or aggregated"),
            ("earthquake", "expected a fault"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
