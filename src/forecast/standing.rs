//! How much to keep standing: rules that are scored by what they would have cost.
//!
//! A replica that is asked for now serves one start-up later, and the load of that moment is not
//! known. What serves such loads is room that stands already: the highest level of the last minutes,
//! times a margin, up to a roof over the highest level of the day. Which minutes and which margin
//! pays is a property of the service: steady ones want little of either, on-off ones the whole peak.
//! So every rule of a given grid is played beside the real fleet, on what was really asked, with its
//! own queue: it costs the capacity that it would have held, and the requests that would have waited
//! too long at the price of a late request. The rule that would have cost least is followed; or a
//! [fixed fleet](super::fixed), where that cost less still and made no more late.
//!
//! This is expert advice with decision cost (techniques.md 3.1, 3 and 6) over the maximum of the
//! window that a replica is held for; the start-up time, the hold and the largest level within the
//! horizon (lessons.md b.1, b.2) enter by being played, not by a formula.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fixed::{Fixed, Regret};
use super::fleet::{Account, Came, Engine, Fleet};
use super::prior::PRIOR;
use crate::units::{Share, Timestamp, seconds_of};

/// For how long a level is remembered, minutes.
pub(super) const HOLDS: [u64; 6] = [3, 5, 10, 20, 40, 80];
/// Times the highest level within the hold.
pub(super) const MARGINS: [f64; 6] = [1.0, 1.1, 1.2, 1.3, 1.5, 1.8];
/// Never more than this many times the highest level of the day: room above an all-time high is
/// worth less than room below it (lessons.md e).
pub(super) const ROOFS: [f64; 4] = [1.0, 1.1, 1.25, f64::INFINITY];

/// What is averaged for a level: shorter takes noise for a peak, longer sees a step later.
const LEVEL: Duration = Duration::from_secs(20);

/// Levels this close together are remembered as one, the higher one.
const GRAIN: Duration = Duration::from_secs(15);

/// After this time what a rule cost weighs `1/e`. Steps that hurt come every ten minutes to every
/// hour (lessons.md e): shorter forgets them, longer is slow to see another kind of day.
const MEMORY: Duration = Duration::from_secs(2 * 3600);

/// After this time the highest level counts for `1/e`: a day's peak still stands the next day.
const DAY: Duration = Duration::from_secs(48 * 3600);

/// How much experience the prior counts for.
const PRIOR_SECONDS: f64 = 900.0;

/// Of the late requests of the prior: its rules had no whole engines and no room for chance. All of
/// them, and for twice as long, were 4 % more GPU-hours for 0.16 points of good requests on D1 to D8 of
/// docs/results.md.
const PRIOR_LATE: f64 = 0.5;

/// The share of the time of which it must be known what was followed for a regret to be told.
const KNOWN: f64 = 0.5;

/// A fixed fleet begins as this many times as dear as the best rule was elsewhere: it is followed on
/// experience only. At 1 it was followed too soon (98.6 % good at 0.98 times the GPU-hours of the best
/// static fleets on D1 to D8 of docs/results.md), at this 98.8 at 0.97, without fixed fleets 98.75 at
/// 0.99; where it might make more late than the rule as well, 98.7 at 0.97.
const FIXED_PRIOR: f64 = 1.1;

/// Nothing is asked for on the first readings: a window that began before its first sample shows a
/// part of what comes.
const SETTLING: Duration = Duration::from_secs(60);

/// A reading this much older than the last one comes from a clock that was set back; one less old
/// was overtaken: readings come in their order, and late by no more than the deadline of a query.
pub const SET_BACK: Duration = Duration::from_secs(60);

/// A longer gap between two readings than this is no experience: nobody knows what came.
pub const LONGEST_STEP: Duration = Duration::from_secs(300);

/// One rule: how much to hold, from the levels seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The highest level of this time counts.
    pub hold: Duration,
    /// It is taken times this.
    pub margin: f64,
    /// At most this many times the highest level of the day; `None` without a roof.
    pub roof: Option<f64>,
}

