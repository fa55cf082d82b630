//! The simulation as a whole: closed forms, conservation, the life of replicas, faults.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand_distr::{Distribution as _, Exp1};
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::profile::{EngineProfile, library};
use crate::sim::{Counter, Ended, EngineTruth, Family, Orders, SimPool, Startup, TruthOptions};
use crate::spec::EngineLimits;
use crate::units::{Timestamp, Tokens, round_to_u32};

/// An engine that reads `ms` a token and makes a token in no time to speak of.
fn reader(ms: f64, limits: EngineLimits) -> Arc<EngineTruth> {
    let points: Vec<(f64, f64)> =
        [1.0, 10.0, 1e3, 1e5].iter().map(|tokens| (*tokens, tokens * ms)).collect();
    let decode = [(1.0, 100.0, 1e-5), (400.0, 100.0, 1e-5), (1.0, 1e5, 1e-5), (400.0, 1e5, 1e-5)];
    let profile = EngineProfile::from_points(&points, &decode, Tokens::clamped(1e9)).unwrap();
    let options = TruthOptions { attention_share: 0.0, block: 1, ..TruthOptions::default() };
    Arc::new(EngineTruth::new(&profile, limits, options))
}

fn pool(truth: &Arc<EngineTruth>, initial: u32) -> SimPool {
    SimPool {
        truth: truth.clone(),
        gpus: 1,
        initial,
        startup: Startup::fixed(Duration::from_secs(60)),
        drain_limit: None,
    }
}

/// A fleet whose prompts are read one at a time: a queue of the books.
fn queue(servers: u32) -> SimConfig {
    let one =
        EngineLimits { max_num_batched_tokens: 10_000_000, max_num_seqs: 1, context_length: None };
    let many = EngineLimits {
        max_num_batched_tokens: 10_000_000,
        max_num_seqs: 1000,
        context_length: None,
    };
    let pools = [
        (Role::Prefill, pool(&reader(0.1, one), servers)),
        (Role::Decode, pool(&reader(0.1, many), 1)),
    ];
    SimConfig { router: Router::SharedQueue, ..SimConfig::new(pools.into()) }
}

/// Poisson arrivals of `rate` a second, of exponential or fixed lengths of 10,000 tokens on average.
fn poisson(rate: f64, n: u32, fixed: bool) -> Vec<Request> {
    let (mut gaps, mut lengths) = (Pcg64Mcg::seed_from_u64(1), Pcg64Mcg::seed_from_u64(2));
    let mut at = 0.0;
    (0..n)
        .map(|_| {
            let (gap, length): (f64, f64) = (Exp1.sample(&mut gaps), Exp1.sample(&mut lengths));
            at += gap / rate * 1e3;
            let isl = if fixed { 10_000 } else { round_to_u32(length * 1e4).max(1) };
            let at = Timestamp::from_millis(i64::from(round_to_u32(at)));
            Request { at, isl, osl: 1, prefix_hit: None }
        })
        .collect()
}

#[derive(Default)]
struct Kept {
    ended: Vec<Ended>,
    fleet: Vec<(SimTime, Role, PoolView)>,
    lines: String,
}

impl Sink for Kept {
    fn ended(&mut self, ended: &Ended) {
        self.ended.push(*ended);
        put!(self.lines, "{ended:?}\n");
    }

    fn fleet(&mut self, at: SimTime, role: Role, pool: PoolView, _: u32) {
        self.fleet.push((at, role, pool));
        put!(self.lines, "{at:?} {role} {pool:?}\n");
    }

    fn ordered(&mut self, at: SimTime, role: Role, from: u32, to: u32, why: &str) {
        put!(self.lines, "{at:?} {role} {from} {to} {why}\n");
    }
}

