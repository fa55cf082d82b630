//! Fixed fleets beside what is followed: what it would have cost never to scale at all.
//!
//! Whoever scales must at least not do worse than the best count that somebody could have left
//! standing. So fleets of fixed levels serve what comes, by the same account as the rules
//! ([`standing`](super::standing)), and so does the level that was followed: what the forecast asked
//! for, before limits, backlogs and whole fleets had their say. The difference of the two scores is
//! the rolling regret.

use serde::{Deserialize, Serialize};

use super::fleet::{Account, Came, Engine, Fleet};
use crate::units::Share;

/// Neighbouring levels differ by this factor: less than one engine of a fleet of ten.
const STEP: f64 = 1.1;

/// The lowest level looked at, over the highest of the day, and how many there are: up to 1.9 times
/// that. A fleet below the half makes too many late for any promise, one above twice it wastes half of
/// itself.
const FROM: f64 = 0.5;
const LEVELS: usize = 15;

/// Fleets of fixed levels, and the one that was followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Fixed {
    /// The power of [`STEP`] that the first account stands for.
    lowest: i32,
    accounts: Vec<Account>,
    /// The levels that were followed.
    pub(super) followed: Account,
    /// Seconds for which it is known which they were, decayed.
    pub(super) seconds: f64,
}

/// What was followed beside the best fixed fleet of the recent past.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Regret {
    /// The level that the best fixed fleet is sized for.
    pub level: f64,
    /// The share of requests that it would have made late.
    pub late: Share,
    /// The same of what was followed.
    pub followed_late: Share,
    /// The capacity held of what was followed over that of the fixed fleet.
    pub capacity: f64,
    /// How much more what was followed cost, late requests at their price included, as a share of
    /// what the fixed fleet cost; below 0 it cost less.
    pub regret: f64,
}

impl Fixed {
    /// Lets every level serve what came, where `day` is the highest level of the day, and `seconds`
    /// and `requests` were accounted before, decayed.
    pub(super) fn serve(
        &mut self,
        came: &Came,
        (seconds, requests): (f64, f64),
        day: f64,
        engine: Engine,
    ) {
        if !(day > 0.0 && day.is_finite()) {
            return;
        }
        let lowest = power(FROM * day);
        if self.accounts.is_empty() || self.lowest != lowest {
            self.move_to(lowest, seconds, requests, engine);
        }
        for (i, account) in (self.lowest..).zip(&mut self.accounts) {
            let capacity = engine.fleet(STEP.powi(i));
            account.serve(came, Fleet::new(came, capacity), capacity);
        }
    }

    /// Lets what was followed serve what came: the capacity held and the one asked for, where they
    /// are known.
    pub(super) fn follow(&mut self, came: &Came, held: Option<(f64, f64)>) {
        self.seconds *= came.keep;
        if let Some((held, paid)) = held {
            self.seconds += came.seconds;
            self.followed.serve(came, Fleet::new(came, held), paid);
        } else {
            self.followed.forget(came.keep);
        }
    }

    /// Has the levels from `lowest` on. One that comes anew made no more late than a smaller one of
    /// which there is an account, and all where there is none, so that it looks no better than it was;
    /// what it cost is known.
    fn move_to(&mut self, lowest: i32, seconds: f64, requests: f64, engine: Engine) {
        let known = |place: i64| self.accounts.get(usize::try_from(place).ok()?).copied();
        let accounts = (lowest..)
            .take(LEVELS)
            .map(|i| {
                let place = i64::from(i) - i64::from(self.lowest);
                let smaller = self.accounts.last().filter(|_| place >= 0).copied();
                known(place).unwrap_or_else(|| Account {
                    cost: engine.fleet(STEP.powi(i)) * seconds,
                    ..smaller.unwrap_or(Account { late: requests, ..Account::default() })
                })
            })
            .collect();
        (self.lowest, self.accounts) = (lowest, accounts);
    }

    /// Level and account of each.
    pub(super) fn all(&self) -> impl Iterator<Item = (f64, &Account)> {
        (self.lowest..).zip(&self.accounts).map(|(i, account)| (STEP.powi(i), account))
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Account> {
        self.accounts.iter_mut().chain([&mut self.followed])
    }
}

/// The power of [`STEP`] nearest below.
fn power(level: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of floats saturates")]
    let power = level.log(STEP).floor() as i32;
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: Engine = Engine { most: 0.0, used: 0.8 };

    fn came(level: f64) -> Came {
        let requests = level / 100.0;
        let (seconds, patience, keep) = (10.0, 2.0, 0.999);
        Came { seconds, rate: level, requests, level, patience, keep, used: ENGINE.used }
    }

    #[test]
    fn a_level_that_comes_anew_looks_no_better_than_it_was() {
        let mut fixed = Fixed::default();
        let mut known = (0.0, 0.0);
        let mut step = |fixed: &mut Fixed, level, day| {
            let came = came(level);
            fixed.serve(&came, known, day, ENGINE);
            known = (known.0 * 0.999 + 10.0, known.1 * 0.999 + came.requests * 10.0);
        };
        for _ in 0..100 {
            step(&mut fixed, 1000.0, 1000.0);
        }
        assert_eq!(fixed.accounts.len(), LEVELS);
        let late: Vec<f64> = fixed.accounts.iter().map(|a| a.late).collect();
        assert!(
            late.windows(2).all(|w| w[1] <= w[0]),
            "a larger fleet makes no more late: {late:?}"
        );
        let top = fixed.accounts[LEVELS - 1];
        // The day's peak is twice as high: the upper half is new.
        step(&mut fixed, 1000.0, 2000.0);
        assert!(fixed.accounts[LEVELS - 1].late >= top.late * 0.999);
        let costs: Vec<f64> = fixed.all().map(|(level, a)| a.cost / level).collect();
        assert!(costs.iter().all(|c| (c / costs[0] - 1.0).abs() < 1e-6), "{costs:?}");
        // Ten times as high, and back: of none of them is anything known.
        step(&mut fixed, 1000.0, 20_000.0);
        step(&mut fixed, 1000.0, 1000.0);
        let requests = 100.0 * 10.0 * 10.0 * 0.9;
        assert!(fixed.accounts.iter().all(|a| a.late > 0.5 * requests), "{:?}", fixed.accounts);
    }

    #[test]
    fn extreme_levels_keep_as_many_accounts() {
        for day in [f64::MIN_POSITIVE, 1e-9, 1e300, f64::MAX] {
            let mut fixed = Fixed::default();
            fixed.serve(&came(1.0), (0.0, 0.0), day, ENGINE);
            assert_eq!(fixed.accounts.len(), LEVELS, "{day}");
        }
        let mut fixed = Fixed::default();
        fixed.serve(&came(1.0), (0.0, 0.0), f64::NAN, ENGINE);
        assert_eq!(fixed, Fixed::default());
    }
}
