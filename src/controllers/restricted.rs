//! The namespaces that have an operator of their own, and are left alone: those with a live Lease of one
//! of NVIDIA's operators that is restricted to its namespace.
//!
//! Two that keep the adapters of one namespace overwrite each other. A service of every namespace therefore
//! looks for these Leases every [`LOOK_EVERY`], and does nothing at all until it has seen them once.
//!
//! Whether a Lease is live is told by our own clock, as in [`super::lease`]: since we saw its record change,
//! and never by the times written in it. It is judged at a look alone: between two looks it may have been
//! renewed, however short its duration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::{Call, CallError, within};
use super::lease;
use super::lease::state::{Found, Moment};
use super::watches::WATCH_PAUSE;
use crate::api::names;

/// Between two looks. An operator that is started is seen after so long at the latest; each look costs two
/// lists of what is in few namespaces.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long a Lease stands that does not say it: the duration that these operators have by default.
const STANDS: Duration = Duration::from_secs(30);

/// The namespaces that are left alone; `None` as long as nobody knows which these are.
pub type Restricted = Option<BTreeSet<String>>;

/// Whether a namespace is left alone. As long as nobody knows which are, each of them is.
#[must_use]
pub fn is_left_alone(restricted: &Restricted, namespace: &str) -> bool {
    restricted.as_ref().is_none_or(|all| all.contains(namespace))
}

/// One thing that happened.
#[derive(Debug)]
pub enum Told {
    /// A namespace is left alone: there is a live Lease in it.
    LeftAlone {
        /// Which.
        namespace: String,
    },
    /// A namespace is left alone no more: no Lease in it is live.
    TakenBack {
        /// Which.
        namespace: String,
    },
    /// The Leases are not seen; what was known stays. The same failure over and over is told once.
    Fails {
        /// What failed.
        error: CallError,
        /// Whether they were seen before.
        is_known: bool,
    },
}

/// Keeps `restricted` up to the Leases of all namespaces, each call with this deadline. It is `None` until
/// they were listed once. Never ends.
pub async fn watch_restricted(
    client: &Client,
    deadline: Duration,
    restricted: &watch::Sender<Restricted>,
    told: impl Fn(&Told),
) {
    let began = Instant::now();
    let mut sightings = Sightings::default();
    let mut failure: Option<String> = None;
    loop {
        let asked = began.elapsed();
        let mut is_forbidden = false;
        match leases(client, deadline).await {
            Ok(found) => {
                failure = None;
                let live = sightings.take_in(found, asked, began.elapsed());
                let before = restricted.borrow().clone();
                if before.as_ref() != Some(&live) {
                    restricted.send_replace(Some(live.clone()));
                    news(&before.unwrap_or_default(), &live).iter().for_each(&told);
                }
            }
            Err(error) => {
                is_forbidden = error.is_forbidden();
                let text = error.to_string();
                if failure.as_ref() != Some(&text) {
                    told(&Told::Fails { error, is_known: restricted.borrow().is_some() });
                    failure = Some(text);
                }
            }
        }
        // As long as nothing is known, nothing is done: an outage is not waited for long. A right that
        // is missing may stay so.
        let is_soon = !is_forbidden && restricted.borrow().is_none();
        tokio::time::sleep(if is_soon { WATCH_PAUSE } else { LOOK_EVERY }).await;
    }
}

/// Which Lease: its namespace and its name.
type LeaseName = (String, String);

/// The Leases of all namespaces.
async fn leases(
    client: &Client,
    deadline: Duration,
) -> Result<BTreeMap<LeaseName, Found>, CallError> {
    let [one, other] = names::LEASES_RESTRICTED;
    let (one, other) =
        tokio::try_join!(named(client, one, deadline), named(client, other, deadline))?;
    let of = |lease: Lease| {
        let name = (lease.namespace().unwrap_or_default(), lease.name_any());
        (name, lease::found(lease))
    };
    Ok(one.into_iter().chain(other).map(of).collect())
}

/// The Leases of this name.
async fn named(client: &Client, name: &str, deadline: Duration) -> Result<Vec<Lease>, CallError> {
    let api: Api<Lease> = Api::all(client.clone());
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    let call = Call::all("list", names::LEASE_GROUP, names::LEASE_PLURAL, None);
    Ok(within(deadline, call, api.list(&params)).await?.items)
}

/// What there is to tell where other namespaces have a live Lease than before.
fn news(before: &BTreeSet<String>, live: &BTreeSet<String>) -> Vec<Told> {
    let left = live.difference(before).cloned().map(|namespace| Told::LeftAlone { namespace });
    let back = before.difference(live).cloned().map(|namespace| Told::TakenBack { namespace });
    left.chain(back).collect()
}

/// What was seen of each Lease. It has no clock.
#[derive(Debug, Default)]
struct Sightings {
    seen: BTreeMap<LeaseName, Sighting>,
}

