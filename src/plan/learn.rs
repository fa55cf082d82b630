//! What engines really take, over what their profile says; and whether the model is to be trusted.
//!
//! A profile was measured elsewhere: with other versions, without a prefix cache, on other hardware.
//! At each look at a fleet that stands still, the latencies and the use of KV memory that the model expects
//! of it are compared with those that were seen, and one factor each for prefill, decode and memory
//! follows the difference.
//! The expectation has the queue in it, so that the factor says what an engine takes and not how full
//! the fleet was: it does not move with the replicas that it leads to, and at a constant load it comes
//! to rest. (The rival's ratio of mean latencies does move with them, and swings for ever:
//! dynamo-planner.md 1.8, 3.)

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::capacity::Mean;
use super::input::PlanInput;
use super::saturation::Tried;
use super::size::{Expected, SizePool, expected};
use crate::forecast::{Band, Demand, LONGEST_STEP, Work};
use crate::units::{Replicas, Role, Share, Timestamp, seconds_of};

/// Differences of the model itself: within this share of the profile (of its logarithm) the profile
/// stands. A judgement: narrower, and the noise of bursts would move the fleet; wider, and a slower
/// engine would go unnoticed for longer.
const DEAD_BAND: f64 = 0.15;

/// The factors follow with this time constant.
const PACE: Duration = Duration::from_secs(300);

/// Engines that seem faster than their profile are believed after so much evidence only: a prefix
/// cache that empties costs more than the GPUs saved until then.
const BELIEVED_FASTER: Duration = Duration::from_secs(600);

/// One difference counts for no more than this (of a logarithm): an outage is not an engine.
const MOST_AT_ONCE: f64 = 1.0;

/// The factors of engines with a profile of their own, and of those without: a fleet of which nothing
/// is known may be anything.
const WITH_PROFILE: (f64, f64) = (0.25, 4.0);
const WITHOUT_PROFILE: (f64, f64) = (0.02, 50.0);

/// The model is not trusted where it is wrong by more than this on average (of a logarithm), over
/// [`ERROR_PACE`]: techniques.md 3.2, 10.
const NOT_TRUSTED: f64 = std::f64::consts::LN_2;
const ERROR_PACE: Duration = Duration::from_secs(600);

/// A model that was not trusted is again below this part of that: at the edge it would change with
/// every look who decides.
const TRUSTED_AGAIN: f64 = 0.75;

/// So much evidence makes a model out of engines of which there is no profile.
const ENOUGH_WITHOUT_PROFILE: Duration = Duration::from_secs(300);

/// Fewer requests in a window, or sequences that run, than this say nothing of a mean.
const FEWEST: f64 = 10.0;

/// How long a fleet must have stood still: replicas that have just begun to serve have no share of
/// what waits for the others.
const STILL_FOR: Duration = Duration::from_secs(60);

/// A mean TTFT of so many times the target is that of a fleet which is behind with its work, for
/// whatever reason there was: it says something of the engines only where they have not caught up
/// after a long time.
const BEHIND: f64 = 2.0;
const CAUGHT_UP_AFTER: Duration = Duration::from_secs(300);

/// What engines take over what their profile says: 1 is the profile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// Reading prompts.
    pub prefill: f64,
    /// A decode iteration.
    pub decode: f64,
    /// The tokens that a running sequence holds, over those of a mean prompt and half its output: long
    /// prompts have long outputs as a rule, and so are met more often (on six stretches of
    /// `servegen-msmall` 1.3 to 1.7 times); where long prompts have short ones it is less.
    #[serde(default = "as_expected")]
    pub memory: f64,
}

const fn as_expected() -> f64 {
    1.0
}

impl Default for Correction {
    fn default() -> Self {
        Self { prefill: 1.0, decode: 1.0, memory: 1.0 }
    }
}

/// One factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Factor {
    /// Its logarithm.
    log: f64,
    /// Seconds of evidence.
    seconds: f64,
    /// Seconds for which the engines have been faster than their profile without a break.
    faster: f64,
    /// The part of what was seen that the model with the factor does not explain, decayed: sum and
    /// weight, of logarithms.
    error: f64,
    weight: f64,
}