fn run(config: &SimConfig, requests: &[Request], policy: &mut dyn Policy) -> (Kept, Summary) {
    let mut kept = Kept::default();
    let mut load = crate::sim::Open(requests.iter().map(|r| Ok::<_, Infallible>(*r)));
    let summary = simulate(config, &mut load, policy, &mut kept).unwrap();
    (kept, summary)
}

/// Calls the function every `every`.
struct Each<F>(Duration, F);

impl<F: FnMut(&View<'_>) -> Orders> Policy for Each<F> {
    fn first_tick(&self) -> Duration {
        self.0
    }

    fn decide(&mut self, view: &View<'_>) -> Orders {
        let orders = self.1(view);
        Orders { next: Some(orders.next.unwrap_or(view.now.plus(self.0))), ..orders }
    }
}

fn nothing() -> Each<impl FnMut(&View<'_>) -> Orders> {
    Each(Duration::from_secs(1_000_000), |_: &View<'_>| Orders::default())
}

/// Mean time to first token, s, after the first tenth.
fn mean_ttft(kept: &Kept) -> f64 {
    let steady: Vec<f64> =
        kept.ended.iter().skip(kept.ended.len() / 10).map(|e| e.ttft_ms().unwrap() / 1e3).collect();
    steady.iter().sum::<f64>() / steady.len() as f64
}

fn assert_close(got: f64, want: f64) {
    assert!((got / want - 1.0).abs() < 0.03, "{got} where {want} was expected");
}

#[test]
fn one_server_with_exponential_service_is_m_m_1() {
    let (kept, _) = run(&queue(1), &poisson(0.6, 300_000, false), &mut nothing());
    assert_close(mean_ttft(&kept), 1.0 / (1.0 - 0.6));
}

#[test]
fn one_server_with_fixed_service_is_m_d_1() {
    let (kept, _) = run(&queue(1), &poisson(0.7, 300_000, true), &mut nothing());
    assert_close(mean_ttft(&kept), 1.0 + 0.7 / (2.0 * (1.0 - 0.7)));
}

#[test]
fn a_shared_queue_of_four_servers_is_m_m_c() {
    let (servers, offered) = (4.0, 2.8);
    let (kept, _) = run(&queue(4), &poisson(offered, 300_000, false), &mut nothing());
    // Erlang's C by the recursion of his B.
    let blocked = (1..=4).fold(1.0, |b, k| offered * b / (f64::from(k) + offered * b));
    let waits = servers * blocked / (servers - offered * (1.0 - blocked));
    assert_close(mean_ttft(&kept), 1.0 + waits / (servers - offered));
}

#[test]
fn littles_law_holds_for_what_is_in_flight() {
    let requests = poisson(0.6, 100_000, false);
    let mut seen = Vec::new();
    let mut look = Each(Duration::from_secs(5), |view: &View<'_>| {
        seen.extend(view.metrics.gauge(super::super::Gauge::Inflight));
        Orders::default()
    });
    let (kept, summary) = run(&queue(1), &requests, &mut look);
    let in_flight = seen.iter().sum::<f64>() / seen.len() as f64;
    let rate = requests.len() as f64 / summary.end.as_secs();
    let stay = kept.ended.iter().map(|e| e.at.since(e.arrived) as f64 / 1e9).sum::<f64>()
        / kept.ended.len() as f64;
    assert_close(in_flight, rate * stay);
}

/// The shipped profile, prefill and decode.
fn shipped(prefill: u32, decode: u32) -> SimConfig {
    let profile = library::get(library::DEFAULT).unwrap();
    let truth =
        Arc::new(EngineTruth::new(&profile, EngineLimits::default(), TruthOptions::default()));
    let pools = [(Role::Prefill, pool(&truth, prefill)), (Role::Decode, pool(&truth, decode))];
    SimConfig::new(pools.into())
}

fn mixed(rate: f64, n: u32) -> Vec<Request> {
    let mut requests = poisson(rate, n, false);
    for (i, r) in requests.iter_mut().enumerate() {
        r.isl = (r.isl / 4).clamp(1, 8000);
        r.osl = 1 + u32::try_from(i * 7919 % 300).unwrap();
        r.prefix_hit = (i % 3 == 0).then_some(r.isl / 2);
    }
    requests
}