/// What a rule asks for, and how well it did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The present level of the work.
    pub level: f64,
    /// The level to hold capacity for.
    pub high: f64,
    /// Whether a fixed fleet says so, since it cost less than any rule: its level, or the present
    /// one where that is higher.
    #[serde(default)]
    pub fixed: bool,
    /// The rule that says so, or would.
    pub rule: Rule,
    /// The share of requests that it would have made late so far, the prior included.
    pub late: Share,
    /// What was followed beside the best fixed fleet; `None` before anything was accounted.
    #[serde(default)]
    pub regret: Option<Regret>,
}

/// What surrounds the rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lead {
    /// From a change of the load until a replica that was asked for because of it serves.
    pub time: Duration,
    /// The wait after which a request is late.
    pub patience: Duration,
    /// The longest that capacity is held after it was last needed.
    pub longest_hold: Duration,
    /// What one engine takes: fleets are of whole engines.
    pub engine: Engine,
}

/// Bases of the rules at one moment: the highest level within each hold, and that of the day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bases {
    at: Timestamp,
    holds: [f64; HOLDS.len()],
    day: f64,
    /// What was asked for.
    #[serde(default)]
    followed: Option<f64>,
}

/// The rules over one series of work, and what each would have cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Newest readings, at least [`LEVEL`] of them: moment, seconds, work in them.
    recent: VecDeque<(Timestamp, f64, f64)>,
    /// Levels of the longest hold, one each [`GRAIN`].
    levels: VecDeque<(Timestamp, f64)>,
    /// Bases since one lead time ago.
    past: VecDeque<Bases>,
    accounts: Vec<Account>,
    #[serde(default)]
    fixed: Fixed,
    /// The highest level of the day, as of a moment.
    day: Option<(Timestamp, f64)>,
    /// When the first reading since a gap came.
    since: Option<Timestamp>,
    /// Seconds and requests accounted, decayed.
    seconds: f64,
    requests: f64,
}

impl Rules {
    /// Takes in what one reading showed: `rate` of work per second and `requests` per second over
    /// the time since the one before (or over `window`, for the first).
    pub fn learn(&mut self, at: Timestamp, window: Duration, rate: f64, requests: f64, lead: Lead) {
        if !(rate.is_finite() && rate >= 0.0 && requests.is_finite() && requests >= 0.0) {
            return;
        }
        let mut since = self.recent.back().map(|(t, ..)| *t);
        if let Some(last) = since.filter(|t| at <= *t) {
            if last.since(at) < SET_BACK {
                return;
            }
            // The clock was set back: what was learned stays, what has a date goes.
            self.recent.clear();
            self.levels.clear();
            self.past.clear();
            since = None;
        }
        let step = since.map_or(window, |t| at.since(t));
        let gap = step > LONGEST_STEP;
        let seconds = seconds_of(if gap { window } else { step });
        if gap {
            self.recent.clear();
            self.past.clear();
            for account in self.accounts.iter_mut().chain(self.fixed.all_mut()) {
                account.backlog = 0.0;
            }
        }
        if gap || since.is_none() {
            self.since = Some(at);
        }
        self.recent.push_back((at, seconds, rate * seconds));
        // A rate over a long window is smooth as it is.
        let wanted = seconds_of(LEVEL) - seconds_of(window);
        while self.recent.len() > 1
            && self.recent.iter().skip(2).map(|(_, s, _)| s).sum::<f64>() >= wanted
        {
            self.recent.pop_front();
        }
        if !gap && since.is_some() {
            self.account(at, seconds, rate, requests, lead);
        }
        self.remember(at, lead);
    }

    /// The present level of the work, per second; `None` before anything was learned.
    #[must_use]
    pub fn level(&self) -> Option<f64> {
        let seconds: f64 = self.recent.iter().map(|(_, s, _)| s).sum();
        let work: f64 = self.recent.iter().map(|(.., w)| w).sum();
        (seconds > 0.0).then(|| work / seconds)
    }

