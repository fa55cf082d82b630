//! A decision for people, section by section.

use super::around;
use super::page::Page;
use crate::cli::{predict, records};
use crate::forecast::{LATE_AT_LEVEL, Lengths, Regret, Rule, Standing};
use crate::observe::{LatencySignals, Signal};
use crate::plan::{ErrorBudget, PoolSize, Reason, Sizing, Spent};
use crate::record::Record;
use crate::spec::{Mode, format_duration};
use crate::units::{Millis, Predictor, Share, Timestamp};

/// Says what there is to say of one matter.
type Section = fn(&Record, &mut Page);

/// The sections in their order. One that has nothing to say is left out.
const SECTIONS: [(&str, Section); 14] = [
    ("Decision", decision),
    ("Seen", seen),
    ("Replicas", replicas),
    ("Demand", demand),
    ("Forecast", around::forecast),
    ("Error budget", error_budget),
    ("Sizes at the upper end of that demand", sizes),
    ("Other fleets, and one replica fewer", around::alternatives),
    ("Model of the engines", around::model),
    ("Start-up times", around::starts),
    ("Written", written),
    ("The referee objects", objections),
    ("Awaited", around::awaited),
    ("Next look", next_look),
];

pub(super) fn render(record: &Record, place: &str) -> String {
    let mut page = Page::default();
    let mode = match record.mode {
        Mode::Act => "act",
        Mode::Advise => "advise",
    };
    page.line(&format!("{}  {}  mode {mode}", records::time(record.at), record.dgd));
    let sla = &record.sla;
    let budget = record.budget.map_or_else(String::new, |gpus| format!(", at most {gpus} GPUs"));
    page.entry(
        "promise",
        &format!(
            "{} % of requests with TTFT within {} and ITL within {}{budget}",
            sla.percentile.get(),
            sla.ttft,
            sla.itl
        ),
    );
    for (name, percentile) in [("TTFT", sla.ttft_percentile), ("ITL", sla.itl_percentile)] {
        if let Some(percentile) = percentile {
            page.entry("", &format!("{} % within the {name} target alone", percentile.get()));
        }
    }
    page.entry("record", place);
    for (name, section) in SECTIONS {
        page.section(name, |page| section(record, page));
    }
    page.into_text()
}

fn decision(record: &Record, page: &mut Page) {
    for pool in &record.decision.pools {
        let count = match (pool.current, pool.target) {
            (Some(from), Some(to)) if from != to => format!("{from} → {to}"),
            (Some(at), _) => format!("stays {at}"),
            (None, _) => "left alone".to_owned(),
        };
        let code = pool.reason.code();
        page.entry(pool.role.as_str(), &format!("{count}: {} [{code}]", pool.reason));
        let to_do = Reason::CODES.iter().find(|(known, ..)| *known == code);
        if let Some((_, _, to_do)) = to_do.filter(|(_, _, to_do)| !to_do.starts_with("None")) {
            page.entry("", &format!("What to do: {to_do}"));
        }
    }
}

/// A signal as a row: its value, age and state.
fn row<T>(
    name: impl Into<String>,
    signal: &Signal<T>,
    now: Timestamp,
    value: impl FnOnce(&T) -> String,
) -> Vec<String> {
    let known = signal.known().map_or_else(|| "–".to_owned(), value);
    vec![name.into(), known, age(signal, now), signal.to_string()]
}

fn age<T>(signal: &Signal<T>, now: Timestamp) -> String {
    signal.age(now).map_or_else(|| "–".to_owned(), format_duration)
}

