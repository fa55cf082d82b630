//! A double of a Dynamo frontend with its workers, as far as `/metrics` shows them: the same names,
//! labels, types and buckets, moved by a script of traffic.
//!
//! Requests arrive evenly at the rate of the present [`Load`] and live for
//! `ttft + (osl - 1) * itl`; lengths and latencies spread over half to one and a half times their
//! mean in a fixed order, so that two runs count the same. Time passes only when the page is asked
//! for. As in the original, a series begins with the first event that it counts.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sla_planner::units::round_to_u64;

/// What arrives at present.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Requests per second.
    pub(crate) rps: f64,
    /// Mean prompt, tokens.
    pub(crate) isl: f64,
    /// Mean output, tokens.
    pub(crate) osl: f64,
    /// Mean time to first token, seconds.
    pub(crate) ttft: f64,
    /// Mean inter-token latency, seconds.
    pub(crate) itl: f64,
}

/// How the page is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answering {
    /// With what there is.
    Normally,
    /// With 503.
    Unavailable,
    /// Not at all: the connection stays open.
    Never,
    /// With the same page as the last time, as a hung process would.
    Frozen,
}

/// The server; ends when dropped.
pub(crate) struct FrontendDouble {
    address: String,
    frontend: Arc<Mutex<Frontend>>,
    server: tokio::task::JoinHandle<()>,
}

impl FrontendDouble {
    /// A frontend that serves `model` and has seen no request yet.
    pub(crate) async fn start(model: &str) -> Self {
        let frontend = Arc::new(Mutex::new(Frontend::new(model)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let app = Router::new().route("/metrics", get(metrics)).with_state(Arc::clone(&frontend));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, frontend, server }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// From now on this arrives; `None` for nothing. What is in flight goes on.
    pub(crate) fn set_load(&self, load: Option<Load>) {
        let mut frontend = self.frontend();
        frontend.advance();
        frontend.load = load;
        frontend.owed = 0.0;
    }

    /// While stalled, requests arrive and none gets a token: what overload looks like.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        let mut frontend = self.frontend();
        frontend.advance();
        frontend.stalled = stalled;
    }

    /// Share of the KV cache in use, 0 to 1.
    pub(crate) fn set_kv_usage(&self, share: f64) {
        self.frontend().kv_usage = share;
    }

    /// Whether the frontend counts `requests_started_total` (Dynamo 1.x).
    pub(crate) fn count_started(&self, yes: bool) {
        self.frontend().counts_started = yes;
    }

    /// How the page is answered from now on.
    pub(crate) fn answer(&self, how: Answering) {
        self.frontend().answering = how;
    }

    /// Ends and starts the process: counters begin again, what was in flight is lost.
    pub(crate) fn restart(&self) {
        let mut frontend = self.frontend();
        frontend.advance();
        *frontend = Frontend {
            load: frontend.load,
            kv_usage: frontend.kv_usage,
            counts_started: frontend.counts_started,
            ..Frontend::new(&frontend.model)
        };
    }

    /// The page as a scrape would see it now.
    pub(crate) fn page(&self) -> String {
        let mut frontend = self.frontend();
        frontend.advance();
        frontend.page()
    }

    fn frontend(&self) -> MutexGuard<'_, Frontend> {
        self.frontend.lock().expect("no holder of the lock panics")
    }
}

impl Drop for FrontendDouble {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn metrics(State(frontend): State<Arc<Mutex<Frontend>>>) -> Response {
    let (how, page) = {
        let mut frontend = frontend.lock().expect("no holder of the lock panics");
        if frontend.answering != Answering::Frozen {
            frontend.advance();
            frontend.last_page = frontend.page();
        }
        (frontend.answering, frontend.last_page.clone())
    };
    match how {
        Answering::Normally | Answering::Frozen => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
        }
        Answering::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Answering::Never => std::future::pending().await,
    }
}

/// A request on its way. Times are seconds of work still to be done.
struct Flight {
    isl: f64,
    osl: f64,
    ttft: f64,
    itl: f64,
    /// Until the first token; `None` once it is there.
    to_first: Option<f64>,
    to_end: f64,
}

struct Frontend {
    model: String,
    load: Option<Load>,
    /// The part of the next request that has arrived.
    owed: f64,
    stalled: bool,
    kv_usage: f64,
    counts_started: bool,
    answering: Answering,
    last_page: String,
    seen_at: Instant,
    flights: VecDeque<Flight>,
    started: u64,
    finished: u64,
    output_tokens: u64,
    ttft: Histogram,
    itl: Histogram,
    isl: Histogram,
    osl: Histogram,
    duration: Histogram,
}