#[test]
fn requests_and_tokens_are_conserved() {
    let requests = mixed(25.0, 20_000);
    let mut counted = (0.0, 0.0);
    let day = Duration::from_secs(3000);
    let mut look = Each(Duration::from_secs(5), |view: &View<'_>| {
        let tokens = |family| view.metrics.observations(family, day);
        if let (Some(first), Some(others)) = (tokens(Family::Ttft), tokens(Family::Itl)) {
            counted = (first, others);
        }
        Orders::default()
    });
    // One more request long after the others, so that a scrape sees all of their tokens.
    let mut late = requests.clone();
    late.push(Request { at: Timestamp::from_millis(1_000_000), ..requests[0] });
    let mut config = shipped(2, 2);
    config.retention = day;
    let (kept, summary) = run(&config, &late, &mut look);
    assert_eq!((kept.ended.len(), summary.requests), (20_001, 20_001));
    assert!(kept.ended.iter().all(|e| e.end == End::Complete));
    for e in &kept.ended {
        assert!(e.first.is_some_and(|first| e.arrived < first && first <= e.at), "{e:?}");
        assert_eq!(e.itl_ms().is_some(), e.request.osl > 1, "{e:?}");
    }
    let tokens: u32 = requests.iter().map(|r| r.osl).sum();
    assert_close(counted.0 + counted.1, f64::from(tokens));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_does_not() {
    let requests = mixed(30.0, 5_000);
    let play = |seed| {
        let mut config = shipped(2, 2);
        config.seed = seed;
        config.router = Router::KvAware;
        for pool in config.pools.values_mut() {
            pool.startup =
                Startup { mean: Duration::from_secs(20), cv: 0.5, failing: 0.2, stuck: 0.1 };
        }
        config.faults =
            vec![Fault::LosingWorkers { role: Role::Decode, every: Duration::from_secs(40) }];
        let mut n = 0;
        let mut policy = Each(Duration::from_secs(15), move |_: &View<'_>| {
            n += 1;
            let mut orders = Orders::default();
            orders.want(Role::Prefill, 2 + n % 3, "up and down");
            orders
        });
        run(&config, &requests, &mut policy).0.lines
    };
    let first = play(1);
    assert_eq!(first, play(1));
    assert_ne!(first, play(2));
    assert!(first.contains("Lost"), "a lost worker takes its requests with it");
}

#[test]
fn a_replica_starts_serves_drains_and_is_paid_for_from_order_to_gone() {
    let requests: Vec<Request> = (0..300)
        .map(|s| Request {
            at: Timestamp::from_millis(s * 1000),
            isl: 500,
            osl: 50,
            prefix_hit: None,
        })
        .collect();
    let mut policy = Each(Duration::from_secs(10), |view: &View<'_>| {
        let mut orders = Orders::default();
        let seconds = view.now.as_secs();
        let wanted = if (50.0..200.0).contains(&seconds) { 3 } else { 1 };
        orders.want(Role::Decode, wanted, "by the clock");
        orders
    });
    let (kept, summary) = run(&shipped(1, 1), &requests, &mut policy);
    let at = |s: u64| {
        let now = SimTime::from_millis(s * 1000);
        let mut of = kept.fleet.iter().filter(|(at, role, _)| *at <= now && *role == Role::Decode);
        of.next_back().unwrap().2
    };
    assert_eq!((at(49).desired, at(50).desired, at(50).starting, at(50).ready), (1, 3, 2, 1));
    assert_eq!((at(109).ready, at(110).ready), (1, 3), "sixty seconds after the order");
    assert_eq!((at(201).desired, at(201).ready, at(202).draining), (1, 1, 0));
    assert!(kept.ended.iter().all(|e| e.end == End::Complete), "a drained worker ends its work");
    // Two for the whole time, two more for 150 s and what the drain took.
    let gpu_seconds = summary.gpu_nanos as f64 / 1e9;
    let whole = 2.0 * summary.end.as_secs() + 2.0 * 150.0;
    assert!((whole..whole + 2.0).contains(&gpu_seconds), "{gpu_seconds} {whole}");
}

