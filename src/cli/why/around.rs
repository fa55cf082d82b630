//! What lies around a decision: the forecast, the fleets next to the one that was chosen, the model,
//! the replicas that start, and what is awaited.

use super::page::Page;
use super::text::{millis, percent};
use crate::cli::records;
use crate::forecast::SeriesBand;
use crate::plan::{Alternative, Awaited, Correction, IfOnly, Starting, Trust};
use crate::record::Record;
use crate::spec::format_duration;
use crate::units::Millis;

pub(super) fn forecast(record: &Record, page: &mut Page) {
    let Some(bands) = &record.report.bands else { return };
    page.entry(
        "ahead",
        &format!(
            "{}, and the {} that a replica is held, by {}; the upper end is the {:.0} % quantile",
            format_duration(bands.horizon),
            format_duration(bands.hold),
            bands.predictor,
            bands.quantile * 100.0
        ),
    );
    let row = |name: &str, series: &SeriesBand| {
        let SeriesBand { band, coverage, .. } = series;
        let kept =
            coverage.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0));
        let of = |x: f64| format!("{x:.1}");
        vec![name.to_owned(), of(band.low), of(band.point), of(band.high), kept]
    };
    let lengths = [("ISL", &bands.isl), ("OSL", &bands.osl)];
    let lengths = lengths.iter().filter_map(|(name, s)| Some(row(name, s.as_ref()?)));
    let rows = [row("requests/s", &bands.rate)].into_iter().chain(lengths).collect();
    page.table(&["", "low", "expected", "high", "stayed below high"], rows, 5);
}

pub(super) fn alternatives(record: &Record, page: &mut Page) {
    let row = |other: &Alternative| {
        let Alternative { replicas, gpus, ttft, itl, good, present } = other;
        let counts: Vec<String> = replicas.iter().map(|(role, n)| format!("{n} {role}")).collect();
        let latency = |x: &Option<Millis>| x.map_or_else(|| "–".to_owned(), millis);
        let what = if *present { "as asked for so far" } else { "one fewer" };
        let figures = [gpus.to_string(), latency(ttft), latency(itl), percent(*good)];
        [what.to_owned(), counts.join(", ")].into_iter().chain(figures).collect()
    };
    let percentile = record.sla.percentile;
    let (ttft, itl) = (format!("TTFT {percentile}"), format!("ITL {percentile}"));
    let head = ["", "replicas", "GPUs", ttft.as_str(), itl.as_str(), "good"];
    let rows: Vec<Vec<String>> = record.report.alternatives.iter().map(row).collect();
    if !rows.is_empty() {
        page.table(&head, rows, 6);
    }
    for only in &record.report.if_only {
        let (role, text) = match *only {
            IfOnly::Target { role, replicas, latency, at_least } => {
                (role, format!("{replicas} if the {latency} target were {at_least:.0} or more"))
            }
            IfOnly::Load { role, replicas, at_most } => {
                (role, format!("{replicas} if the load were {} or less of it", percent(at_most)))
            }
        };
        page.entry(role.as_str(), &text);
    }
}

pub(super) fn model(record: &Record, page: &mut Page) {
    let Trust { correction, score, trusted, seconds } = record.report.trust;
    let Correction { prefill, decode, memory } = correction;
    page.entry(
        "engines",
        &format!("prefill takes {prefill:.2} and decode {decode:.2} times the profile"),
    );
    page.entry(
        "memory",
        &format!("a running sequence holds {memory:.2} times the tokens of mean lengths"),
    );
    let verdict = if trusted { "trusted" } else { "not trusted: latencies and KV memory decide" };
    let minutes = seconds / 60.0;
    page.entry("trust", &format!("{:.2}, {verdict}; {minutes:.0} min of evidence", score.get()));
    if let Some(waiting) = record.report.backlog {
        page.entry("backlog", &format!("{waiting:.0} requests wait beyond what is promised"));
    }
}

pub(super) fn starts(record: &Record, page: &mut Page) {
    for pool in &record.report.starting {
        let Starting { role, seen, median, p90, given_up_after, expected, stuck } = pool;
        let told = if *seen == 0 { "as configured".to_owned() } else { format!("{seen} seen") };
        page.entry(
            role.as_str(),
            &format!(
                "half within {}, 90 % within {} ({told}), given up after {}; {expected:.1} serve \
                 one start-up from now",
                format_duration(*median),
                format_duration(*p90),
                format_duration(*given_up_after)
            ),
        );
        for stuck in stuck {
            let age = format_duration(stuck.age);
            page.entry("hangs", &format!("{}, for {age}: {}", stuck.name, stuck.why));
        }
    }
}

pub(super) fn awaited(record: &Record, page: &mut Page) {
    /// The nearest ones; a fleet that starts has one for each replica.
    const MOST: usize = 5;
    for event in record.report.awaited.iter().take(MOST) {
        let (name, text) = match event {
            Awaited::HoldEnds { role, to, .. } => {
                (role.as_str(), format!("may go down to {to}, if no more is wanted until then"))
            }
            Awaited::ReplicaDue { role, name, .. } => {
                (role.as_str(), format!("{name} serves by then, or counts for nothing"))
            }
        };
        page.entry(name, &format!("{}: {text}", records::time(event.at())));
    }
}
