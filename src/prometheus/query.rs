//! The PromQL text. Pure.
//!
//! Three habits keep the numbers right:
//! * counters are rated per series and then added, so that the restart of one pod is no loss of all;
//! * a mean is the ratio of two sums, so that a busy pod weighs more than an idle one;
//! * a series that is scraped twice (two monitors, two Prometheus replicas) counts once.

use std::fmt::Write as _;
use std::time::Duration;

use crate::units::{Percentile, seconds_of};

/// The label that tells the rows of a [`union_query`] apart.
pub const PART_LABEL: &str = "part";

/// Labels that say who scraped a series, not what it counts.
const SCRAPE_LABELS: &str = "container, job, prometheus, prometheus_replica, service";

/// Both spellings of the KV cache gauge: the one that Dynamo's workers export and the one that its
/// autoscaling guide prints.
const KV_USAGE: [&str; 2] =
    ["dynamo_component_kvstats_gpu_cache_usage_percent", "kvstats_gpu_cache_usage_percent"];

/// Frontend counters of which at least one moves while any request is worked on.
const PROGRESS: [&str; 4] = [
    "dynamo_frontend_requests_total",
    "dynamo_frontend_requests_started_total",
    "dynamo_frontend_output_tokens_total",
    "dynamo_frontend_time_to_first_token_seconds_count",
];

/// How far back a scrape target must have been a frontend to be missed now. Longer than a window,
/// so that a frontend which stops answering is missed for as long as it stays a target; a pod that
/// is deleted stops being a target at once. Larger costs Prometheus memory, nothing else.
const FRONTEND_MEMORY: &str = "1h";

/// Which series belong to one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The Dynamo namespace (`<kubernetes namespace>-<graph name>`). Matched exactly, or with the
    /// suffix of a worker hash (`-` and eight hexadecimal digits) that rolling updates append.
    pub dynamo_namespace: String,
    /// The served model, matched without regard to case; `None` for every model of the namespace.
    pub model: Option<String>,
}

/// What is asked over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Length of the window that rates and means cover; at least four scrape intervals.
    pub window: Duration,
    /// Which quantile of the latencies is asked for.
    pub percentile: Percentile,
}

/// One figure of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Arrivals per second.
    Arrivals,
    /// Mean prompt length, tokens.
    IslMean,
    /// Requests per second behind [`Part::IslMean`].
    IslCount,
    /// Mean output length, tokens.
    OslMean,
    /// Requests per second behind [`Part::OslMean`].
    OslCount,
    /// Mean time to first token, seconds.
    TtftMean,
    /// The quantile of the time to first token, seconds.
    TtftQuantile,
    /// Requests per second behind the two.
    TtftCount,
    /// Mean inter-token latency, seconds.
    ItlMean,
    /// The quantile of the inter-token latency, seconds.
    ItlQuantile,
    /// Observations per second behind the two.
    ItlCount,
    /// Mean duration of a request, seconds.
    DurationMean,
    /// Requests per second behind [`Part::DurationMean`].
    DurationCount,
    /// Requests without their first token.
    Queued,
    /// Requests not finished.
    Inflight,
    /// KV cache in use, 0 to 1.
    KvUsage,
    /// Time of the newest sample of the frontends that are scraped now, seconds since the epoch.
    FrontendNow,
    /// Time of the newest sample of any frontend in the window, scraped now or not.
    FrontendLast,
    /// Time of the newest sample of the workers.
    WorkerNow,
    /// Samples in the window of the request counter that has most.
    Samples,
    /// Sum of the raw counters: equal twice means that nothing moved.
    Progress,
    /// Frontends that are scrape targets and do not answer.
    Unscraped,
}

impl Part {
    /// All parts, in the order of the query.
    pub const ALL: [Self; 22] = [
        Self::Arrivals,
        Self::IslMean,
        Self::IslCount,
        Self::OslMean,
        Self::OslCount,
        Self::TtftMean,
        Self::TtftQuantile,
        Self::TtftCount,
        Self::ItlMean,
        Self::ItlQuantile,
        Self::ItlCount,
        Self::DurationMean,
        Self::DurationCount,
        Self::Queued,
        Self::Inflight,
        Self::KvUsage,
        Self::FrontendNow,
        Self::FrontendLast,
        Self::WorkerNow,
        Self::Samples,
        Self::Progress,
        Self::Unscraped,
    ];