#[test]
fn starting_replicas_are_given_back_first() {
    let requests =
        [Request { at: Timestamp::from_millis(100_000), isl: 100, osl: 10, prefix_hit: None }];
    let mut policy = Each(Duration::from_secs(10), |view: &View<'_>| {
        let mut orders = Orders::default();
        let wanted = if view.now.as_secs() < 15.0 { 5 } else { 3 };
        orders.want(Role::Decode, wanted, "by the clock");
        orders
    });
    let (kept, _) = run(&shipped(1, 2), &requests, &mut policy);
    let decode: Vec<_> = kept.fleet.iter().filter(|f| f.1 == Role::Decode).map(|f| f.2).collect();
    assert!(decode.contains(&PoolView {
        desired: 3,
        ready: 2,
        starting: 1,
        draining: 0,
        pending: 0
    }));
    assert!(decode.iter().all(|p| p.ready >= 2), "{decode:?}");
}

#[test]
fn replicas_beyond_the_gpus_wait_and_cost_nothing_until_others_are_gone() {
    let requests =
        [Request { at: Timestamp::from_millis(200_000), isl: 100, osl: 10, prefix_hit: None }];
    // Six GPUs: three of them free at first, two more when prefill gives them back after 100 s.
    let config = SimConfig { gpus: Some(6), ..shipped(3, 0) };
    let mut policy = Each(Duration::from_secs(10), |view: &View<'_>| {
        let mut orders = Orders::default();
        orders.want(Role::Decode, 9, "far too many");
        orders.want(Role::Prefill, if view.now.as_secs() < 95.0 { 3 } else { 1 }, "by the clock");
        orders
    });
    let (kept, summary) = run(&config, &requests, &mut policy);
    let at = |seconds: f64| {
        let before = kept.fleet.iter().filter(|f| f.1 == Role::Decode && f.0.as_secs() <= seconds);
        before.map(|f| f.2).next_back().unwrap()
    };
    let pool =
        |ready, starting, pending| PoolView { desired: 9, ready, starting, draining: 0, pending };
    assert_eq!(at(15.0), pool(0, 9, 6));
    assert_eq!(at(75.0), pool(3, 6, 6));
    assert_eq!(at(105.0), pool(3, 6, 4), "two start where prefill left");
    assert_eq!(at(165.0), pool(5, 4, 4), "a whole start-up time later");
    let seconds = summary.end.as_secs();
    // Prefill; three decode replicas from the first order on, two more from 100 s on.
    let whole = 2.0 * 100.0 + seconds + 3.0 * (seconds - 10.0) + 2.0 * (seconds - 100.0);
    assert!((summary.gpu_nanos as f64 / 1e9 - whole).abs() < 0.1, "{whole} {summary:?}");
}

#[test]
fn pools_take_turns_where_the_gpus_are_too_few_for_the_fleet_at_the_start() {
    let requests =
        [Request { at: Timestamp::from_millis(10_000), isl: 100, osl: 10, prefix_hit: None }];
    let (kept, _) = run(&SimConfig { gpus: Some(5), ..shipped(4, 4) }, &requests, &mut nothing());
    let ready: Vec<u32> = kept.fleet[..2].iter().map(|f| f.2.ready).collect();
    assert_eq!(ready, [3, 2]);
}