fn seen(record: &Record, page: &mut Page) {
    let (now, traffic) = (record.observation.at, &record.observation.traffic);
    let ms = |x: &Millis| millis(*x);
    let count = |x: &f64| format!("{x:.1}");
    let latency = |name: &str, signals: &LatencySignals| {
        [
            row(format!("{name}, mean"), &signals.mean, now, ms),
            row(format!("{name}, {}", signals.percentile), &signals.quantile, now, ms),
        ]
    };
    let mut rows = vec![
        row("arrivals", &traffic.arrivals, now, |x| format!("{x:.2}")),
        row("ISL", &traffic.isl, now, |x| format!("{x:.0}")),
        row("OSL", &traffic.osl, now, |x| format!("{x:.0}")),
    ];
    rows.extend(latency("TTFT", &traffic.ttft));
    rows.extend(latency("ITL", &traffic.itl));
    rows.extend([
        row("request", &traffic.request_duration, now, ms),
        row("queued", &traffic.queued, now, count),
        row("in flight", &traffic.inflight, now, count),
        row("KV cache", &traffic.kv_usage, now, |x| percent(*x)),
    ]);
    page.table(&["", "value", "age", "state"], rows, 3);
    let window = format_duration(traffic.window);
    page.entry("window", &format!("rates and means over {window}"));
    for text in &record.report.not_fresh {
        page.entry("not fresh", text);
    }
}

fn replicas(record: &Record, page: &mut Page) {
    let now = record.observation.at;
    let pools = &record.observation.inventory.pools;
    let rows = pools.iter().map(|(role, signal)| {
        let figures = signal.known().map_or_else(
            || vec!["–".to_owned(); 5],
            |pool| {
                let counts = [pool.desired, pool.ready, pool.starting, pool.draining];
                let gpus =
                    pool.gpus_per_replica.map_or_else(|| "–".to_owned(), |gpus| gpus.to_string());
                counts.iter().map(ToString::to_string).chain([gpus]).collect()
            },
        );
        let mut row = vec![role.to_string()];
        row.extend(figures);
        row.extend([age(signal, now), signal.to_string()]);
        row
    });
    let head = ["", "asked", "ready", "starting", "draining", "GPUs each", "age", "state"];
    page.table(&head, rows.collect(), 7);
    for (role, pool) in pools.iter().filter_map(|(role, signal)| Some((role, signal.known()?))) {
        for stuck in &pool.stuck {
            let age = format_duration(stuck.age);
            page.entry("stuck", &format!("{role} {}: {}, for {age}", stuck.name, stuck.why));
        }
    }
}

fn demand(record: &Record, page: &mut Page) {
    let Some(demand) = record.report.demand else { return };
    let rate = demand.rate;
    page.entry(
        "requests",
        &format!(
            "{:.2} /s expected, {:.2} to {:.2} /s planned for",
            rate.point, rate.low, rate.high
        ),
    );
    let lengths = |what: &str, of: Lengths| {
        format!("{what} of {:.0} on average, squared variation {:.2}", of.mean, of.cv2)
    };
    page.entry("lengths", &lengths("prompts", demand.isl));
    page.entry("", &lengths("outputs", demand.osl));
    let named = record.report.bands.as_ref().map(|bands| bands.predictor);
    let named = named.filter(|predictor| *predictor != Predictor::Auto);
    for (what, standing) in ["prompts", "outputs"].iter().zip(&record.report.standing) {
        let Standing { level, high, fixed, rule, late, regret } = standing;
        let held = format!("{level:.0} tokens/s now, capacity held for {high:.0}");
        let text = if let Some(predictor) = named {
            format!(
                "{held}: the upper end of what {predictor} says, to be exceeded by {}.",
                percent(*late)
            )
        } else if *fixed {
            format!("{held}: a fleet of fixed size cost less than any rule.")
        } else {
            let Rule { hold, margin, roof } = rule;
            let roof = roof.map_or_else(String::new, |roof| {
                format!(", at most {roof} times the highest of the day")
            });
            format!(
                "{held}: the highest level of {} times {margin}{roof}. This rule made {} late so \
                 far, the least cost of all.",
                format_duration(*hold),
                percent(*late)
            )
        };
        page.entry(what, &text);
        if let Some(Regret { level, late, followed_late, capacity: _, regret }) = regret {
            let more = if *regret > 0.0 { "more" } else { "less" };
            page.entry(
                "",
                &format!(
                    "What this asked for in the last hours cost {:.0} % {more} than the best fixed \
                     fleet would have, one for {level:.0} tokens/s; {} and {} were late by the same \
                     account.",
                    100.0 * regret.abs(),
                    percent(*followed_late),
                    percent(*late)
                ),
            );
        }
    }
}