impl Factor {
    /// `difference` is the logarithm of what was seen over what was expected, `answer` how much of a
    /// small step of the factor comes back in it.
    fn learn(&mut self, difference: f64, answer: f64, step: Duration, limits: (f64, f64)) {
        let step = seconds_of(step);
        let difference = difference.clamp(-MOST_AT_ONCE, MOST_AT_ONCE);
        // The first minutes count for more, so that a wrong profile is not planned with for long.
        let pace = seconds_of(PACE).min(3.0 * step + self.seconds);
        let part = 1.0 - (-step / pace).exp();
        self.log += part * difference / answer.max(1.0);
        self.log = self.log.clamp(limits.0.ln(), limits.1.ln());
        self.seconds += step;
        self.faster = if self.log < -DEAD_BAND { self.faster + step } else { 0.0 };
        // While the factor is on its way the difference says nothing of the model.
        if self.seconds > seconds_of(ERROR_PACE) {
            let keep = (-step / seconds_of(ERROR_PACE)).exp();
            self.error = self.error * keep + difference.abs() * step;
            self.weight = self.weight * keep + step;
        }
    }

    /// Compares what was seen, in ms, with what was expected. A fleet of which the model says that it
    /// is overloaded is as slow as it has been so for long.
    fn look(&mut self, seen: f64, model: Mean, step: Duration, limits: (f64, f64)) {
        if !(model.overloaded && seen > model.mean) {
            self.learn((seen / model.mean).ln(), model.answer, step, limits);
        }
    }

    /// What to take the profile times.
    fn factor(&self, measured: bool) -> f64 {
        let band = if measured { DEAD_BAND } else { 0.0 };
        let beyond = self.log.signum() * (self.log.abs() - band).max(0.0);
        if beyond >= 0.0 {
            return beyond.exp();
        }
        let believed = (self.faster / seconds_of(BELIEVED_FASTER)).min(1.0);
        (believed * beyond).exp()
    }

    fn mean_error(&self) -> f64 {
        // A short time of errors is an outage, not a model.
        self.error / self.weight.max(seconds_of(ERROR_PACE) / 2.0)
    }
}

/// What was learned of the engines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    prefill: Factor,
    decode: Factor,
    #[serde(default)]
    memory: Factor,
    /// The last look that taught anything.
    at: Option<Timestamp>,
    /// Whether the model was wrong by too much, and has not come back since.
    #[serde(default)]
    doubted: bool,
    /// The replicas that serve, and since when as many.
    still: BTreeMap<Role, (Replicas, Timestamp)>,
    /// Growth for want of room, while there was no model to be trusted.
    pub(super) tried: BTreeMap<Role, Tried>,
}

/// The model beside what was seen, for the report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// What the profiles are taken times.
    pub correction: Correction,
    /// 1 where the model explains all that was seen, a half where it is wrong by a factor of two on
    /// average, and towards 0.
    pub score: Share,
    /// Whether sizes follow the model; where not, they follow latencies and KV memory.
    pub trusted: bool,
    /// Seconds of evidence.
    pub seconds: f64,
}