    /// What to hold where a late request in a thousand costs `price` thousandths of the fleet.
    #[must_use]
    pub fn standing(&self, price: f64) -> Option<Standing> {
        let level = self.level()?;
        let now = self.past.back()?;
        let (mut best, mut least) = (0, f64::INFINITY);
        for (i, _) in rules().enumerate() {
            let (cost, late) = self.score(i);
            let score = cost + price * late;
            if score < least {
                (best, least) = (i, score);
            }
        }
        let (hold, margin, roof) = rule(best);
        let (_, late) = self.score(best);
        let fixed = self.fixed_instead(best, least, price);
        Some(Standing {
            level,
            high: fixed.map_or_else(
                || asked(now.holds[hold], now.day, margin, roof),
                |fixed| fixed.max(level),
            ),
            fixed: fixed.is_some(),
            regret: self.regret(price),
            rule: Rule {
                hold: Duration::from_secs(60 * HOLDS[hold]),
                margin,
                roof: roof.is_finite().then_some(roof),
            },
            late: Share::clamped(late),
        })
    }

    /// The level of a fixed fleet that cost less than the best rule and made no more late: never to
    /// scale at all is what the rules must beat.
    fn fixed_instead(&self, best: usize, least: f64, price: f64) -> Option<f64> {
        let (prior_cost, prior_late) = prior(best);
        let before = FIXED_PRIOR * (prior_cost + price * prior_late);
        let (_, most_late) = self.score(best);
        let scored = self.fixed.all().filter_map(|(level, account)| {
            let (cost, late) = self.was(account)?;
            let score = self.with_prior(before, cost + price * late);
            (score < least && late <= most_late).then_some((level, score))
        });
        scored.min_by(|x, y| x.1.total_cmp(&y.1)).map(|(level, _)| level)
    }

    /// The mean cost of a rule over that of the first, and its share of late requests.
    fn score(&self, i: usize) -> (f64, f64) {
        let (prior_cost, prior_late) = prior(i);
        match self.accounts.get(i).and_then(|account| self.was(account)) {
            Some((cost, late)) => {
                (self.with_prior(prior_cost, cost), self.with_prior(prior_late, late))
            }
            None => (prior_cost, prior_late),
        }
    }

    fn with_prior(&self, prior: f64, seen: f64) -> f64 {
        (PRIOR_SECONDS * prior + self.seconds * seen) / (PRIOR_SECONDS + self.seconds)
    }

    /// What was followed beside the fixed fleet that would have cost least.
    pub(super) fn regret(&self, price: f64) -> Option<Regret> {
        // What was followed before somebody noted it is not known: of the rest it is all.
        let known = self.fixed.seconds / self.seconds;
        if known.is_nan() || known < KNOWN {
            return None;
        }
        let (cost, followed_late) = self.was(&self.fixed.followed)?;
        let (cost, followed_late) = (cost / known, followed_late / known);
        let scored = self.fixed.all().filter_map(|(level, account)| {
            let (cost, late) = self.was(account)?;
            Some((level, cost, late, cost + price * late))
        });
        let (level, fixed_cost, late, least) = scored.min_by(|x, y| x.3.total_cmp(&y.3))?;
        Some(Regret {
            level,
            late: Share::clamped(late),
            followed_late: Share::clamped(followed_late),
            capacity: cost / fixed_cost,
            regret: (cost + price * followed_late) / least - 1.0,
        })
    }

    /// The mean cost of an account over that of the first rule, and its share of late requests.
    fn was(&self, account: &Account) -> Option<(f64, f64)> {
        let first = self.accounts.first()?.cost;
        (first > 0.0 && self.requests > 0.0)
            .then(|| (account.cost / first, account.late / self.requests))
    }

