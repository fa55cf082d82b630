//! What was written, what was found in its place, and who did it: a pure account.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::managers::Scaler;
use crate::api::names;
use crate::units::{Replicas, Timestamp};

/// The account of every adapter.
#[derive(Debug)]
pub struct Fights {
    adapters: BTreeMap<String, Account>,
    window: Duration,
}

/// What is known of one adapter.
#[derive(Debug, Default)]
struct Account {
    /// Which object it is: another one of the same name begins anew.
    uid: String,
    /// The count that nobody but us should have changed, and whether it is ours.
    asked: Option<(Replicas, bool)>,
    /// A count that we wrote without an answer.
    tried: Option<Replicas>,
    /// A change by somebody else that was not written over yet.
    pending: Option<(Timestamp, Change)>,
    /// Changes of what we had written, by whom, oldest first.
    reverts: VecDeque<(Timestamp, String)>,
    /// Who fights with us, and when he was last seen to.
    fighting: Option<(Timestamp, String)>,
}

impl Account {
    /// Lets go of what is older than the window. What is dated later than now, since the clock was set
    /// back, counts as of now.
    fn forget(&mut self, now: Timestamp, window: Duration) {
        for (at, _) in &mut self.reverts {
            *at = now.min(*at);
        }
        let times = self.pending.iter_mut().map(|(at, _)| at);
        for at in times.chain(self.fighting.iter_mut().map(|(at, _)| at)) {
            *at = now.min(*at);
        }
        let over = |at: Timestamp| now.since(at) > window;
        self.reverts.retain(|(at, _)| !over(*at));
        self.pending.take_if(|(at, _)| over(*at));
        self.fighting.take_if(|(at, _)| over(*at));
    }
}

/// A change of the replicas by somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field manager; `None` where the object names nobody.
    pub by: Option<String>,
    /// What was there before.
    pub from: Replicas,
    /// What is there now.
    pub to: Replicas,
}

impl Change {
    /// Who did it, for people.
    #[must_use]
    pub fn who(&self) -> String {
        who(self.by.as_deref())
    }
}

fn who(manager: Option<&str>) -> String {
    match manager {
        Some(names::FIELD_MANAGER) => format!("another process of {}", names::FIELD_MANAGER),
        Some(manager) => manager.to_owned(),
        None => "somebody".to_owned(),
    }
}

impl Fights {
    /// Reverts count together within this time, and a fight is over when there was none for it; a
    /// planner that looks more seldom than every 100 s takes three of its ticks and one more.
    pub const WINDOW: Duration = Duration::from_secs(300);

    /// So many reverts by one manager are a fight.
    pub const REVERTS: usize = 3;

    /// Nothing seen yet, by a planner that looks every `tick`.
    #[must_use]
    pub fn new(tick: Duration) -> Self {
        let ticks = tick.saturating_mul(4);
        let window = if ticks > Self::WINDOW + tick { ticks } else { Self::WINDOW };
        Self { adapters: BTreeMap::new(), window }
    }

    /// Takes in what an adapter asks for now, and who set that last.
    pub fn see(
        &mut self,
        now: Timestamp,
        adapter: &str,
        uid: &str,
        count: Replicas,
        by: Option<Scaler<'_>>,
    ) {
        let window = self.window;
        let account = self.account(adapter, uid);
        account.forget(now, window);
        let is_ours = by.is_some_and(|by| by.by_scale && by.manager == names::FIELD_MANAGER);
        if account.tried.take() == Some(count) && is_ours {
            account.asked = Some((count, true));
        }
        match account.asked {
            // What was there before this process was is ours where our name is on the scale. (The
            // adapter controller makes adapters under the same name, with the count of their graph.)
            None => account.asked = Some((count, is_ours)),
            Some((before, _)) if before == count => {}
            Some((before, ours)) => {
                let by = by.map(|by| by.manager.to_owned());
                let name = who(by.as_deref());
                account.pending = Some((now, Change { by, from: before, to: count }));
                account.asked = Some((count, false));
                match &mut account.fighting {
                    Some((at, fighter)) if *fighter == name => *at = now,
                    _ if ours => account.reverts.push_back((now, name)),
                    _ => {}
                }
            }
        }
        if let Some((_, last)) = account.reverts.back().cloned()
            && account.reverts.iter().filter(|(_, name)| *name == last).count() >= Self::REVERTS
        {
            account.fighting = Some((now, last));
            account.reverts.clear();
        }
    }