fn error_budget(record: &Record, page: &mut Page) {
    let ErrorBudget { allowed, hour, day, price } = record.report.error_budget;
    if allowed == Share::NONE {
        return;
    }
    page.entry("allowed", &format!("{} of requests may be late", percent(allowed)));
    for (window, spent) in [("last hour", hour), ("last day", day)] {
        let text = spent.map_or_else(
            || "no request seen".to_owned(),
            |Spent { late, burn }| {
                format!("{} were late, {burn:.2} times what is allowed", percent(late))
            },
        );
        page.entry(window, &text);
    }
    page.entry("price", &format!("a late request counts {price:.2} times its usual price"));
}

fn sizes(record: &Record, page: &mut Page) {
    let Some(sizing) = &record.report.sizing else { return };
    let Sizing { verdict: _, pools, total_gpus, good, extrapolated } = sizing;
    let row = |pool: &PoolSize| {
        let PoolSize { role, replicas, gpus, utilisation, late, ttft, itl, bound } = *pool;
        let latency = |x: Option<Millis>| x.map_or_else(|| "–".to_owned(), millis);
        vec![
            role.to_string(),
            replicas.to_string(),
            gpus.to_string(),
            format!("{:.0} %", utilisation * 100.0),
            percent(late),
            latency(ttft),
            latency(itl),
            bound.to_string(),
        ]
    };
    let percentile = record.sla.percentile;
    let (ttft, itl) = (format!("TTFT {percentile}"), format!("ITL {percentile}"));
    let head =
        ["", "replicas", "GPUs", "in use", "late", ttft.as_str(), itl.as_str(), "decided by"];
    page.table(&head, pools.iter().map(row).collect(), 7);
    let now = record
        .report
        .current_gpus
        .map_or_else(String::new, |gpus| format!(", asked for so far: {gpus}"));
    page.entry("together", &format!("{total_gpus} GPUs{now}; {} of requests good", percent(*good)));
    let promised = percentile.share();
    let verdict = if sizing.feasible() && good.get() < promised.get() {
        format!(
            "the fewest GPUs that make at most {} late at this level, which is seldom reached: {}",
            percent(Share::clamped(LATE_AT_LEVEL)),
            predict::bounds(sizing)
        )
    } else {
        predict::reason(sizing)
    };
    page.entry("verdict", &verdict);
    if *extrapolated {
        page.entry("note", "requests lie outside the data of the profile: latencies extrapolated");
    }
}

fn written(record: &Record, page: &mut Page) {
    for outcome in &record.writes {
        let write = outcome.write;
        let place = outcome.path.as_deref().unwrap_or("nothing was written");
        let came = match &outcome.error {
            None => place.to_owned(),
            Some(error) => format!("{place}: FAILED: {error}"),
        };
        page.entry(write.role.as_str(), &format!("{} → {}: {came}", write.from, write.to));
    }
    if record.writes.is_empty() {
        let wanted = record.decision.writes();
        page.entry(
            "nothing",
            if wanted.is_empty() {
                "no count changes"
            } else if record.mode == Mode::Advise {
                "mode is advise"
            } else {
                "see what the referee or the writer said"
            },
        );
    }
}

fn objections(record: &Record, page: &mut Page) {
    for note in &record.notes {
        page.entry("rule", note);
    }
}

fn next_look(record: &Record, page: &mut Page) {
    let next = record.decision.next_tick;
    let wait = format_duration(next.since(record.at));
    page.entry("at", &format!("{}, in {wait}: the adjustment interval", records::time(next)));
}

pub(super) fn millis(x: Millis) -> String {
    if x.get() < 100.0 { format!("{x:.1}") } else { format!("{x:.0}") }
}

pub(super) fn percent(share: Share) -> String {
    let percent = share.get() * 100.0;
    if percent < 10.0 { format!("{percent:.2} %") } else { format!("{percent:.1} %") }
}