    /// Lets every rule serve what came with what it would have had.
    fn account(&mut self, at: Timestamp, seconds: f64, rate: f64, requests: f64, lead: Lead) {
        let Some(oldest) = self.past.front() else { return };
        let settled = self.since.is_some_and(|since| oldest.at.since(since) >= SETTLING);
        if at.since(oldest.at) < lead.time || !settled {
            return;
        }
        let Some(now) = self.past.back().copied() else { return };
        // What serves was asked for one lead time ago, and never given back since.
        let mut held = *oldest;
        for bases in &self.past {
            for (least, base) in held.holds.iter_mut().zip(bases.holds) {
                *least = least.min(base);
            }
            held.day = held.day.min(bases.day);
            held.followed = held.followed.zip(bases.followed).map(|(x, y)| x.min(y));
        }
        self.accounts.resize(rules().count(), Account::default());
        let keep = (-seconds / seconds_of(MEMORY)).exp();
        let before = (self.seconds, self.requests);
        self.seconds = self.seconds * keep + seconds;
        self.requests = self.requests * keep + requests * seconds;
        let patience = seconds_of(lead.patience);
        let level = self.level().unwrap_or(rate);
        let most = if lead.engine.most.is_finite() { lead.engine.most.max(0.0) } else { 0.0 };
        let engine = Engine { most, used: lead.engine.used.clamp(0.1, 0.99) };
        let came = Came { seconds, rate, requests, level, patience, keep, used: engine.used };
        // Rules next to each other often come to the same level, and levels to the same engines.
        let (mut of_held, mut of_now) = ((0.0, Fleet::new(&came, 0.0)), (0.0, 0.0));
        for (account, (hold, margin, roof)) in self.accounts.iter_mut().zip(rules()) {
            let level = asked(held.holds[hold], held.day, margin, roof);
            if differs(level, of_held.0) {
                let capacity = engine.fleet(level);
                let same = !differs(capacity, of_held.1.capacity);
                of_held = (level, if same { of_held.1 } else { Fleet::new(&came, capacity) });
            }
            let level = asked(now.holds[hold], now.day, margin, roof);
            if differs(level, of_now.0) {
                of_now = (level, engine.fleet(level));
            }
            account.serve(&came, of_held.1, of_now.1);
        }
        self.fixed.serve(&came, before, now.day, engine);
        let followed = held.followed.zip(now.followed);
        let followed = followed.map(|(held, now)| (engine.fleet(held), engine.fleet(now)));
        self.fixed.follow(&came, followed);
    }

    /// Notes what is asked for now.
    pub fn follow(&mut self, high: f64) {
        if let Some(now) = self.past.back_mut() {
            now.followed = high.is_finite().then_some(high);
        }
    }

    fn remember(&mut self, at: Timestamp, lead: Lead) {
        let Some(level) = self.level() else { return };
        match self.levels.back_mut() {
            Some((since, highest)) if at.since(*since) < GRAIN => *highest = highest.max(level),
            _ => self.levels.push_back((at, level)),
        }
        let longest = Duration::from_secs(60 * HOLDS[HOLDS.len() - 1]);
        while self.levels.front().is_some_and(|(t, _)| at.since(*t) > longest) {
            self.levels.pop_front();
        }
        // A replica cannot be held for less than it takes to get it back.
        let shortest = lead.time.saturating_mul(2);
        let ages = HOLDS.map(|m| Duration::from_secs(60 * m).max(shortest).min(lead.longest_hold));
        // From the newest level back, each hold takes the highest one of its time. The present level
        // counts however short the hold.
        let mut holds = [level; HOLDS.len()];
        let (mut highest, mut done) = (level, 0);
        for (t, level) in self.levels.iter().rev() {
            let age = at.since(*t);
            while done < HOLDS.len() && age > ages[done] {
                holds[done] = highest;
                done += 1;
            }
            highest = highest.max(*level);
        }
        holds[done..].fill(highest);
        let day = self.day.map_or(level, |(since, day)| {
            (day * (-seconds_of(at.since(since)) / seconds_of(DAY)).exp()).max(level)
        });
        self.day = Some((at, day));
        self.past.push_back(Bases { at, holds, day, followed: None });
        while self.past.get(1).is_some_and(|p| at.since(p.at) >= lead.time) {
            self.past.pop_front();
        }
    }
}