    /// Takes in that we have written a count, and answers the change by somebody else that this
    /// writes over.
    pub fn wrote(&mut self, adapter: &str, count: Replicas) -> Option<Change> {
        let account = self.adapters.get_mut(adapter)?;
        account.asked = Some((count, true));
        account.pending.take().map(|(_, change)| change)
    }

    /// Takes in that we wrote a count and had no answer: found next, it is ours.
    pub fn may_have_written(&mut self, adapter: &str, count: Replicas) {
        if let Some(account) = self.adapters.get_mut(adapter) {
            account.tried = Some(count);
        }
    }

    /// Takes in that a process before this one was fought with.
    pub fn resume(&mut self, now: Timestamp, adapter: &str, uid: &str, fighter: &str) {
        self.account(adapter, uid).fighting = Some((now, fighter.to_owned()));
    }

    fn account(&mut self, adapter: &str, uid: &str) -> &mut Account {
        let account = self.adapters.entry(adapter.to_owned()).or_default();
        if account.uid != uid {
            *account = Account { uid: uid.to_owned(), ..Account::default() };
        }
        account
    }

    /// Who fights with us about an adapter, for people.
    #[must_use]
    pub fn fighting(&self, adapter: &str) -> Option<&str> {
        let (_, name) = self.adapters.get(adapter)?.fighting.as_ref()?;
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().plus(Duration::from_secs(seconds))
    }