#[test]
fn requests_wait_for_the_first_replica_of_an_empty_pool() {
    let requests =
        [Request { at: Timestamp::from_millis(5_000), isl: 100, osl: 10, prefix_hit: None }];
    let mut policy = Each(Duration::from_secs(10), |view: &View<'_>| {
        let mut orders = Orders::default();
        if view.metrics.gauge(super::super::Gauge::Queued) > Some(0.0) {
            orders.want(Role::Prefill, 1, "somebody waits");
        }
        orders
    });
    let (kept, _) = run(&shipped(0, 1), &requests, &mut policy);
    let ttft = kept.ended[0].ttft_ms().unwrap();
    assert!((65_000.0..66_000.0).contains(&ttft), "{ttft}");
}

#[test]
fn what_cannot_end_is_given_up_and_counted() {
    let requests = [Request { at: Timestamp::from_millis(0), isl: 100, osl: 10, prefix_hit: None }];
    for mut config in [shipped(0, 1), shipped(1, 0)] {
        config.patience = Duration::from_secs(30);
        let (kept, summary) = run(&config, &requests, &mut nothing());
        assert_eq!(kept.ended[0].end, End::Unfinished);
        assert_eq!(summary.end, SimTime::from_millis(30_000));
    }
}

#[test]
fn a_request_that_no_engine_can_hold_is_refused() {
    let requests = [
        Request { at: Timestamp::from_millis(0), isl: 100, osl: 10, prefix_hit: None },
        Request { at: Timestamp::from_millis(0), isl: 2_000_000, osl: 10, prefix_hit: None },
    ];
    let mut load = crate::sim::Open(requests.iter().map(|r| Ok::<_, Infallible>(*r)));
    let error = simulate(&shipped(1, 1), &mut load, &mut nothing(), &mut ()).unwrap_err();
    assert!(matches!(error, SimError::TooLarge { index: 2, isl: 2_000_000, .. }), "{error}");
    let config =
        SimConfig::new([(Role::Decode, pool(&reader(0.1, EngineLimits::default()), 1))].into());
    let error = simulate(&config, &mut load, &mut nothing(), &mut ()).unwrap_err();
    let text = "simulate a fleet of decode: expected prefill and decode, or aggregated";
    assert_eq!(error.to_string(), text);
}

#[test]
fn what_a_policy_sees_is_what_was_scraped() {
    let requests = mixed(20.0, 4_000);
    let mut rates = Vec::new();
    let mut config = shipped(2, 2);
    config.faults = vec![
        Fault::MetricsGap { from: SimTime::from_millis(60_000), to: SimTime::from_millis(90_000) },
        Fault::StaleMetrics {
            from: SimTime::from_millis(150_000),
            to: SimTime::from_millis(190_000),
        },
        Fault::ClockJump { at: SimTime::from_millis(100_500), seconds: -50 },
    ];
    let mut policy = Each(Duration::from_secs(10), |view: &View<'_>| {
        let rate = view.metrics.rate(Counter::Started, Duration::from_secs(30));
        rates.push((view.now.as_secs(), rate, view.metrics.is_up()));
        Orders::default()
    });
    run(&config, &requests, &mut policy);
    let first: Vec<_> = rates.iter().take_while(|r| r.0 < 60.0).collect();
    assert!(first[3..].iter().all(|r| (15.0..25.0).contains(&r.1.unwrap())), "{first:?}");
    let down = rates.iter().find(|r| r.0 == 70.0).unwrap();
    assert_eq!((down.1, down.2), (None, false));
    // The tick of 100 s asked for 110 s, which comes after the clock was set back to 60.
    assert!(rates.iter().filter(|r| r.0 == 60.0).count() == 2, "{rates:?}");
    // By its clock the scrapes stood still from 100 s to 140 s.
    assert_eq!(rates.iter().filter(|r| r.1 == Some(0.0)).count(), 1, "nothing moves: {rates:?}");
}

