//! From a tick's line to an [`Observation`]: a pure function, and the only judge of its numbers.
//!
//! A figure that is absent, null or impossible is missing, with the reason. What a line says is as of
//! now: nothing in it is late.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::protocol::{Counts, Figures, Snapshot, Tick, is_count};
use crate::observe::{
    Inventory, LatencySignals, Missing, Observation, PoolInventory, Signal, Traffic,
};
use crate::units::{
    Gpus, Millis, PerSecond, Percentile, Replicas, Role, Share, Timestamp, Tokens, round_to_u32,
    round_to_u64,
};

/// The lengths of a window that a rate can be taken over, in seconds. Shorter, and one request reads
/// as ten a second; a day is longer than any tick.
const WINDOW_S: RangeInclusive<f64> = 0.1..=86_400.0;

/// The most requests, tokens or milliseconds of a window: as `spec` has it for a stated load.
const MOST: f64 = 1e9;

/// The latest time that is one, in milliseconds: the year 33,658, where floats are whole still.
const LAST_MS: f64 = 1e15;

/// What a session knows beside the line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    /// The percentile of the promise.
    pub(super) percentile: Percentile,
    /// The longest request.
    pub(super) context_length: Option<Tokens>,
    /// Tokens that the KV cache of an engine holds.
    pub(super) max_kv_tokens: Option<f64>,
    /// GPUs of a replica.
    pub(super) gpus: BTreeMap<Role, Gpus>,
    /// The tick before.
    pub(super) previous: Option<Timestamp>,
}

/// The time of a tick; an error is why it is not known.
pub(super) fn time(tick: &Tick) -> Result<Timestamp, Missing> {
    let ms = given("now_ms", tick.now_ms)?;
    if !(0.0..=LAST_MS).contains(&ms) {
        return Err(unusable(format!("now_ms {ms:?}")));
    }
    Ok(Timestamp::from_millis(i64::try_from(round_to_u64(ms)).unwrap_or(0)))
}

/// What a tick says. Without a time nothing can be told of it: no rate, no age.
pub(super) fn observation(tick: &Tick, known: &Known) -> Observation {
    let at = time(tick).unwrap_or_else(|_| known.previous.unwrap_or_default());
    let traffic = match time(tick) {
        Ok(now) => traffic(tick, known, now),
        Err(why) => Traffic::all_missing(Duration::ZERO, known.percentile, &why),
    };
    let pools = tick.pools.iter().map(|(role, counts)| {
        let signal = match pool(counts, known.gpus.get(role).copied()) {
            Ok(inventory) => Signal::Fresh { value: inventory, at },
            Err(signal) => signal,
        };
        (*role, signal)
    });
    Observation { at, traffic, inventory: Inventory { pools: pools.collect() } }
}

fn traffic(tick: &Tick, known: &Known, now: Timestamp) -> Traffic {
    let figures = &tick.traffic;
    let window = window(figures, known.previous.map(|t| now.since(t)));
    let arrivals = window.clone().and_then(|w| arrivals(figures, w));
    let is_idle = arrivals.as_ref().is_ok_and(|rate| rate.get() <= 0.0);
    let length = |name, value| {
        if is_idle {
            return Signal::missing(Missing::NoSamples);
        }
        let mean = mean((name, value), ("shape_count", figures.shape_count));
        match mean {
            Ok(0.0) => Signal::missing(unusable(format!("{name} 0 of requests that there were"))),
            Ok(x) if known.context_length.is_some_and(|most| x > most.get()) => {
                Signal::Contradictory {
                    detail: format!("{name} {x:?} is more than the context length"),
                }
            }
            _ => signal(mean.map(Tokens::clamped), now),
        }
    };
    let latency = |value, weight| {
        let mean = signal(mean(value, weight).map(Millis::clamped), now);
        // The protocol has no quantiles. A mean over target says that the quantile is over it as
        // well, and holds the pool; one within it says nothing, and stands in nobody's way.
        LatencySignals { mean: mean.clone(), quantile: mean, percentile: known.percentile }
    };
    Traffic {
        window: window.unwrap_or_default(),
        arrivals: signal(arrivals, now),
        isl: length("avg_isl", figures.avg_isl),
        osl: length("avg_osl", figures.avg_osl),
        ttft: latency(("avg_ttft_ms", figures.avg_ttft_ms), ("ttft_count", figures.ttft_count)),
        itl: latency(("avg_itl_ms", figures.avg_itl_ms), ("itl_count", figures.itl_count)),
        request_duration: Signal::missing(Missing::NotAsked),
        queued: queued(tick, now),
        // The last pass of an engine that has fallen idle shows the requests that ended with it.
        inflight: Signal::missing(Missing::NotAsked),
        kv_usage: kv_usage(tick, known, now),
    }
}