    /// The value of [`PART_LABEL`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arrivals => "arrivals",
            Self::IslMean => "isl_mean",
            Self::IslCount => "isl_count",
            Self::OslMean => "osl_mean",
            Self::OslCount => "osl_count",
            Self::TtftMean => "ttft_mean",
            Self::TtftQuantile => "ttft_quantile",
            Self::TtftCount => "ttft_count",
            Self::ItlMean => "itl_mean",
            Self::ItlQuantile => "itl_quantile",
            Self::ItlCount => "itl_count",
            Self::DurationMean => "duration_mean",
            Self::DurationCount => "duration_count",
            Self::Queued => "queued",
            Self::Inflight => "inflight",
            Self::KvUsage => "kv_usage",
            Self::FrontendNow => "frontend_now",
            Self::FrontendLast => "frontend_last",
            Self::WorkerNow => "worker_now",
            Self::Samples => "samples",
            Self::Progress => "progress",
            Self::Unscraped => "unscraped",
        }
    }

    /// The part of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == name)
    }
}

/// The expression of one part, as a person could paste it.
#[must_use]
pub fn part_query(part: Part, selector: &Selector, question: &Question) -> String {
    let q = Writer { selector, window: question.window };
    match part {
        Part::Arrivals => q.arrivals(),
        Part::IslMean => q.mean("input_sequence_tokens"),
        Part::IslCount => q.count("input_sequence_tokens"),
        Part::OslMean => q.mean("output_sequence_tokens"),
        Part::OslCount => q.count("output_sequence_tokens"),
        Part::TtftMean => q.mean("time_to_first_token_seconds"),
        Part::TtftQuantile => q.quantile("time_to_first_token_seconds", question.percentile),
        Part::TtftCount => q.count("time_to_first_token_seconds"),
        Part::ItlMean => q.mean("inter_token_latency_seconds"),
        Part::ItlQuantile => q.quantile("inter_token_latency_seconds", question.percentile),
        Part::ItlCount => q.count("inter_token_latency_seconds"),
        Part::DurationMean => q.mean("request_duration_seconds"),
        Part::DurationCount => q.count("request_duration_seconds"),
        Part::Queued => q.gauge("queued_requests"),
        Part::Inflight => q.gauge("inflight_requests"),
        Part::KvUsage => q.kv_usage(),
        Part::FrontendNow => q.frontend_now(),
        Part::FrontendLast => q.frontend_last(),
        Part::WorkerNow => q.worker_now(),
        Part::Samples => q.samples(),
        Part::Progress => {
            format!("sum({{__name__=~\"{}\",{}}})", PROGRESS.join("|"), q.frontend_labels())
        }
        Part::Unscraped => q.unscraped(),
    }
}

/// All parts as one expression: a vector with one row a part, told apart by [`PART_LABEL`].
#[must_use]
pub fn union_query(selector: &Selector, question: &Question) -> String {
    union_of(&Part::ALL, selector, question)
}

/// Some parts as one expression, as [`union_query`] does it for all.
pub(super) fn union_of(parts: &[Part], selector: &Selector, question: &Question) -> String {
    let mut text = String::new();
    for &part in parts {
        let or = if text.is_empty() { "" } else { "\nor " };
        let inner = part_query(part, selector, question);
        let name = part.as_str();
        write!(text, "{or}label_replace({inner}, \"{PART_LABEL}\", \"{name}\", \"\", \"\")")
            .expect("writing to a String cannot fail");
    }
    text
}

/// The label matcher of a namespace: exact, or with the suffix of a worker hash.
fn namespace_matcher(namespace: &str) -> String {
    format!("dynamo_namespace=~\"{}(-[0-9a-f]{{8}})?\"", quoted_regex(namespace))
}