impl Learned {
    /// Takes in one look.
    pub(super) fn learn(&mut self, input: &PlanInput<'_>, pools: &[SizePool<'_>], demand: &Demand) {
        let (now, traffic) = (input.now, &input.observation.traffic);
        let Some(ready) = self.still(input) else { return };
        let (Some(rate), Some(isl), Some(osl)) =
            (traffic.arrivals.fresh(), traffic.isl.fresh(), traffic.osl.fresh())
        else {
            return;
        };
        if rate.get() * seconds_of(traffic.window) < FEWEST {
            return;
        }
        let step = match self.at {
            Some(at) if now <= at => {
                self.at = Some(now);
                return;
            }
            Some(at) if now.since(at) <= LONGEST_STEP => now.since(at),
            _ => input.intervals.adjustment,
        };
        self.at = Some(now);
        let mut present =
            Demand { rate: Band::certain(rate.get()), work: Work::default(), ..*demand };
        (present.isl.mean, present.osl.mean) = (*isl, *osl);
        let Expected { ttft, itl, kv_usage } = expected(pools, &ready, &input.sla, &present);
        let limits =
            if input.pools.iter().all(|p| p.measured) { WITH_PROFILE } else { WITHOUT_PROFILE };
        let seen = |ms: f64| (ms > 0.0).then_some(ms);
        let late = |ms: f64| ms > BEHIND * input.sla.ttft.get();
        let first = traffic.ttft.mean.fresh().and_then(|ms| seen(ms.get()));
        let is_behind = first.is_some_and(late) && self.stood_for(now) < CAUGHT_UP_AFTER;
        if let (Some(seen), Some(model)) = (first.filter(|_| !is_behind), ttft) {
            self.prefill.look(seen, model, step, limits);
        }
        if let (Some(seen), Some(model)) =
            (traffic.itl.mean.fresh().and_then(|ms| seen(ms.get())), itl)
        {
            self.decode.look(seen, model, step, limits);
        }
        // By Little's law; what few sequences hold at one moment says nothing of a mean.
        let running = traffic.itl.mean.fresh().map(|itl| rate.get() * osl.get() * itl.get() / 1e3);
        let used = traffic.kv_usage.fresh().map(|share| share.get());
        let used = used.filter(|_| !is_behind && running.is_some_and(|n| n >= FEWEST));
        if let (Some(seen), Some(model)) = (used.filter(|share| *share > 0.0), kv_usage) {
            self.memory.look(seen, model, step, limits);
        }
        self.judge();
    }

    /// How far the model is from what was seen.
    fn error(&self) -> f64 {
        self.prefill.mean_error().max(self.decode.mean_error())
    }

    fn judge(&mut self) {
        let most = NOT_TRUSTED * if self.doubted { TRUSTED_AGAIN } else { 1.0 };
        self.doubted = self.error() > most;
    }

    /// The replicas that serve, where all are known and have stood still for long enough.
    fn still(&mut self, input: &PlanInput<'_>) -> Option<Vec<Replicas>> {
        let now = input.now;
        let mut all = Some(Vec::new());
        for pool in &input.pools {
            let seen = input.observation.inventory.pools.get(&pool.role).and_then(|s| s.fresh());
            let Some(seen) = seen else {
                all = None;
                continue;
            };
            let since = match self.still.get(&pool.role) {
                Some((n, since)) if *n == seen.ready && *since <= now => *since,
                Some(_) => now,
                // What a planner that has just been started finds stood there before.
                None => now.minus(STILL_FOR),
            };
            self.still.insert(pool.role, (seen.ready, since));
            let enough = now.since(since) >= STILL_FOR && seen.ready.get() > 0;
            all = all.filter(|_| enough);
            if let Some(all) = &mut all {
                all.push(seen.ready);
            }
        }
        all
    }

    /// The factors as they are learned, inside the dead band as well: what is compared with what is
    /// seen.
    pub(super) fn raw(&self) -> Correction {
        let of = |factor: &Factor| factor.log.exp();
        Correction {
            prefill: of(&self.prefill),
            decode: of(&self.decode),
            memory: of(&self.memory),
        }
    }

    /// For how long all pools have stood still.
    pub(super) fn stood_for(&self, now: Timestamp) -> Duration {
        self.still.values().map(|(_, since)| now.since(*since)).min().unwrap_or_default()
    }

    /// What the profiles are taken times.
    pub(super) fn correction(&self, measured: bool) -> Correction {
        let of = |factor: &Factor| factor.factor(measured);
        // That sequences hold more is believed as it is: no profile says anything of it.
        let memory = self.memory.factor(self.memory.log < 0.0);
        Correction { prefill: of(&self.prefill), decode: of(&self.decode), memory }
    }

    /// The model beside what was seen; `measured` says whether every pool has a profile of its own.
    pub(super) fn trust(&self, measured: bool) -> Trust {
        // Of a latency that nobody measures there is never any evidence.
        let (less, more) = (
            self.prefill.seconds.min(self.decode.seconds),
            self.prefill.seconds.max(self.decode.seconds),
        );
        let alone = less <= 0.0 && more > 3.0 * seconds_of(ENOUGH_WITHOUT_PROFILE);
        let seconds = if alone { more } else { less };
        let known = measured || seconds >= seconds_of(ENOUGH_WITHOUT_PROFILE);
        Trust {
            correction: self.correction(measured),
            score: Share::clamped((-self.error()).exp()),
            trusted: known && !self.doubted,
            seconds,
        }
    }
}