#[test]
fn routers_differ_in_whom_they_burden() {
    let requests = mixed(40.0, 4_000);
    let late = |router| {
        let config = SimConfig { router, ..shipped(3, 2) };
        let (kept, _) = run(&config, &requests, &mut nothing());
        mean_ttft(&kept)
    };
    let (random, round) = (late(Router::Random), late(Router::RoundRobin));
    let (least, kv) = (late(Router::LeastLoaded), late(Router::KvAware));
    assert!(least < round && round < random, "{least} {round} {random}");
    assert!(kv < round, "{kv} {round}: it finds the cached prefixes");
}

#[test]
fn a_slow_engine_and_a_lost_one_are_felt() {
    let requests = mixed(20.0, 4_000);
    let base = run(&shipped(2, 2), &requests, &mut nothing()).0;
    let mut config = shipped(2, 2);
    let (from, to) = (SimTime::from_millis(50_000), SimTime::from_millis(100_000));
    config.faults = vec![Fault::SlowEngine { role: Role::Prefill, factor: 5.0, from, to }];
    let slow = run(&config, &requests, &mut nothing()).0;
    assert!(mean_ttft(&slow) > 1.2 * mean_ttft(&base));
    config.faults = vec![Fault::LostWorker { role: Role::Decode, at: from }];
    let lost = run(&config, &requests, &mut nothing()).0;
    let gone = lost.ended.iter().filter(|e| e.end == End::Lost).count();
    assert!((1..200).contains(&gone), "{gone}");
    let back = lost.fleet.iter().rfind(|f| f.1 == Role::Decode).unwrap().2;
    assert_eq!((back.ready, back.starting), (2, 0), "another one came in its place");
}

#[test]
fn faults_that_overlap_end_with_the_last_of_them() {
    let s = |s: u64| SimTime::from_millis(s * 1000);
    let requests = mixed(20.0, 4_000);
    let mut config = shipped(2, 2);
    config.faults = vec![
        Fault::MetricsGap { from: s(40), to: s(100) },
        Fault::MetricsGap { from: s(60), to: s(80) },
        Fault::StaleMetrics { from: s(120), to: s(150) },
        Fault::StaleMetrics { from: s(130), to: s(180) },
    ];
    let (mut up, mut started) = (Vec::new(), Vec::new());
    let mut policy = Each(Duration::from_secs(10), |view: &View<'_>| {
        up.push((view.now.as_secs(), view.metrics.is_up()));
        started.push((
            view.now.as_secs(),
            view.metrics.increase(Counter::Started, Duration::from_secs(11)),
        ));
        Orders::default()
    });
    run(&config, &requests, &mut policy);
    for (at, is_up) in up {
        assert_eq!(is_up, !(40.0..100.0).contains(&at), "{at}");
    }
    for (at, increase) in started.into_iter().filter(|s| s.0 >= 140.0 && s.0 < 180.0) {
        assert_eq!(increase, Some(0.0), "{at}");
    }
}

#[test]
fn an_engine_that_is_slowed_twice_is_as_slow_as_both_make_it() {
    let s = |s: u64| SimTime::from_millis(s * 1000);
    // One prompt of a second at a time, far apart.
    let requests: Vec<Request> = [0, 20, 40, 60]
        .map(|at| Request {
            at: Timestamp::from_millis(at * 1000),
            isl: 10_000,
            osl: 1,
            prefix_hit: None,
        })
        .into();
    let slow = |factor, from, to| Fault::SlowEngine { role: Role::Prefill, factor, from, to };
    let mut config = queue(1);
    config.faults = vec![slow(2.0, s(10), s(50)), slow(3.0, s(30), s(70))];
    let (kept, _) = run(&config, &requests, &mut nothing());
    for (ended, times) in kept.ended.iter().zip([1.0, 2.0, 6.0, 3.0]) {
        assert_close(ended.ttft_ms().unwrap() / 1e3, times);
    }
}