    fn by(manager: &str) -> Option<Scaler<'_>> {
        Some(Scaler { manager, by_scale: true })
    }

    const N: fn(u32) -> Replicas = Replicas::new;

    /// Writes 3 and finds what `manager` made of it, every `apart` seconds.
    fn reverted(times: u64, apart: u64, managers: &[&str]) -> Fights {
        let mut fights = Fights::new(Duration::from_secs(10));
        fights.see(at(0), "a", "1", N(1), by("kubectl"));
        for i in 0..times {
            fights.wrote("a", N(3));
            fights.see(at(i * apart), "a", "1", N(3), by(names::FIELD_MANAGER));
            let manager = managers[usize::try_from(i).unwrap() % managers.len()];
            fights.see(at(i * apart + 1), "a", "1", N(5), by(manager));
        }
        fights
    }

    #[test]
    fn one_change_by_hand_is_written_over_and_named_and_is_no_fight() {
        let mut fights = reverted(1, 10, &["kubectl"]);
        assert_eq!(fights.fighting("a"), None);
        let change = fights.wrote("a", N(3)).unwrap();
        assert_eq!((change.who().as_str(), change.from, change.to), ("kubectl", N(3), N(5)));
        assert_eq!(fights.wrote("a", N(4)), None, "told once");
        // The plan agreed for hours, and then wants another count: nothing is written over.
        let mut agreed = reverted(1, 10, &["kubectl"]);
        agreed.see(at(3600), "a", "1", N(5), by("kubectl"));
        assert_eq!(agreed.wrote("a", N(6)), None);
    }

    #[test]
    fn three_reverts_by_one_manager_within_five_minutes_are_a_fight() {
        assert_eq!(reverted(2, 100, &["kubectl"]).fighting("a"), None);
        assert_eq!(reverted(3, 100, &["kubectl"]).fighting("a"), Some("kubectl"));
        assert_eq!(reverted(3, 151, &["kubectl"]).fighting("a"), None, "too far apart");
        assert_eq!(reverted(4, 60, &["kubectl", "keda"]).fighting("a"), None, "of two");
        assert_eq!(reverted(5, 60, &["kubectl", "keda"]).fighting("a"), Some("kubectl"));
        let twin = reverted(3, 10, &[names::FIELD_MANAGER]);
        assert_eq!(twin.fighting("a"), Some("another process of sla-planner"));
    }

    #[test]
    fn a_fight_is_over_when_nobody_changed_anything_for_five_minutes() {
        let mut fights = reverted(3, 10, &["kubectl"]);
        // We hold still; he goes on.
        fights.see(at(200), "a", "1", N(6), by("kubectl"));
        fights.see(at(500), "a", "1", N(6), by("kubectl"));
        assert_eq!(fights.fighting("a"), Some("kubectl"));
        fights.see(at(501), "a", "1", N(6), by("kubectl"));
        assert_eq!(fights.fighting("a"), None);
        let mut fights = reverted(3, 10, &["kubectl"]);
        fights.see(at(22), "a", "2", N(1), None);
        assert_eq!(fights.fighting("a"), None, "another object of the name");
    }

    #[test]
    fn a_change_by_another_hand_is_no_part_of_a_fight() {
        let mut fights = reverted(3, 10, &["argocd"]);
        fights.see(at(200), "a", "1", N(7), by("kubectl"));
        assert_eq!(fights.fighting("a"), Some("argocd"));
        fights.see(at(322), "a", "1", N(8), by("kubectl"));
        assert_eq!(fights.fighting("a"), None, "over since argocd rests");
    }

    #[test]
    fn a_clock_that_is_set_back_holds_no_fight_for_longer() {
        let mut fights = reverted(3, 10, &["kubectl"]);
        let back = Timestamp::default().minus(Duration::from_secs(3600));
        fights.see(back, "a", "1", N(5), by("kubectl"));
        assert_eq!(fights.fighting("a"), Some("kubectl"));
        fights.see(back.plus(Duration::from_secs(301)), "a", "1", N(5), by("kubectl"));
        assert_eq!(fights.fighting("a"), None);
    }

    #[test]
    fn what_is_not_ours_to_lose_is_no_revert() {
        let mut fights = Fights::new(Duration::from_secs(10));
        for (i, count) in [1, 2, 3, 4, 5].into_iter().enumerate() {
            fights.see(at(i as u64), "a", "1", N(count), by("kubectl"));
        }
        assert_eq!(fights.fighting("a"), None, "nobody wrote over anything of ours");
        for i in 0..5 {
            fights.wrote("a", N(3));
            fights.see(at(10 + 2 * i), "a", "1", N(3), by(names::FIELD_MANAGER));
            // The answer is lost, and the write has arrived.
            fights.may_have_written("a", N(4));
            fights.see(at(11 + 2 * i), "a", "1", N(4), by(names::FIELD_MANAGER));
        }
        assert_eq!(fights.fighting("a"), None, "what we wrote ourselves");
    }

    #[test]
    fn what_we_wrote_before_a_restart_is_ours() {
        let mut fights = Fights::new(Duration::from_secs(10));
        fights.see(at(0), "a", "1", N(3), by(names::FIELD_MANAGER));
        fights.see(at(1), "a", "1", N(5), by("kubectl"));
        for i in 0..2 {
            fights.wrote("a", N(3));
            fights.see(at(2 + i), "a", "1", N(5), by("kubectl"));
        }
        assert_eq!(fights.fighting("a"), Some("kubectl"));
    }

    #[test]
    fn a_planner_that_looks_seldom_sees_a_fight_too() {
        let mut fights = Fights::new(Duration::from_secs(180));
        fights.see(at(0), "a", "1", N(3), by(names::FIELD_MANAGER));
        for i in 1..=3 {
            fights.wrote("a", N(3));
            fights.see(at(180 * i), "a", "1", N(5), by("kubectl"));
        }
        assert_eq!(fights.fighting("a"), Some("kubectl"));
    }
}
