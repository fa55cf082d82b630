//! Sizing, held against a queue that is simulated prompt by prompt.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::forecast::{Band, Lengths, Work};
use crate::profile::library;
use crate::units::{PerSecond, Percentile, Tokens};

fn engine(name: &str) -> EngineProfile {
    library::get(name).unwrap()
}

fn pools(engine: &EngineProfile) -> [SizePool<'_>; 2] {
    [Role::Prefill, Role::Decode].map(|role| SizePool {
        role,
        engine,
        limits: EngineLimits::default(),
        gpus_per_replica: Gpus::new(1),
        min: Replicas::new(1),
        max: None,
        correction: Correction::default(),
    })
}

fn sla(ttft: f64, itl: f64) -> Sla {
    Sla { ttft: Millis::new(ttft).unwrap(), itl: Millis::new(itl).unwrap(), ..Sla::default() }
}

fn steady(rps: f64, isl: f64, osl: f64) -> Demand {
    let tokens = |n| Tokens::new(n).unwrap();
    Demand::steady(PerSecond::new(rps).unwrap(), tokens(isl), tokens(osl))
}

fn counts(sizing: &Sizing) -> Vec<u32> {
    sizing.pools.iter().map(|p| p.replicas.get()).collect()
}

/// A fixed sequence of numbers in (0, 1] that no two neighbours of resemble each other (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

/// The share of prompts that one of `engines` prefill engines serves later than `target` ms: Poisson
/// arrivals dealt out in turn, first come first served, in passes of at most 8,192 tokens.
fn simulated_late(
    engine: &EngineProfile,
    engines: u32,
    rps: f64,
    isl: f64,
    target: f64,
    prompts: usize,
) -> f64 {
    let mut dice = Dice(7);
    let (mut now, mut clock) = (0.0_f64, 0.0_f64);
    let arrivals: Vec<f64> = (0..prompts)
        .map(|_| {
            for _ in 0..engines {
                clock -= dice.roll().ln() / rps * 1e3;
            }
            clock
        })
        .collect();
    let c = engine.prefill().fit().c;
    let (mut next, mut late) = (0, 0_u32);
    let mut queue: VecDeque<(f64, f64)> = VecDeque::new();
    while next < prompts || !queue.is_empty() {
        if queue.is_empty() {
            now = now.max(arrivals[next]);
        }
        while next < prompts && arrivals[next] <= now {
            queue.push_back((arrivals[next], isl));
            next += 1;
        }
        let (mut room, mut tokens, mut squares) = (8192.0_f64, 0.0, 0.0);
        let mut done = Vec::new();
        while let Some((arrival, left)) = queue.front_mut() {
            let take = room.min(*left);
            let before = isl - *left;
            room -= take;
            tokens += take;
            squares += take * (take + 2.0 * before);
            *left -= take;
            if *left > 0.0 {
                break;
            }
            done.push(*arrival);
            queue.pop_front();
            if room <= 0.0 {
                break;
            }
        }
        now += engine.prefill().ttft(tokens).value.get() + c * (squares - tokens * tokens);
        late += done.iter().map(|arrival| u32::from(now - arrival > target)).sum::<u32>();
    }
    f64::from(late) / prompts as f64
}

#[test]
fn the_fleet_named_keeps_the_promise_in_a_simulated_queue_and_one_engine_fewer_is_close() {
    let engine = engine("aic_qwen3-32b_h200_vllm_tp2");
    for (rps, isl, ttft) in [
        (4.0, 3000.0, 1000.0),
        (20.0, 3000.0, 1000.0),
        (60.0, 1000.0, 600.0),
        (12.0, 6000.0, 1500.0),
        (80.0, 500.0, 400.0),
    ] {
        let sized = size(&pools(&engine)[..1], &sla(ttft, 50.0), &steady(rps, isl, 10.0), None);
        assert!(sized.feasible(), "{rps} {isl}: {:?}", sized.verdict);
        let n = sized.pools[0].replicas.get();
        let late = |n: u32| simulated_late(&engine, n, rps, isl, ttft, 40_000);
        assert!(late(n) <= 0.05, "{n} engines: {:.3} late at {rps}/s of {isl}", late(n));
        // The smallest fleet that keeps it is at most one engine, or 15 %, smaller.
        let allowed = (n / 8).max(1) + 1;
        if n > allowed {
            let smaller = n - allowed;
            assert!(late(smaller) > 0.05, "{n} named, {smaller} do at {rps}/s of {isl}");
        }
    }
}