/// A Lease as it was seen last.
#[derive(Debug)]
struct Sighting {
    found: Found,
    /// When it was seen like that for the first time.
    since: Moment,
}

impl Sightings {
    /// Takes in all Leases that are there, and answers which namespaces have a live one. They are as they
    /// were at some moment between the asking and the answer.
    fn take_in(
        &mut self,
        found: BTreeMap<LeaseName, Found>,
        asked: Moment,
        answered: Moment,
    ) -> BTreeSet<String> {
        let mut before = std::mem::take(&mut self.seen);
        for (name, found) in found {
            let sighting = match before.remove(&name) {
                Some(same) if same.found == found => same,
                Some(_) | None => Sighting { found, since: answered },
            };
            self.seen.insert(name, sighting);
        }
        // A Lease that was deleted was not handed back: its holder may still be at work, and make it anew.
        before.retain(|_, sighting| sighting.is_live(asked));
        self.seen.append(&mut before);
        let live = self.seen.iter().filter(|(_, sighting)| sighting.is_live(asked));
        live.map(|((namespace, _), _)| namespace.clone()).collect()
    }
}

impl Sighting {
    /// Whether a list that was asked for at this moment finds it live: somebody holds it, and the last
    /// change is not longer ago than it stands.
    fn is_live(&self, asked: Moment) -> bool {
        let stands = self.found.record.duration.unwrap_or(STANDS);
        self.found.record.holder.is_some() && asked.saturating_sub(self.since) < stands
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const LOCK: &str = names::LEASES_RESTRICTED[0];
    const SCOPE: &str = names::LEASES_RESTRICTED[1];

    /// A Lease as a list brings it.
    fn lease(name: (&str, &str), version: u32, spec: Value) -> (LeaseName, Found) {
        let (namespace, name) = name;
        let lease: Lease = serde_json::from_value(json!({
            "metadata": {
                "namespace": namespace, "name": name, "resourceVersion": version.to_string(),
            },
            "spec": spec,
        }))
        .unwrap();
        ((namespace.to_owned(), name.to_owned()), lease::found(lease))
    }

    /// One that is held for 30 seconds; its version changes with every renewal.
    fn held(name: (&str, &str), version: u32) -> (LeaseName, Found) {
        lease(name, version, json!({"holderIdentity": "operator", "leaseDurationSeconds": 30}))
    }

    /// The namespaces with a live Lease, by a look at this second.
    fn look<const N: usize>(
        sightings: &mut Sightings,
        second: u64,
        found: [(LeaseName, Found); N],
    ) -> Vec<String> {
        let now = Duration::from_secs(second);
        sightings.take_in(found.into(), now, now).into_iter().collect()
    }

    #[test]
    fn a_lease_is_live_while_it_is_renewed_and_for_its_duration_after() {
        let mut seen = Sightings::default();
        assert_eq!(look(&mut seen, 0, []), [""; 0]);
        assert_eq!(look(&mut seen, 10, [held(("llm", LOCK), 1)]), ["llm"]);
        assert_eq!(look(&mut seen, 39, [held(("llm", LOCK), 1)]), ["llm"], "one duration");
        assert_eq!(look(&mut seen, 40, [held(("llm", LOCK), 1)]), [""; 0]);
        assert_eq!(look(&mut seen, 300, [held(("llm", LOCK), 1)]), [""; 0], "it stays so");
        assert_eq!(look(&mut seen, 310, [held(("llm", LOCK), 2)]), ["llm"], "renewed");
        assert_eq!(look(&mut seen, 330, [held(("llm", LOCK), 3)]), ["llm"]);
        assert_eq!(look(&mut seen, 359, [held(("llm", LOCK), 3)]), ["llm"]);
        assert_eq!(look(&mut seen, 360, [held(("llm", LOCK), 3)]), [""; 0]);
    }

    #[test]
    fn a_lease_that_stands_for_less_than_between_two_looks_is_live_while_it_is_renewed() {
        let short = |version: u32| {
            let spec = json!({"holderIdentity": "operator", "leaseDurationSeconds": 5});
            lease(("llm", SCOPE), version, spec)
        };
        let mut seen = Sightings::default();
        for step in 0..4_u32 {
            let second = u64::from(step) * LOOK_EVERY.as_secs();
            assert_eq!(look(&mut seen, second, [short(step)]), ["llm"], "{second}");
        }
        assert_eq!(look(&mut seen, 40, [short(3)]), [""; 0]);
    }

    #[test]
    fn a_lease_that_says_no_duration_stands_for_that_of_the_operators() {
        let unsaid = || lease(("llm", LOCK), 1, json!({"holderIdentity": "operator"}));
        let mut seen = Sightings::default();
        assert_eq!(look(&mut seen, 0, [unsaid()]), ["llm"]);
        assert_eq!(look(&mut seen, STANDS.as_secs() - 1, [unsaid()]), ["llm"]);
        assert_eq!(look(&mut seen, STANDS.as_secs(), [unsaid()]), [""; 0]);
    }

    #[test]
    fn a_lease_that_nobody_holds_is_not_live() {
        let mut seen = Sightings::default();
        assert_eq!(look(&mut seen, 0, [held(("llm", LOCK), 1)]), ["llm"]);
        let emptied = json!({"holderIdentity": "", "leaseDurationSeconds": 1});
        assert_eq!(look(&mut seen, 1, [lease(("llm", LOCK), 2, emptied)]), [""; 0]);
        assert_eq!(look(&mut seen, 2, [lease(("llm", LOCK), 3, json!({}))]), [""; 0]);
        assert_eq!(look(&mut seen, 3, [lease(("llm", LOCK), 4, Value::Null)]), [""; 0]);
        assert_eq!(look(&mut seen, 4, [held(("llm", LOCK), 5)]), ["llm"], "taken again");
    }

    #[test]
    fn a_lease_that_was_deleted_stands_until_it_would_have_run_out() {
        let mut seen = Sightings::default();
        assert_eq!(look(&mut seen, 0, [held(("llm", LOCK), 1)]), ["llm"]);
        assert_eq!(look(&mut seen, 10, []), ["llm"]);
        assert_eq!(look(&mut seen, 29, []), ["llm"]);
        assert_eq!(look(&mut seen, 30, []), [""; 0]);
        assert!(seen.seen.is_empty(), "{seen:?}");
        // Handed back before it was deleted, or run out.
        let emptied = lease(("llm", LOCK), 2, json!({"holderIdentity": ""}));
        assert_eq!(look(&mut seen, 40, [emptied]), [""; 0]);
        assert_eq!(look(&mut seen, 41, []), [""; 0]);
        assert_eq!(look(&mut seen, 50, [held(("llm", LOCK), 3)]), ["llm"], "made anew");
    }

    #[test]
    fn one_live_lease_of_two_in_a_namespace_is_enough() {
        let mut seen = Sightings::default();
        let both = |lock: u32, scope: u32| {
            [held(("llm", LOCK), lock), held(("llm", SCOPE), scope), held(("old", LOCK), 7)]
        };
        assert_eq!(look(&mut seen, 0, both(1, 1)), ["llm", "old"]);
        assert_eq!(look(&mut seen, 20, both(1, 2)), ["llm", "old"]);
        assert_eq!(look(&mut seen, 40, both(1, 2)), ["llm"]);
        assert_eq!(look(&mut seen, 50, both(1, 2)), [""; 0]);
    }

    #[test]
    fn the_clock_of_who_writes_it_may_be_off_by_hours() {
        let written = |time: &str, version: u32| {
            let spec = json!({
                "holderIdentity": "operator", "leaseDurationSeconds": 30, "renewTime": time,
            });
            lease(("llm", LOCK), version, spec)
        };
        for time in ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"] {
            let mut seen = Sightings::default();
            assert_eq!(look(&mut seen, 0, [written(time, 1)]), ["llm"], "{time}");
            assert_eq!(look(&mut seen, 29, [written(time, 2)]), ["llm"], "{time}");
            assert_eq!(look(&mut seen, 58, [written(time, 2)]), ["llm"], "{time}");
            assert_eq!(look(&mut seen, 59, [written(time, 2)]), [""; 0], "{time}");
        }
    }