/// Steps of the clock inside one advance: short against every latency that matters here.
const STEP: f64 = 0.01;

impl Frontend {
    fn new(model: &str) -> Self {
        Self {
            model: model.to_lowercase(),
            load: None,
            owed: 0.0,
            stalled: false,
            kv_usage: 0.0,
            counts_started: false,
            answering: Answering::Normally,
            last_page: String::new(),
            seen_at: Instant::now(),
            flights: VecDeque::new(),
            started: 0,
            finished: 0,
            output_tokens: 0,
            ttft: Histogram::new(0.001, 480.0, 18),
            itl: Histogram::new(0.001, 2.0, 13),
            isl: Histogram::new(50.0, 128_000.0, 12),
            osl: Histogram::new(50.0, 32_000.0, 10),
            duration: Histogram::new(1.0, 256.0, 10),
        }
    }

    fn advance(&mut self) {
        while self.seen_at.elapsed().as_secs_f64() >= STEP {
            self.seen_at += Duration::from_secs_f64(STEP);
            self.step();
        }
    }

    fn step(&mut self) {
        if let Some(load) = self.load {
            self.owed += load.rps * STEP;
            while self.owed >= 1.0 {
                self.owed -= 1.0;
                self.arrive(load);
            }
        }
        if self.stalled {
            return;
        }
        for flight in &mut self.flights {
            flight.to_end -= STEP;
            if let Some(left) = flight.to_first {
                flight.to_first = (left > STEP).then_some(left - STEP);
                if flight.to_first.is_none() {
                    self.ttft.observe(flight.ttft, 1);
                    self.isl.observe(flight.isl, 1);
                }
            }
        }
        let mut on_their_way = VecDeque::new();
        for flight in std::mem::take(&mut self.flights) {
            if flight.to_end > 0.0 {
                on_their_way.push_back(flight);
            } else {
                self.finish(&flight);
            }
        }
        self.flights = on_their_way;
    }

    fn arrive(&mut self, load: Load) {
        // Multiples of the golden ratio: even, and each figure in an order of its own.
        let spread = |salt: f64| {
            0.5 + ((self.started as f64 + salt) * 0.618_033_988_749_895 + salt * 0.37).fract()
        };
        let isl = (load.isl * spread(0.0)).round().max(1.0);
        let osl = (load.osl * spread(1.0)).round().max(1.0);
        let (ttft, itl) = (load.ttft * spread(2.0), load.itl * spread(3.0));
        let to_end = ttft + (osl - 1.0) * itl;
        self.flights.push_back(Flight { isl, osl, ttft, itl, to_first: Some(ttft), to_end });
        self.started += 1;
    }

    fn finish(&mut self, flight: &Flight) {
        self.finished += 1;
        self.output_tokens += round_to_u64(flight.osl);
        self.osl.observe(flight.osl, 1);
        self.itl.observe(flight.itl, round_to_u64(flight.osl) - 1);
        self.duration.observe(flight.ttft + (flight.osl - 1.0) * flight.itl, 1);
    }

    fn page(&self) -> String {
        let mut page = Page::default();
        let model = format!("model=\"{}\"", self.model);
        let call = format!("endpoint=\"chat_completions\",{model},request_type=\"stream\"");

        if self.finished > 0 {
            page.family("dynamo_frontend_requests_total", "counter", "Requests that ended");
            page.sample(&format!("{call},status=\"success\""), self.finished as f64);
            page.family("dynamo_frontend_output_tokens_total", "counter", "Tokens generated");
            page.sample(&model, self.output_tokens as f64);
        }
        if self.counts_started && self.started > 0 {
            page.family("dynamo_frontend_requests_started_total", "counter", "Requests that began");
            page.sample(&call, self.started as f64);
        }
        if self.started > 0 {
            page.family("dynamo_frontend_inflight_requests", "gauge", "Requests not ended");
            page.sample(&model, self.flights.len() as f64);
            page.family(
                "dynamo_frontend_queued_requests",
                "gauge",
                "Requests without their first token",
            );
            let queued = self.flights.iter().filter(|f| f.to_first.is_some()).count();
            page.sample(&model, queued as f64);
        }
        page.family("dynamo_frontend_disconnected_clients", "gauge", "Clients that went away");
        page.sample("", 0.0);
        for (name, value) in [
            ("model_workers", 2.0),
            ("model_total_kv_blocks", 58_496.0),
            ("model_kv_cache_block_size", 16.0),
            ("model_context_length", 131_072.0),
            ("model_max_num_seqs", 256.0),
            ("model_max_num_batched_tokens", 8192.0),
            ("model_migration_limit", 0.0),
        ] {
            page.family(&format!("dynamo_frontend_{name}"), "gauge", "From the model's card");
            page.sample(&model, value);
        }
        for (name, help, histogram) in [
            ("time_to_first_token_seconds", "Time to first token", &self.ttft),
            ("inter_token_latency_seconds", "Time between tokens", &self.itl),
            ("input_sequence_tokens", "Prompt length", &self.isl),
            ("output_sequence_tokens", "Output length", &self.osl),
            ("request_duration_seconds", "Duration of a request", &self.duration),
        ] {
            page.histogram(&format!("dynamo_frontend_{name}"), help, &model, histogram);
        }
        self.workers(&mut page);
        page.0
    }

