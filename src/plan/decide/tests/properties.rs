//! Whatever is seen and whatever runs, the referee has nothing to object (it is asked at every tick
//! of the bench), and the limits are reached.

use proptest::prelude::*;

use super::*;

fn seen() -> impl Strategy<Value = Seen> {
    let rate = prop_oneof![Just(0.0), 0.1..120.0_f64];
    (rate, 0..5).prop_map(|(rate, kind)| match kind {
        0 => Seen::Load(rate),
        1 => Seen::Late(rate),
        2 => Seen::Slow(rate),
        3 => Seen::Shapeless(rate),
        _ => Seen::Nothing,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_referee_never_objects_and_limits_are_reached_at_once(
        counts in [0..30_u32, 0..30_u32],
        gpus in [1..9_u32, 1..9_u32],
        min in 0..4_u32,
        room in proptest::option::of(0..20_u32),
        spare in proptest::option::of(0..90_u32),
        unseen in proptest::option::of(prop_oneof![Just(Role::Prefill), Just(Role::Decode)]),
        ticks in proptest::collection::vec(seen(), 1..7),
    ) {
        let mut b = Bench::new();
        (b.counts, b.gpus, b.min, b.unseen) = (counts, gpus, min, unseen);
        b.max = room.map(|room| min.max(1) + room);
        // Never below what the minimums take, as a configuration has it.
        let least = min.max(1) * (gpus[0] + gpus[1]);
        b.budget = spare.map(|spare| Gpus::new(least + spare));
        for seen in ticks {
            b.tick(seen);
            if unseen.is_some() {
                continue;
            }
            let [prefill, decode] = b.counts;
            let asked = prefill * gpus[0] + decode * gpus[1];
            prop_assert!(b.budget.is_none_or(|budget| asked <= budget.get()), "{:?}", b.counts);
            prop_assert!(b.counts.iter().all(|n| b.max.is_none_or(|max| *n <= max)));
        }
    }
}