#[test]
fn a_promise_below_the_service_time_cannot_be_met_and_the_best_is_named() {
    let engine = engine(library::DEFAULT);
    let sized = size(&pools(&engine), &sla(30.0, 50.0), &steady(5.0, 3000.0, 150.0), None);
    let Verdict::CannotBeMet { latency: Latency::Ttft, best, target } = sized.verdict else {
        panic!("{:?}", sized.verdict);
    };
    assert!(best.get() > 60.0 && best.get() < 75.0, "{best}");
    assert_eq!(target.get(), 30.0);
    assert!(counts(&sized).iter().all(|n| *n < 5), "a hopeless target buys no GPUs: {sized:?}");
    let sized = size(&pools(&engine), &sla(500.0, 3.0), &steady(5.0, 3000.0, 150.0), None);
    assert!(matches!(sized.verdict, Verdict::CannotBeMet { latency: Latency::Itl, .. }));
    assert!(counts(&sized).iter().all(|n| *n < 5), "a hopeless target buys no GPUs: {sized:?}");
    let one = [SizePool { role: Role::Aggregated, ..pools(&engine)[0] }];
    let sized = size(&one, &sla(500.0, 3.0), &steady(5.0, 3000.0, 150.0), None);
    assert!(counts(&sized)[0] < 5, "nor do aggregated engines: {sized:?}");
}

#[test]
fn a_budget_too_small_for_a_hopeless_promise_leaves_no_pool_without_an_engine() {
    let engine = engine(library::DEFAULT);
    let pools = pools(&engine).map(|pool| SizePool { min: Replicas::new(0), ..pool });
    let sized = size(&pools, &sla(30.0, 50.0), &steady(200.0, 3000.0, 150.0), Some(Gpus::new(3)));
    assert!(matches!(sized.verdict, Verdict::CannotBeMet { .. }), "{:?}", sized.verdict);
    assert!(counts(&sized).iter().all(|n| *n >= 1), "{sized:?}");
}

#[test]
fn a_request_larger_than_the_cache_does_not_fit() {
    let engine = engine(library::DEFAULT);
    let demand = steady(0.1, 2e6, 10.0);
    let sized = size(&pools(&engine)[1..], &sla(5e5, 50.0), &demand, None);
    assert!(matches!(sized.verdict, Verdict::DoesNotFit { .. }), "{:?}", sized.verdict);
}

#[test]
fn a_tight_budget_gives_the_pair_with_the_fewest_late_requests() {
    let engine = engine(library::DEFAULT);
    let demand = steady(60.0, 3000.0, 300.0);
    let free = size(&pools(&engine), &sla(500.0, 12.0), &demand, None);
    assert!(free.feasible());
    let budget = Gpus::new(free.total_gpus.get() - 2);
    let tight = size(&pools(&engine), &sla(500.0, 12.0), &demand, Some(budget));
    assert_eq!(tight.verdict, Verdict::LimitsTooTight { needed: free.total_gpus });
    assert!(tight.total_gpus <= budget);
    let all = pools(&engine);
    for p in 1..budget.get() {
        let other = [Replicas::new(p), Replicas::new(budget.get() - p)];
        let good = assess(&all, &other, &sla(500.0, 12.0), &demand).good;
        assert!(good.get() <= tight.good.get() + 1e-3, "{other:?} is better than {tight:?}");
    }
}