#[test]
fn an_aggregated_fleet_answers_everything_and_conserves_tokens() {
    let mut requests = mixed(5.0, 2_000);
    let tokens: u32 = requests.iter().map(|r| r.osl).sum();
    // One more long after the others, so that a scrape sees all of their tokens.
    requests.push(Request { at: Timestamp::from_millis(1_000_000), ..requests[0] });
    let profile = library::get(library::DEFAULT).unwrap();
    let truth =
        Arc::new(EngineTruth::new(&profile, EngineLimits::default(), TruthOptions::default()));
    let day = Duration::from_secs(3000);
    let mut config = SimConfig::new([(Role::Aggregated, pool(&truth, 3))].into());
    config.retention = day;
    let mut counted = 0.0;
    let mut look = Each(Duration::from_secs(5), |view: &View<'_>| {
        let of = |family| view.metrics.observations(family, day).unwrap_or(0.0);
        counted = of(Family::Ttft) + of(Family::Itl);
        Orders::default()
    });
    let (kept, summary) = run(&config, &requests, &mut look);
    assert_eq!((kept.ended.len(), summary.requests), (2_001, 2_001));
    for e in &kept.ended {
        assert_eq!(e.end, End::Complete);
        assert!(e.first.is_some_and(|first| e.arrived < first && first <= e.at), "{e:?}");
    }
    assert!((counted - f64::from(tokens)).abs() < 400.0, "{counted} of {tokens}");
}

#[test]
fn a_drained_worker_is_killed_at_its_limit() {
    let requests = [0, 1].map(|ms| Request {
        at: Timestamp::from_millis(ms),
        isl: 100,
        osl: 8_000,
        prefix_hit: None,
    });
    let ends = |drain_limit| {
        let mut config = shipped(1, 2);
        for pool in config.pools.values_mut() {
            pool.drain_limit = drain_limit;
        }
        let mut policy = Each(Duration::from_secs(10), |_: &View<'_>| {
            let mut orders = Orders::default();
            orders.want(Role::Decode, 1, "too many");
            orders
        });
        let (kept, _) = run(&config, &requests, &mut policy);
        let lost: Vec<_> = kept.ended.iter().filter(|e| e.end == End::Lost).map(|e| e.at).collect();
        (kept.ended.len(), lost)
    };
    assert_eq!(ends(None), (2, vec![]));
    assert_eq!(ends(Some(Duration::from_secs(5))), (2, vec![SimTime::from_millis(15_000)]));
    assert_eq!(ends(Some(Duration::from_secs(3000))), (2, vec![]), "it is done before");
}

#[test]
fn the_time_to_hand_a_cache_over_is_waited_for_before_the_first_token() {
    let requests: Vec<Request> = (0..10)
        .map(|s| Request {
            at: Timestamp::from_millis(s * 10_000),
            isl: 500,
            osl: 20,
            prefix_hit: None,
        })
        .collect();
    let play = |kv_transfer| {
        let config = SimConfig { kv_transfer, ..shipped(1, 1) };
        run(&config, &requests, &mut nothing()).0.ended
    };
    let without = play(Duration::ZERO);
    let with = play(Duration::from_millis(250));
    assert_eq!(with.len(), 10);
    for (a, b) in without.iter().zip(&with) {
        assert!((b.ttft_ms().unwrap() - a.ttft_ms().unwrap() - 250.0).abs() < 0.01, "{a:?} {b:?}");
        assert!((b.itl_ms().unwrap() - a.itl_ms().unwrap()).abs() < 0.01, "{a:?} {b:?}");
    }
}

#[test]
fn a_request_from_the_past_is_refused() {
    let at = |ms| Request { at: Timestamp::from_millis(ms), isl: 10, osl: 1, prefix_hit: None };
    let mut load =
        crate::sim::Open([at(0), at(2000), at(1999)].map(Ok::<_, Infallible>).into_iter());
    let error = simulate(&queue(1), &mut load, &mut nothing(), &mut ()).unwrap_err();
    assert!(matches!(error, SimError::OutOfOrder { index: 3 }), "{error}");
}