/// The same for the workers' own label, where Dynamo writes `_` for `-`.
fn worker_namespace_matcher(namespace: &str) -> String {
    let either = quoted_regex(namespace).replace('-', "[-_]");
    format!("dynamo_namespace=~\"{either}([-_][0-9a-f]{{8}})?\"")
}

/// The label matcher of a model, without regard to case.
fn model_matcher(model: &str) -> String {
    format!("model=~\"(?i){}\"", quoted_regex(model))
}

/// `text` as a regular expression that matches just it, written inside a PromQL string.
fn quoted_regex(text: &str) -> String {
    let mut regex = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            regex.push('\\');
        }
        regex.push(c);
    }
    quoted(&regex)
}

/// The inside of a double-quoted PromQL string that stands for `text`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' => out.push_str(r"\\"),
            '"' => out.push_str("\\\""),
            c if c.is_control() => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a String cannot fail");
            }
            c => out.push(c),
        }
    }
    out
}

/// A duration as a PromQL range, to the millisecond.
fn range(d: Duration) -> String {
    let ms = d.as_millis().max(1);
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

struct Writer<'a> {
    selector: &'a Selector,
    window: Duration,
}

impl Writer<'_> {
    fn range(&self) -> String {
        range(self.window)
    }

    fn frontend_labels(&self) -> String {
        let mut labels = namespace_matcher(&self.selector.dynamo_namespace);
        if let Some(model) = &self.selector.model {
            labels.push(',');
            labels.push_str(&model_matcher(model));
        }
        labels
    }

    fn frontend(&self, metric: &str) -> String {
        format!("dynamo_frontend_{metric}{{{}}}", self.frontend_labels())
    }

    /// The rate of each series, once however often it is scraped.
    fn rate(&self, metric: &str) -> String {
        format!("max without ({SCRAPE_LABELS}) (rate({}[{}]))", self.frontend(metric), self.range())
    }

    /// Requests that started, where the frontend counts them (1.x). Else those that finished and
    /// the growth of those in flight: under overload completions stop growing while arrivals do
    /// not. Chosen for each pod, because a fleet may be half updated and a young pod may have
    /// finished nothing yet.
    fn arrivals(&self) -> String {
        const BY: &str = "sum by (instance, pod)";
        let started = format!("{BY} ({})", self.rate("requests_started_total"));
        let finished = format!("{BY} ({})", self.rate("requests_total"));
        let grown = format!(
            "{BY} (max without ({SCRAPE_LABELS}) (delta({}[{}]))) / {}",
            self.frontend("inflight_requests"),
            self.range(),
            seconds_of(self.window),
        );
        format!("clamp_min(sum({started} or ({finished} + {grown}) or {finished} or {grown}), 0)")
    }

    fn count(&self, family: &str) -> String {
        format!("sum({})", self.rate(&format!("{family}_count")))
    }

    fn mean(&self, family: &str) -> String {
        format!("sum({}) / {}", self.rate(&format!("{family}_sum")), self.count(family))
    }

    fn quantile(&self, family: &str, percentile: Percentile) -> String {
        let buckets = self.rate(&format!("{family}_bucket"));
        format!("histogram_quantile({}, sum by (le) ({buckets}))", percentile.share().get())
    }

    fn gauge(&self, metric: &str) -> String {
        format!("sum(max without ({SCRAPE_LABELS}) ({}))", self.frontend(metric))
    }

    fn samples(&self) -> String {
        let of = |metric| format!("count_over_time({}[{}])", self.frontend(metric), self.range());
        format!("max({} or {})", of("requests_started_total"), of("requests_total"))
    }

    fn kv_usage(&self) -> String {
        let namespace = worker_namespace_matcher(&self.selector.dynamo_namespace);
        // Prefill engines hold a prompt for a moment only; by whatever name they go, it says so.
        let series = format!(
            "{{__name__=~\"{}\",dynamo_component!~\"(?i).*prefill.*\",{namespace}}}",
            KV_USAGE.join("|")
        );
        format!("max(avg by (dynamo_component) (max without ({SCRAPE_LABELS}) ({series})))")
    }

    fn frontend_now(&self) -> String {
        let of = |metric| format!("timestamp({})", self.frontend(metric));
        format!("max({} or {})", of("requests_total"), of("inflight_requests"))
    }

    /// A subquery, because an instant vector leaves out the series that have ended. Its step bounds
    /// what the answer may lack, not what it may invent: every sample keeps its own time.
    fn frontend_last(&self) -> String {
        let step = range((self.window / 30).max(Duration::from_secs(1)));
        let of = |metric| {
            let samples = format!("timestamp({})", self.frontend(metric));
            format!("max(max_over_time({samples}[{}:{step}]))", self.range())
        };
        format!("{} or {}", of("requests_total"), of("inflight_requests"))
    }

    fn worker_now(&self) -> String {
        let namespace = worker_namespace_matcher(&self.selector.dynamo_namespace);
        let [a, b] = KV_USAGE.map(|metric| format!("timestamp({metric}{{{namespace}}})"));
        format!("max({a} or {b})")
    }

    fn unscraped(&self) -> String {
        let namespace = namespace_matcher(&self.selector.dynamo_namespace);
        let were = self.frontend("inflight_requests");
        format!(
            "count((up{{{namespace}}} == 0) and on (instance) \
             max by (instance) (present_over_time({were}[{FRONTEND_MEMORY}])))"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question { window: Duration::from_secs(180), percentile: Percentile::new(95.0).unwrap() }
    }

    fn selector(namespace: &str, model: &str) -> Selector {
        Selector { dynamo_namespace: namespace.to_owned(), model: Some(model.to_owned()) }
    }

    #[test]
    fn the_text_of_every_part() {
        let s = selector("prod-llama", "Meta/Llama-3.1-8B");
        let parts: Vec<String> = Part::ALL
            .into_iter()
            .map(|p| format!("{}:\n  {}", p.as_str(), part_query(p, &s, &question())))
            .collect();
        insta::assert_snapshot!(parts.join("\n"));
    }

    #[test]
    fn hostile_label_values_stay_inside_their_string() {
        for hostile in [
            r#"x"} or vector(1e9) #"#,
            r"a\",
            r#"\"}"#,
            "line\nbreak",
            "nul\0",
            ".*",
            "a|b",
            "{{}}",
            "ünïcode",
        ] {
            let s = selector(hostile, hostile);
            let text = part_query(Part::Queued, &s, &question());
            assert_eq!(
                unquoted_outside(&text),
                "sum(max without (container, job, prometheus, prometheus_replica, service) (dynamo_frontend_queued_requests{dynamo_namespace=~,model=~}))",
                "{hostile:?}"
            );
        }
        insta::assert_snapshot!(part_query(
            Part::Queued,
            &selector(r#"a"}.b\"#, "x\n|(?i)"),
            &question()
        ));
    }

    /// The text without its string literals, read as PromQL reads them.
    fn unquoted_outside(text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.chars();
        let mut inside = false;
        while let Some(c) = chars.next() {
            match (inside, c) {
                (true, '\\') => {
                    chars.next();
                }
                (true, '"') => inside = false,
                (true, '\n') => panic!("a line break inside a string"),
                (true, _) => {}
                (false, '"') => inside = true,
                (false, c) => out.push(c),
            }
        }
        assert!(!inside, "an open string");
        out
    }

    #[test]
    fn the_union_has_one_row_a_part() {
        let text = union_query(&selector("ns", "m"), &question());
        assert_eq!(text.lines().count(), Part::ALL.len());
        for part in Part::ALL {
            assert!(text.contains(&format!("\"part\", \"{}\"", part.as_str())));
            assert_eq!(Part::from_name(part.as_str()), Some(part));
        }
    }

    #[test]
    fn a_window_keeps_its_milliseconds() {
        assert_eq!(range(Duration::from_secs(180)), "180s");
        assert_eq!(range(Duration::from_millis(2500)), "2500ms");
        assert_eq!(range(Duration::ZERO), "1ms");
    }
}