#[test]
fn own_percentiles_of_a_target_are_kept_beside_the_common_one() {
    let engine = engine(library::DEFAULT);
    let demand = steady(40.0, 3000.0, 150.0);
    let plain = size(&pools(&engine), &sla(170.0, 50.0), &demand, None);
    let strict = Sla { ttft_percentile: Percentile::new(99.9), ..sla(170.0, 50.0) };
    let strict = size(&pools(&engine), &strict, &demand, None);
    assert!(strict.pools[0].replicas > plain.pools[0].replicas, "{plain:?} {strict:?}");
}

#[test]
fn no_load_takes_the_minimum() {
    let engine = engine(library::DEFAULT);
    let sized = size(&pools(&engine), &Sla::default(), &steady(0.0, 100.0, 100.0), None);
    assert_eq!((counts(&sized), sized.feasible()), (vec![1, 1], true));
}

/// Any demand that a trace or a metric can show.
fn demands() -> impl Strategy<Value = Demand> {
    let lengths = (1.0..30_000.0_f64, 0.0..3.0_f64)
        .prop_map(|(mean, cv2)| Lengths { mean: Tokens::clamped(mean), cv2 });
    (0.0..400.0_f64, lengths.clone(), lengths, 0.2..30.0_f64).prop_map(
        |(rate, isl, osl, dispersion)| Demand {
            rate: Band::certain(rate),
            isl,
            osl: Lengths { mean: Tokens::clamped(osl.mean.get() / 20.0), ..osl },
            dispersion,
            work: Work::default(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn more_load_or_a_tighter_promise_never_takes_fewer(
        demand in demands(),
        (ttft, itl) in (50.0..5000.0_f64, 5.0..100.0_f64),
        more in 1.0..2.0_f64,
    ) {
        let engine = engine(library::DEFAULT);
        let all = pools(&engine);
        let base = size(&all, &sla(ttft, itl), &demand, None);
        prop_assert!(base.good.get().is_finite());
        let grown = Demand { rate: Band::certain(demand.rate.high * more), ..demand };
        let loaded = size(&all, &sla(ttft, itl), &grown, None);
        if base.feasible() && loaded.feasible() {
            prop_assert!(loaded.total_gpus >= base.total_gpus, "{base:?} {loaded:?}");
        }
        let tighter = size(&all, &sla(ttft / more, itl / more), &demand, None);
        if base.feasible() && tighter.feasible() {
            prop_assert!(tighter.total_gpus >= base.total_gpus, "{base:?} {tighter:?}");
        }
    }

    #[test]
    fn sizes_stay_within_their_limits_whatever_is_asked(
        demand in demands(),
        budget in 2_u32..40,
        max in 1_u32..20,
    ) {
        let engine = engine(library::DEFAULT);
        let all = pools(&engine).map(|p| SizePool { max: Some(Replicas::new(max)), ..p });
        let sized = size(&all, &Sla::default(), &demand, Some(Gpus::new(budget)));
        prop_assert!(sized.total_gpus.get() <= budget, "{sized:?}");
        for pool in &sized.pools {
            prop_assert!((1..=max).contains(&pool.replicas.get()), "{sized:?}");
        }
    }
}

#[test]
fn mad_numbers_give_an_answer_and_no_panic() {
    let engine = engine(library::DEFAULT);
    for x in [f64::NAN, f64::INFINITY, -1.0, 1e300, 0.0, 1e-300] {
        let lengths = Lengths { mean: Tokens::clamped(x), cv2: x };
        let demand = Demand {
            rate: Band::certain(x),
            isl: lengths,
            osl: lengths,
            dispersion: x,
            work: Work { prefill: x, decode: x },
        };
        let sized = size(&pools(&engine), &Sla::default(), &demand, Some(Gpus::new(8)));
        assert!(sized.total_gpus.get() <= 8, "{x}: {sized:?}");
    }
}

/// Arrivals in bursts: the share of late requests falls slowly with the size.
fn bursts(rps: f64, dispersion: f64) -> Demand {
    Demand { dispersion, ..steady(rps, 3000.0, 150.0) }
}

#[test]
fn sizes_that_keep_a_promise_only_far_above_what_each_pool_needs_alone_are_found() {
    let engine = engine("aic_qwen3-32b_h200_vllm_tp2");
    let sla = Sla { percentile: Percentile::new(99.0).unwrap(), ..sla(570.0, 12.5) };
    let sized = size(&pools(&engine), &sla, &bursts(3.0, 2000.0), None);
    assert!(sized.feasible(), "{:?} {:?}", sized.verdict, counts(&sized));
}

#[test]
fn a_pool_keeps_its_own_promise_where_the_other_one_is_beyond_help() {
    let engine = engine("aic_qwen3-32b_h200_vllm_tp2");
    let sla = Sla { percentile: Percentile::new(90.0).unwrap(), ..sla(1110.0, 11.0) };
    let both = size(&pools(&engine), &sla, &bursts(30.0, 20.0), None);
    assert!(matches!(both.verdict, Verdict::CannotBeMet { latency: Latency::Itl, .. }));
    assert!(both.pools[0].late.get() <= 0.1, "{:?}", both.pools[0]);
}

#[test]
fn only_a_pool_that_the_budget_cuts_is_bound_by_it() {
    let engine = engine("aic_qwen3-32b_h200_vllm_tp2");
    let mut pools = pools(&engine);
    pools[1].min = Replicas::new(30);
    let demand = steady(100.0, 3000.0, 150.0);
    let sized = size(&pools, &sla(500.0, 50.0), &demand, Some(Gpus::new(34)));
    assert!(matches!(sized.verdict, Verdict::LimitsTooTight { .. }), "{:?}", sized.verdict);
    assert_eq!(
        sized.pools.iter().map(|p| p.bound).collect::<Vec<_>>(),
        [Bound::Budget, Bound::Min]
    );
}

#[test]
fn a_load_beyond_any_fleet_takes_all_that_the_limits_allow_and_not_the_minimum() {
    let engine = engine(library::DEFAULT);
    for rps in [1e5, 1e7, 1e9, 1e300] {
        let demand = steady(rps, 3000.0, 150.0);
        for ttft in [500.0, 30.0] {
            let sized = size(&pools(&engine), &sla(ttft, 50.0), &demand, Some(Gpus::new(64)));
            assert!(sized.total_gpus.get() >= 63, "{rps}/s: {sized:?}");
            let all = pools(&engine).map(|p| SizePool { max: Some(Replicas::new(9)), ..p });
            let sized = size(&all, &sla(ttft, 50.0), &demand, None);
            assert_eq!(counts(&sized), [9, 9], "{rps}/s");
        }
    }
}

#[test]
fn sequences_that_hold_more_need_more_memory_and_no_other_prefill() {
    let engine = engine(library::DEFAULT);
    let decode_of = |memory: f64, rps: f64| {
        let correction = Correction { memory, ..Correction::default() };
        let pools = pools(&engine).map(|pool| SizePool { correction, ..pool });
        counts(&size(&pools, &sla(2000.0, 200.0), &steady(rps, 6000.0, 400.0), None))
    };
    for rps in [5.0, 20.0, 60.0] {
        let mut before = decode_of(0.5, rps);
        for memory in [0.8, 1.0, 1.3, 2.0, 4.0] {
            let after = decode_of(memory, rps);
            assert!(after[1] >= before[1], "{rps} {memory}: {before:?} {after:?}");
            before = after;
        }
    }
    let (one, two) = (decode_of(1.0, 60.0), decode_of(2.0, 60.0));
    assert!(two[1] as f64 >= 1.5 * one[1] as f64 && two[0] <= one[0] + 1, "{one:?} {two:?}");
}