/// The window as stated, else the time since the tick before.
fn window(figures: &Figures, since_previous: Option<Duration>) -> Result<Duration, Missing> {
    match figures.duration_s {
        Some(s) if WINDOW_S.contains(&s) => Ok(Duration::from_secs_f64(s)),
        Some(s) => Err(unusable(format!("duration_s {s:?}"))),
        None => since_previous
            .filter(|d| WINDOW_S.contains(&d.as_secs_f64()))
            .ok_or_else(|| unusable("duration_s is not given, nor known from the ticks")),
    }
}

fn arrivals(figures: &Figures, window: Duration) -> Result<PerSecond, Missing> {
    let n = given("num_req", figures.num_req)?;
    if !(0.0..=MOST).contains(&n) {
        return Err(unusable(format!("num_req {n:?}")));
    }
    Ok(PerSecond::clamped(n / window.as_secs_f64()))
}

/// A mean with its weight. Of weight 0 it is unknown whatever it says; and where nobody says the
/// weight, a mean of 0 may be that of nothing.
fn mean(value: (&str, Option<f64>), weight: (&str, Option<f64>)) -> Result<f64, Missing> {
    let ((name, value), (weight_name, weight)) = (value, weight);
    match weight {
        Some(0.0) => return Err(Missing::NoSamples),
        Some(w) if !(0.0..=MOST).contains(&w) => {
            return Err(unusable(format!("{weight_name} {w:?}")));
        }
        Some(_) | None => {}
    }
    match given(name, value)? {
        0.0 if weight.is_none() => Err(unusable(format!("{name} 0 without its {weight_name}"))),
        x if (0.0..=MOST).contains(&x) => Ok(x),
        x => Err(unusable(format!("{name} {x:?}"))),
    }
}

/// Requests that wait, of the engines that have said so. Those of an engine that has not (it is
/// between passes, or has made none) are missing in the sum, which then is good for growth only.
fn queued(tick: &Tick, now: Timestamp) -> Signal<f64> {
    let of_one = |s: &Snapshot| {
        let count = |x: Option<f64>| x.filter(|x| (0.0..=MOST).contains(x));
        s.wall_time.filter(|t| *t > 0.0)?;
        Some(count(s.queued_prefill)? + count(s.queued_decode)?)
    };
    let said: Vec<f64> = tick.snapshots.iter().filter_map(of_one).collect();
    if said.is_empty() {
        return Signal::missing(unusable("no engine has said how many wait"));
    }
    let value = said.iter().sum();
    let active = tick.pools.iter().try_fold(0.0, |sum, (_, c)| Some(sum + c.active?));
    let all = said.len() == tick.snapshots.len();
    if all && active.is_some_and(|n| n <= said.len() as f64) {
        Signal::Fresh { value, at: now }
    } else {
        Signal::Late { value, at: now }
    }
}

/// The share of their KV caches that the sequences of engines hold which decode and have made a pass.
fn kv_usage(tick: &Tick, known: &Known, now: Timestamp) -> Signal<Share> {
    let Some(most) = known.max_kv_tokens else { return Signal::missing(Missing::NotAsked) };
    let of_one = |s: &Snapshot| {
        s.wall_time.filter(|t| *t > 0.0)?;
        s.decode_kv_tokens.filter(|held| (0.0..=MOST).contains(held))
    };
    let held: Vec<f64> = tick.snapshots.iter().filter_map(of_one).collect();
    if held.is_empty() {
        return Signal::missing(unusable("no engine has said what its sequences hold"));
    }
    let value = Share::clamped(held.iter().sum::<f64>() / held.len() as f64 / most);
    // Engines that have not spoken may be idle, or between two passes.
    let decode = tick.pools.iter().find(|(role, _)| *role != Role::Prefill);
    let all = decode.and_then(|(_, counts)| counts.active).is_some_and(|n| n <= held.len() as f64);
    if all { Signal::Fresh { value, at: now } } else { Signal::Late { value, at: now } }
}

fn pool(counts: &Counts, gpus: Option<Gpus>) -> Result<PoolInventory, Signal<PoolInventory>> {
    let Counts { active, starting, draining, non_draining } = *counts;
    let count = |name: &str, value: Option<f64>| {
        let n = given(name, value).map_err(Signal::missing)?;
        if is_count(n) {
            return Ok(Replicas::new(round_to_u32(n)));
        }
        Err(Signal::missing(unusable(format!("{name} {n:?} replicas"))))
    };
    let inventory = PoolInventory {
        desired: count("non_draining", non_draining)?,
        ready: count("active", active)?,
        starting: count("starting", starting)?,
        draining: count("draining", draining)?,
        gpus_per_replica: gpus,
        stuck: Vec::new(),
        starts: Vec::new(),
    };
    let PoolInventory { desired, ready, starting, .. } = &inventory;
    if desired.get() != ready.get() + starting.get() {
        let detail =
            format!("non_draining {desired} is not active {ready} and starting {starting}");
        return Err(Signal::Contradictory { detail });
    }
    Ok(inventory)
}