    /// Two workers. Their own namespace label has `_` for `-`, and gives way to the target's.
    fn workers(&self, page: &mut Page) {
        const BLOCKS: f64 = 29_248.0;
        let label = |worker: usize| {
            format!(
                "dynamo_component=\"backend\",dynamo_endpoint=\"generate\",\
                 dynamo_namespace=\"of_the_worker\",worker_id=\"{worker}\""
            )
        };
        for (name, value) in [
            ("active_blocks", (self.kv_usage * BLOCKS).round()),
            ("total_blocks", BLOCKS),
            ("gpu_cache_usage_percent", self.kv_usage),
            ("gpu_prefix_cache_hit_rate", 0.25),
        ] {
            let name = format!("dynamo_component_kvstats_{name}");
            page.family(&name, "gauge", "KV cache of the worker");
            for worker in 0..2 {
                page.sample(&label(worker), value);
            }
        }
        page.family("dynamo_component_inflight_requests", "gauge", "Requests in the worker");
        page.sample(&label(0), self.flights.len() as f64);
        page.family("dynamo_component_uptime_seconds", "gauge", "Since the worker began");
        page.sample(&label(0), 3600.0);
    }
}

/// A histogram with Dynamo's buckets.
struct Histogram {
    bounds: Vec<f64>,
    counts: Vec<u64>,
    sum: f64,
    count: u64,
}

impl Histogram {
    /// `count` bounds, spaced evenly in the logarithm from `min` to `max` and rounded to two
    /// significant figures; the first is 0 in place of `min`.
    fn new(min: f64, max: f64, count: usize) -> Self {
        let mut bounds: Vec<f64> = (0..count)
            .map(|i| {
                let share = i as f64 / (count - 1) as f64;
                if i == 0 { 0.0 } else { two_figures(min * (max / min).powf(share)) }
            })
            .collect();
        bounds.dedup();
        Self { counts: vec![0; bounds.len()], bounds, sum: 0.0, count: 0 }
    }

    fn observe(&mut self, value: f64, times: u64) {
        self.sum += value * times as f64;
        self.count += times;
        for (bound, count) in self.bounds.iter().zip(&mut self.counts) {
            if value <= *bound {
                *count += times;
            }
        }
    }
}

fn two_figures(x: f64) -> f64 {
    let scale = 10f64.powf(1.0 - x.log10().floor());
    (x * scale).round() / scale
}

/// Prometheus' text format.
#[derive(Default)]
struct Page(String, String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.1);
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").unwrap();
    }

    fn sample(&mut self, labels: &str, value: f64) {
        let name = self.1.clone();
        self.line(&name, labels, value);
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        if labels.is_empty() {
            writeln!(self.0, "{name} {value}").unwrap();
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}").unwrap();
        }
    }

    fn histogram(&mut self, name: &str, help: &str, labels: &str, histogram: &Histogram) {
        let Histogram { bounds, counts, sum, count } = histogram;
        if *count == 0 {
            return;
        }
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, below) in bounds.iter().zip(counts) {
            self.line(&bucket, &format!("{labels},le=\"{bound}\""), *below as f64);
        }
        self.line(&bucket, &format!("{labels},le=\"+Inf\""), *count as f64);
        self.line(&format!("{name}_sum"), labels, *sum);
        self.line(&format!("{name}_count"), labels, *count as f64);
    }
}