/// What a rule cost and made late elsewhere.
fn prior(i: usize) -> (f64, f64) {
    let (cost, late) = PRIOR[i / ROOFS.len()][i % ROOFS.len()];
    (cost, PRIOR_LATE * late)
}

/// Indices and values of a rule in the grid.
fn rule(i: usize) -> (usize, f64, f64) {
    let (rest, roof) = (i / ROOFS.len(), i % ROOFS.len());
    (rest / MARGINS.len(), MARGINS[rest % MARGINS.len()], ROOFS[roof])
}

fn rules() -> impl Iterator<Item = (usize, f64, f64)> {
    (0..HOLDS.len() * MARGINS.len() * ROOFS.len()).map(rule)
}

/// Whether two numbers are not the very same.
fn differs(x: f64, y: f64) -> bool {
    x.to_bits() != y.to_bits()
}

fn asked(base: f64, day: f64, margin: f64, roof: f64) -> f64 {
    (base * margin).min(day * roof)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_secs(10);
    const LEAD: Lead = Lead {
        time: Duration::from_secs(70),
        patience: Duration::from_secs(2),
        longest_hold: Duration::from_secs(4800),
        engine: Engine { most: 0.0, used: 1.0 / 1.2 },
    };
    /// A promise of 99 %.
    const PRICE: f64 = 40.0;

    /// Learns two hours of a load, one reading each [`TICK`].
    fn learnt(load: impl Fn(f64) -> f64) -> Rules {
        let mut rules = Rules::default();
        for i in 0..720_u32 {
            let at = Timestamp::from_millis(i64::from(i) * 10_000);
            rules.learn(at, 2 * TICK, 1000.0 * load(f64::from(i) * 10.0), 10.0, LEAD);
        }
        rules
    }

    fn after(load: impl Fn(f64) -> f64) -> Standing {
        learnt(load).standing(PRICE).unwrap()
    }

    #[test]
    fn a_steady_load_needs_no_more_than_its_queue_does() {
        let steady = after(|_| 10.0);
        assert_eq!(steady.level, 10_000.0);
        // Room for chance: at the level itself this fleet makes a third late.
        assert!(steady.high <= 15_000.0, "{steady:?}");
    }

    #[test]
    fn a_load_that_stops_and_comes_back_is_held_for_as_long_as_it_stays_away() {
        // Ten minutes on, twenty off; off at the end.
        let on_off = after(|t| if t % 1800.0 < 600.0 { 10.0 } else { 0.0 });
        assert_eq!(on_off.level, 0.0);
        assert!(on_off.rule.hold >= Duration::from_secs(1200), "{on_off:?}");
        assert!(on_off.high >= 9_000.0, "{on_off:?}");
        // The same peak once, as a slow wave: it may go down with it.
        let wave = after(|t| 5.0 - 5.0 * (t / 7200.0 * std::f64::consts::TAU).cos());
        assert!(wave.high < 5_000.0, "{wave:?}");
    }

    #[test]
    fn a_margin_is_learnt_from_steps_that_it_would_have_served() {
        // Every five minutes half as much again for two minutes.
        let steps = after(|t| if t % 300.0 < 120.0 { 15.0 } else { 10.0 });
        assert!(steps.high >= 14_000.0, "{steps:?}");
        assert!(steps.late.get() < 0.02, "{steps:?}");
    }

    #[test]
    fn a_cheaper_promise_holds_less() {
        let rules = learnt(|t| if t % 1800.0 < 120.0 { 20.0 } else { 10.0 });
        let of = |price| rules.standing(price).unwrap();
        assert!(of(2.0).high < of(40.0).high, "{:?} {:?}", of(2.0), of(40.0));
    }

    #[test]
    fn a_rise_is_in_the_level_within_two_readings() {
        let mut rules = learnt(|_| 10.0);
        let at = |i: i64| Timestamp::from_millis(7_200_000 + i * 10_000);
        rules.learn(at(0), 2 * TICK, 20_000.0, 20.0, LEAD);
        let seen = rules.standing(PRICE).unwrap();
        assert!(seen.high >= 20_000.0, "{seen:?}");
    }

    #[test]
    fn a_gap_is_no_experience_and_a_reading_that_was_overtaken_none_either() {
        let mut rules = learnt(|_| 10.0);
        let before = rules.clone();
        rules.learn(Timestamp::from_millis(7_185_000), TICK, 1e6, 1e3, LEAD);
        assert_eq!(rules, before, "overtaken");
        let seconds = rules.seconds;
        rules.learn(Timestamp::from_millis(9_000_000), TICK, 10_000.0, 10.0, LEAD);
        assert_eq!(rules.seconds, seconds, "half an hour of which nothing is known");
        assert_eq!(rules.level(), Some(10_000.0));
    }

    #[test]
    fn the_days_peak_outlives_a_gap() {
        let mut rules = learnt(|t| if t < 6600.0 { 10.0 } else { 4.0 });
        let before = rules.standing(PRICE).unwrap();
        rules.learn(Timestamp::from_millis(7_200_000 + 360_000), TICK, 4000.0, 10.0, LEAD);
        let seen = rules.standing(PRICE).unwrap();
        assert!(before.high > 5_000.0 && seen.high > 5_000.0, "{before:?} {seen:?}");
    }

    #[test]
    fn without_a_hold_the_present_level_is_what_counts() {
        let mut rules = Rules::default();
        for i in 0..30 {
            let lead = Lead { longest_hold: Duration::ZERO, ..LEAD };
            rules.learn(Timestamp::from_millis(i * 10_000), TICK, 1000.0, 1.0, lead);
            let seen = rules.standing(PRICE).unwrap();
            assert!(seen.high >= 1000.0, "{i}: {seen:?}");
        }
    }

    /// What follows the rules for two hours, and what it says at the end.
    fn followed(load: impl Fn(f64) -> f64, asks: impl Fn(Standing) -> f64) -> Standing {
        let mut rules = Rules::default();
        for i in 0..720_u32 {
            let at = Timestamp::from_millis(i64::from(i) * 10_000);
            rules.learn(at, TICK, 1000.0 * load(f64::from(i) * 10.0), 10.0, LEAD);
            let high = asks(rules.standing(PRICE).unwrap());
            rules.follow(high);
        }
        rules.standing(PRICE).unwrap()
    }

    /// What is held after so many hours of a load.
    fn after_hours(hours: u32, load: impl Fn(f64) -> f64) -> Standing {
        let mut rules = Rules::default();
        for i in 0..hours * 360 {
            let at = Timestamp::from_millis(i64::from(i) * 10_000);
            rules.learn(at, TICK, 1000.0 * load(f64::from(i) * 10.0), 10.0, LEAD);
        }
        rules.standing(PRICE).unwrap()
    }

    #[test]
    fn what_was_followed_is_held_against_the_best_fixed_fleet() {
        let wave = |t: f64| 6.0 - 4.0 * (t / 3600.0 * std::f64::consts::TAU).cos();
        let ours = followed(wave, |s| s.high).regret.unwrap();
        assert!(
            ours.regret < 0.0 && ours.capacity < 1.0,
            "a slow wave is worth following: {ours:?}"
        );
        let twice = followed(wave, |_| 40_000.0).regret.unwrap();
        assert!(twice.regret > 1.0 && twice.capacity > 2.0, "{twice:?}");
        let half = followed(wave, |_| 5_000.0).regret.unwrap();
        assert!(half.followed_late.get() > 0.3 && half.regret > 1.0, "{half:?}");
        assert!((8_000.0..16_000.0).contains(&ours.level), "the peak is 10,000: {ours:?}");
        assert_eq!(
            learnt(wave).standing(PRICE).unwrap().regret,
            None,
            "nobody said what was asked"
        );
    }

    #[test]
    fn a_regret_is_of_the_time_of_which_it_is_known_what_was_followed() {
        let mut rules = learnt(|_| 10.0);
        for i in 720..1440_u32 {
            let at = Timestamp::from_millis(i64::from(i) * 10_000);
            rules.learn(at, TICK, 10_000.0, 10.0, LEAD);
            rules.follow(20_000.0);
        }
        let regret = rules.standing(PRICE).unwrap().regret.unwrap();
        let twice = followed(|_| 10.0, |_| 20_000.0).regret.unwrap();
        assert!((regret.regret - twice.regret).abs() < 0.02, "{regret:?} {twice:?}");
    }

    #[test]
    fn a_fixed_fleet_is_followed_where_no_rule_does_better() {
        // A peak that comes once an hour and a half, longer ago than any rule remembers, and is gone
        // before a replica could start.
        let spikes = |t: f64| if t % 5400.0 < 60.0 { 30.0 } else { 10.0 };
        let standing = followed(spikes, |s| s.high);
        let regret = standing.regret.unwrap();
        assert!(regret.regret < 0.1, "not worse than the best fixed fleet: {standing:?}");
        let days: Vec<bool> = (1..=6).map(|hours| after_hours(hours, spikes).fixed).collect();
        assert!(days.contains(&true), "it is followed itself: {days:?}");
        let wave = |t: f64| 6.0 - 4.0 * (t / 3600.0 * std::f64::consts::TAU).cos();
        assert!(!after_hours(4, wave).fixed, "a slow wave is worth following");
        let flat = followed(|_| 10.0, |s| s.high);
        assert!(flat.regret.unwrap().regret < 0.1, "{flat:?}");
    }

    #[test]
    fn a_planner_just_started_follows_what_served_other_services() {
        let mut rules = Rules::default();
        assert_eq!(rules.standing(PRICE), None);
        rules.learn(Timestamp::from_millis(0), TICK, 1000.0, 1.0, LEAD);
        let first = rules.standing(PRICE).unwrap();
        assert!((1.05..=2.0).contains(&(first.high / 1000.0)), "{first:?}");
    }

    proptest! {
        #[test]
        fn what_is_held_is_finite_and_never_below_the_level(
            readings in prop::collection::vec((0_i64..400, 0.0..1e6_f64, 0.0..1e3_f64), 1..200),
            (price, hold) in (0.1..1000.0_f64, 0_u64..6000),
        ) {
            let lead = Lead { longest_hold: Duration::from_secs(hold), ..LEAD };
            let (mut rules, mut now) = (Rules::default(), 0);
            for (step, rate, requests) in readings {
                now += step * 1000;
                rules.learn(Timestamp::from_millis(now), TICK, rate, requests, lead);
                let seen = rules.standing(price).unwrap();
                prop_assert!(seen.high.is_finite() && seen.high >= seen.level, "{seen:?}");
            }
            let text = serde_json::to_string(&rules).unwrap();
            prop_assert_eq!(serde_json::from_str::<Rules>(&text).unwrap().standing(price), rules.standing(price));
        }

        #[test]
        fn numbers_that_are_none_teach_nothing(rate in prop::num::f64::ANY, n in prop::num::f64::ANY) {
            let mut rules = Rules::default();
            rules.learn(Timestamp::from_millis(0), TICK, rate, n, LEAD);
            if let Some(seen) = rules.standing(PRICE) {
                prop_assert!(seen.level >= 0.0, "{seen:?}");
            }
        }
    }
}