impl Default for Trust {
    /// Of a planner that has a profile and has seen nothing.
    fn default() -> Self {
        Learned::default().trust(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(10);

    /// A queue of one engine whose service takes `truth` times the model's, at the model's load.
    fn mean(load: f64, factor: f64) -> (f64, f64) {
        let used = load * factor;
        if used >= 0.95 {
            (f64::INFINITY, 20.0)
        } else {
            (factor / (1.0 - used), 1.0 / (1.0 - used))
        }
    }

    fn after(ticks: u32, truth: f64, load: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut factor = Factor::default();
        let mut course = Vec::new();
        for _ in 0..ticks {
            let load = load(factor.factor(true));
            let (seen, _) = mean(load, truth);
            let seen = if seen.is_finite() { seen } else { 100.0 };
            let (model, answer) = mean(load, factor.log.exp());
            factor.learn((seen / model).ln(), answer, TICK, WITH_PROFILE);
            course.push(factor.log.exp());
        }
        course
    }

    #[test]
    fn a_factor_comes_to_rest_at_the_truth_whatever_the_fleet_does_with_it() {
        for truth in [0.5, 0.8, 1.0, 1.5, 2.5] {
            // The fleet follows the factor: so many replicas as it says, whole ones.
            let fleet = |factor: f64| 10.0 / (10.0 * factor / 0.7).ceil();
            let course = after(400, truth, fleet);
            let end = &course[300..];
            let (low, high) =
                end.iter().fold((f64::MAX, 0.0_f64), |(l, h), x| (l.min(*x), h.max(*x)));
            assert!(high / low < 1.01, "{truth}: no limit cycle, {low} to {high}");
            assert!((low / truth - 1.0).abs() < 0.05, "{truth}: {low}");
        }
    }

    #[test]
    fn a_profile_that_is_right_stands_and_faster_engines_are_believed_later_than_slower_ones() {
        let mut noisy = Factor::default();
        for i in 0..200 {
            noisy.learn(if i % 2 == 0 { 0.3 } else { -0.3 }, 1.0, TICK, WITH_PROFILE);
        }
        assert_eq!(noisy.factor(true), 1.0);
        let (mut faster, mut slower) = (Factor::default(), Factor::default());
        for _ in 0..12 {
            faster.learn(-0.7 - faster.log, 1.0, TICK, WITH_PROFILE);
            slower.learn(0.7 - slower.log, 1.0, TICK, WITH_PROFILE);
        }
        assert!(slower.factor(true) > 1.4 && faster.factor(true) > 0.85, "{slower:?} {faster:?}");
    }

    #[test]
    fn a_model_that_explains_nothing_is_not_trusted() {
        let mut all = Learned::default();
        assert!(all.trust(true).trusted && !all.trust(false).trusted);
        for i in 0..120 {
            // One time ten times as slow as expected, then ten times as fast.
            let wrong = if i % 2 == 0 { 2.3 } else { -2.3 };
            all.prefill.learn(wrong, 1.0, TICK, WITH_PROFILE);
            all.decode.learn(0.0, 1.0, TICK, WITH_PROFILE);
            all.judge();
        }
        let trust = all.trust(true);
        assert!(!trust.trusted && trust.score.get() < 0.5, "{trust:?}");
        // It comes back when it explains clearly more than what made it doubted, and for good.
        let mut course = Vec::new();
        for i in 0..300 {
            let wrong = if i % 2 == 0 { 0.5 } else { -0.5 };
            all.prefill.learn(wrong, 1.0, TICK, WITH_PROFILE);
            all.judge();
            course.push((all.trust(true).trusted, all.error()));
        }
        let back = course.iter().position(|(trusted, _)| *trusted).unwrap();
        assert!(course[back].1 <= TRUSTED_AGAIN * NOT_TRUSTED, "{:?}", course[back]);
        assert!(course[back - 1].1 < NOT_TRUSTED, "{:?}", course[back - 1]);
        assert!(course[back..].iter().all(|(trusted, _)| *trusted), "it goes back and forth");
    }
}