fn signal<T>(value: Result<T, Missing>, now: Timestamp) -> Signal<T> {
    match value {
        Ok(value) => Signal::Fresh { value, at: now },
        Err(why) => Signal::missing(why),
    }
}

fn given(name: &str, value: Option<f64>) -> Result<f64, Missing> {
    value.ok_or_else(|| unusable(format!("{name} is not given")))
}

fn unusable(detail: impl Into<String>) -> Missing {
    Missing::Unusable { detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known {
            percentile: Percentile::default(),
            max_kv_tokens: Some(100_000.0),
            context_length: Tokens::new(16_384.0),
            gpus: [(Role::Prefill, Gpus::new(2)), (Role::Decode, Gpus::new(4))].into(),
            previous: Some(Timestamp::from_millis(5_000)),
        }
    }

    fn tick() -> Tick {
        let counts = |active, starting| Counts {
            active: Some(active),
            starting: Some(starting),
            draining: Some(1.0),
            non_draining: Some(active + starting),
        };
        Tick {
            now_ms: Some(10_000.0),
            traffic: Figures {
                duration_s: Some(4.0),
                num_req: Some(26.0),
                avg_isl: Some(3010.5),
                avg_osl: Some(251.0),
                shape_count: Some(20.0),
                avg_ttft_ms: Some(61.0),
                ttft_count: Some(21.0),
                avg_itl_ms: Some(8.0),
                itl_count: Some(20.0),
            },
            pools: vec![(Role::Prefill, counts(2.0, 1.0)), (Role::Decode, counts(1.0, 0.0))],
            snapshots: Vec::new(),
        }
    }

    fn traffic_of(change: impl FnOnce(&mut Figures)) -> Traffic {
        let mut tick = tick();
        change(&mut tick.traffic);
        observation(&tick, &known()).traffic
    }

    #[test]
    fn a_whole_tick_is_fresh_through_and_through() {
        let Observation { at, traffic: t, inventory } = observation(&tick(), &known());
        assert_eq!(at, Timestamp::from_millis(10_000));
        assert_eq!(t.window, Duration::from_secs(4));
        assert_eq!(t.arrivals.fresh(), PerSecond::new(6.5).as_ref());
        assert_eq!(t.isl.fresh(), Tokens::new(3010.5).as_ref());
        assert_eq!(t.osl.fresh(), Tokens::new(251.0).as_ref());
        assert_eq!(t.ttft.quantile.fresh(), Millis::new(61.0).as_ref());
        assert_eq!(t.itl.mean.fresh(), Millis::new(8.0).as_ref());
        let prefill = PoolInventory {
            desired: Replicas::new(3),
            ready: Replicas::new(2),
            starting: Replicas::new(1),
            draining: Replicas::new(1),
            gpus_per_replica: Some(Gpus::new(2)),
            stuck: Vec::new(),
            starts: Vec::new(),
        };
        assert_eq!(inventory.pool(Role::Prefill), Some(&prefill));
    }

    #[test]
    fn an_average_of_weight_zero_is_unknown() {
        let t = traffic_of(|f| (f.shape_count, f.ttft_count) = (Some(0.0), Some(0.0)));
        assert!(t.isl.has_no_samples() && t.osl.has_no_samples() && t.ttft.mean.has_no_samples());
        assert!(t.itl.mean.is_fresh());
        let t = traffic_of(|f| (f.avg_ttft_ms, f.ttft_count) = (Some(0.0), None));
        assert_eq!(t.ttft.mean.known(), None, "0 of nobody knows how many");
        let t = traffic_of(|f| f.ttft_count = None);
        assert!(t.ttft.mean.is_fresh(), "the weight alone is not known");
    }

    #[test]
    fn a_window_without_arrivals_is_idle_and_shows_no_lengths() {
        let t = traffic_of(|f| f.num_req = Some(0.0));
        assert_eq!(t.arrivals.fresh(), Some(&PerSecond::ZERO));
        assert!(t.isl.has_no_samples() && t.osl.has_no_samples());
    }

    #[test]
    fn unknown_is_not_zero() {
        let t = traffic_of(|f| *f = Figures::default());
        assert_eq!(t.arrivals.known(), None);
        assert_eq!(t.isl.known(), None);
        let t = traffic_of(|f| f.duration_s = None);
        assert_eq!(t.arrivals.fresh(), PerSecond::new(5.2).as_ref(), "26 since the tick before");
        let mut late = known();
        late.previous = None;
        let mut first = tick();
        first.traffic.duration_s = None;
        assert_eq!(observation(&first, &late).traffic.arrivals.known(), None);
    }

    #[test]
    fn mad_numbers_are_missing_with_their_reason() {
        for mad in [-1.0, 1e300, -1e300] {
            let t = traffic_of(|f| f.num_req = Some(mad));
            let text = t.arrivals.to_string();
            assert_eq!(text, format!("missing: not a usable number (num_req {mad:?})"));
            for change in [
                (|f, x| f.duration_s = x) as fn(&mut Figures, Option<f64>),
                |f, x| (f.avg_isl, f.avg_osl) = (x, x),
                |f, x| f.shape_count = x,
                |f, x| (f.avg_ttft_ms, f.avg_itl_ms) = (x, x),
            ] {
                let t = traffic_of(|f| change(f, Some(mad)));
                let all = t.arrivals.is_fresh() && t.isl.is_fresh() && t.ttft.mean.is_fresh();
                assert!(!all, "{t:?}");
            }
            let mut timeless = tick();
            timeless.now_ms = Some(mad);
            let seen = observation(&timeless, &known());
            assert_eq!(seen.at, Timestamp::from_millis(5_000));
            assert_eq!(seen.traffic.arrivals.known(), None);
        }
        let t = traffic_of(|f| f.avg_isl = Some(20_000.0));
        assert!(matches!(t.isl, Signal::Contradictory { .. }));
    }

    #[test]
    fn replicas_that_do_not_add_up_are_not_believed() {
        let mut tick = tick();
        tick.pools[0].1.non_draining = Some(7.0);
        tick.pools[1].1.active = Some(1.5);
        let pools = observation(&tick, &known()).inventory.pools;
        assert!(matches!(pools[&Role::Prefill], Signal::Contradictory { .. }));
        assert!(matches!(pools[&Role::Decode], Signal::Missing { .. }));
    }

    #[test]
    fn memory_in_use_is_that_of_the_engines_that_decode_and_have_said_so() {
        let said = |wall_time, held| Snapshot {
            wall_time: Some(wall_time),
            decode_kv_tokens: held,
            ..Snapshot::default()
        };
        let seen = |snapshots: Vec<Snapshot>, known: &Known| {
            kv_usage(&Tick { snapshots, ..tick() }, known, Timestamp::from_millis(1))
                .fresh()
                .copied()
        };
        // A prefill engine holds nothing; one between two passes shows nothing.
        let all = vec![
            said(0.1, None),
            said(0.1, Some(40_000.0)),
            said(0.2, Some(60_000.0)),
            said(0.0, Some(0.0)),
        ];
        assert_eq!(seen(all.clone(), &known()), Share::new(0.5));
        assert_eq!(seen(all.clone(), &Known { max_kv_tokens: None, ..known() }), None);
        // One of three has not spoken.
        let of_three = Tick {
            snapshots: all,
            pools: tick()
                .pools
                .into_iter()
                .map(|(role, counts)| (role, Counts { active: Some(3.0), ..counts }))
                .collect(),
            ..tick()
        };
        let signal = kv_usage(&of_three, &known(), Timestamp::from_millis(1));
        assert!(!signal.is_fresh() && signal.known().copied() == Share::new(0.5), "{signal:?}");
        assert_eq!(seen(vec![said(0.1, Some(1e300)), said(0.1, Some(-1.0))], &known()), None);
    }

    #[test]
    fn an_engine_between_passes_says_nothing_of_its_queue() {
        let said = |wall_time, n| Snapshot {
            wall_time: Some(wall_time),
            decode_kv_tokens: None,
            queued_prefill: Some(n),
            queued_decode: Some(1.0),
        };
        let queued = |snapshots: &[Snapshot]| {
            let mut tick = tick();
            tick.snapshots = snapshots.to_vec();
            observation(&tick, &known()).traffic.queued
        };
        assert_eq!(queued(&[]).known(), None);
        assert_eq!(queued(&[said(0.0, 0.0)]).known(), None);
        let three = [said(0.1, 4.0), said(0.2, 0.0), said(0.1, 2.0)];
        assert_eq!(queued(&three).fresh(), Some(&9.0));
        let part = queued(&[said(0.1, 4.0), said(0.0, 0.0), said(0.1, 2.0)]);
        assert_eq!((part.known(), part.is_fresh()), (Some(&8.0), false));
    }
}