    #[test]
    fn a_list_that_takes_long_takes_no_time_from_a_lease() {
        let at = Duration::from_secs;
        let mut seen = Sightings::default();
        let found = || BTreeMap::from([held(("llm", LOCK), 1)]);
        // It may have been renewed just before the answer, and again just after the next asking.
        assert_eq!(seen.take_in(found(), at(0), at(9)).len(), 1);
        assert_eq!(seen.take_in(found(), at(38), at(47)).len(), 1);
        assert_eq!(seen.take_in(found(), at(39), at(48)).len(), 0);
    }

    #[test]
    fn what_is_told_is_what_has_changed() {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let told = |before: &[&str], live: &[&str]| -> Vec<String> {
            news(&set(before), &set(live)).iter().map(|told| format!("{told:?}")).collect()
        };
        assert_eq!(
            told(&["a", "b"], &["b", "c"]),
            ["LeftAlone { namespace: \"c\" }", "TakenBack { namespace: \"a\" }"]
        );
        assert_eq!(told(&["a"], &["a"]), [""; 0]);
    }

    #[test]
    fn as_long_as_nobody_knows_which_every_namespace_is_left_alone() {
        assert!(is_left_alone(&None, "llm"));
        let known = Some(BTreeSet::from(["llm".to_owned()]));
        assert!(is_left_alone(&known, "llm"));
        assert!(!is_left_alone(&known, "other"));
    }
}
