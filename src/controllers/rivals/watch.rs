//! What is known of who else sets our replicas, and what there is to say of it: no network, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::{Resource as _, ResourceExt as _};

use super::claims::{Autoscaler, Claim, Claims};
use super::condition::conflict_of;
use super::fights::{Change, Fights};
use super::managers::last_to_scale;
use crate::api::{Condition, DynamoGraphDeploymentScalingAdapter, names};
use crate::controllers::events::Note;
use crate::units::{Replicas, Timestamp};

/// What the condition says of one who takes back what we write, after his name.
const TAKES_BACK: &str = " (which takes back what sla-planner writes)";

/// The watch over the adapters of one planner.
#[derive(Debug)]
pub struct Watch {
    fights: Fights,
    /// The autoscalers seen last, by the list that has them: while a list fails, its last one counts.
    claims: BTreeMap<Autoscaler, BTreeSet<Claim>>,
    /// The lists that failed at the last look.
    unseen: BTreeSet<Autoscaler>,
    /// Adapters (by `metadata.uid`) of which this process knows more than their condition says.
    known: BTreeSet<String>,
    /// What this process told last of each adapter that it spoke of: who else sets its replicas, or
    /// that nobody does.
    told: BTreeMap<String, Option<String>>,
}

/// What there is to tell on an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What to say.
    pub note: Note,
    /// Whether it is to be published: what a process before this one has told is only for the log.
    pub is_event: bool,
}

impl Watch {
    /// Nothing seen yet, by a planner that looks every `tick`.
    #[must_use]
    pub fn new(tick: Duration) -> Self {
        Self {
            fights: Fights::new(tick),
            claims: BTreeMap::new(),
            unseen: BTreeSet::new(),
            known: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    /// Takes in the autoscalers of the namespace.
    pub fn list(&mut self, seen: &Claims) {
        self.unseen.clear();
        for (list, claims) in seen {
            match claims {
                Ok(claims) => drop(self.claims.insert(*list, claims.clone())),
                Err(_) => drop(self.unseen.insert(*list)),
            }
        }
    }

    /// Takes in an adapter, as far as it could be read, and answers who else sets its replicas, for
    /// people.
    pub fn look(
        &mut self,
        now: Timestamp,
        name: &str,
        adapter: Option<&DynamoGraphDeploymentScalingAdapter>,
    ) -> Option<String> {
        let claims = self.claims_on(name);
        let Some(adapter) = adapter else { return claims };
        let uid = adapter.meta().uid.clone().unwrap_or_default();
        let mut before = None;
        if !self.known.contains(&uid) {
            before = self.of_former_process(now, name, &uid, conflict_of(adapter));
            if before.is_none() {
                self.known.insert(uid.clone());
            }
        }
        let by = last_to_scale(adapter.managed_fields());
        self.fights.see(now, name, &uid, adapter.spec.replicas(), by);
        let fight = || self.fights.fighting(name).map(|who| format!("{who}{TAKES_BACK}"));
        claims.or(before).or_else(fight)
    }

    fn claims_on(&self, name: &str) -> Option<String> {
        let all: BTreeSet<&Claim> =
            self.claims.values().flatten().filter(|claim| claim.adapter == name).collect();
        let all: Vec<String> = all.into_iter().map(ToString::to_string).collect();
        (!all.is_empty()).then(|| all.join(" and "))
    }

    /// What a process before this one knew, by the condition that it left. A fight goes on for as long
    /// as one does; an autoscaler counts until the HPAs, which KEDA's are among, can be listed.
    fn of_former_process(
        &mut self,
        now: Timestamp,
        name: &str,
        uid: &str,
        present: Option<&Condition>,
    ) -> Option<String> {
        let said = &present.filter(|c| c.is_true())?.message;
        if let Some(fighter) = said.strip_suffix(TAKES_BACK) {
            self.fights.resume(now, name, uid, fighter);
            return None;
        }
        self.unseen.contains(&Autoscaler::Hpa).then(|| said.clone())
    }

    /// What is to be told on an adapter, where this process has not: who else sets its replicas (`stays`
    /// says what we do about it), or that this has ended.
    pub fn news(
        &mut self,
        name: &str,
        present: Option<&Condition>,
        others: Option<&str>,
        stays: &str,
    ) -> Option<News> {
        let told = self.told.get(name).cloned();
        let is_first = told.is_none();
        // Of what this process never spoke of, the condition says what one before it has told.
        let before =
            told.unwrap_or_else(|| present.filter(|c| c.is_true()).map(|c| c.message.clone()));
        let is_event = before.as_deref() != others;
        if !is_event && (others.is_none() || !is_first) {
            return None;
        }
        self.told.insert(name.to_owned(), others.map(str::to_owned));
        let we = names::FIELD_MANAGER;
        let note = if let Some(others) = others {
            let message = format!("{others} sets the replicas of this adapter too; {we} {stays}");
            Note::warning(names::EVENT_CONFLICT, message)
        } else {
            let said = before?;
            let message = match said.strip_suffix(TAKES_BACK) {
                Some(who) => {
                    format!("{who} has changed nothing for minutes; {we} writes it again")
                }
                None => format!("{said} is gone; {we} writes it again"),
            };
            Note::normal(names::EVENT_CONFLICT_RESOLVED, message)
        };
        Some(News { note, is_event })
    }

    /// Takes in that we have written a count, and answers the change by somebody else that this
    /// writes over.
    pub fn wrote(&mut self, name: &str, count: Replicas) -> Option<Change> {
        self.fights.wrote(name, count)
    }

    /// Takes in that we wrote a count and had no answer.
    pub fn may_have_written(&mut self, name: &str, count: Replicas) {
        self.fights.may_have_written(name, count);
    }
}

/// Whether the condition of an adapter says what is known.
#[must_use]
pub fn stands(present: Option<&Condition>, others: Option<&str>) -> bool {
    match (present, others) {
        (Some(present), Some(others)) => present.is_true() && present.message == others,
        (Some(present), None) => !present.is_true(),
        (None, others) => others.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::client::{Call, CallError, CallFailure};

    const HPA: &str = "HorizontalPodAutoscaler h";

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().plus(Duration::from_secs(seconds))
    }

    fn watch() -> Watch {
        Watch::new(Duration::from_secs(10))
    }

    /// An adapter with a count by a manager, and what its condition says.
    fn adapter(count: u32, by: &str, says: Option<&str>) -> DynamoGraphDeploymentScalingAdapter {
        let condition = |message| json!([{"type": "Conflict", "status": "True", "message": message, "reason": "r"}]);
        serde_json::from_value(json!({
            "apiVersion": names::API_VERSION, "kind": names::DGDSA_KIND,
            "metadata": {"name": "a", "uid": "1", "managedFields": [{
                "manager": by, "operation": "Update", "subresource": "scale",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}
            }]},
            "spec": {"replicas": count, "dgdRef": {"name": "g", "serviceName": "s"}},
            "status": {"conditions": says.map_or(Value::Null, condition)}
        }))
        .unwrap()
    }

    fn forbidden(list: Autoscaler) -> (Autoscaler, Result<BTreeSet<Claim>, CallError>) {
        let call = Call::all("list", "g", "things", None);
        let failure = CallFailure::Deadline(Duration::from_secs(1));
        (list, Err(CallError { call: Box::new(call), failure }))
    }

    fn claim(kind: Autoscaler, name: &str) -> BTreeSet<Claim> {
        [Claim { adapter: "a".to_owned(), kind, name: name.to_owned() }].into()
    }

    fn hpas(claims: BTreeSet<Claim>) -> Claims {
        [(Autoscaler::Hpa, Ok(claims)), (Autoscaler::ScaledObject, Ok(BTreeSet::new()))].into()
    }

    #[test]
    fn an_autoscaler_counts_until_its_own_list_is_without_it() {
        let mut watch = watch();
        watch.list(&hpas(claim(Autoscaler::Hpa, "h")));
        assert_eq!(watch.look(at(0), "a", None).as_deref(), Some(HPA), "the name is enough");
        watch.list(&[forbidden(Autoscaler::Hpa)].into());
        assert_eq!(watch.look(at(1), "a", None).as_deref(), Some(HPA), "nobody knows better");
        watch.list(&hpas(BTreeSet::new()));
        assert_eq!(watch.look(at(2), "a", None), None);

        // KEDA's own HPA goes, and ScaledObjects may never be listed.
        let of_keda = claim(Autoscaler::ScaledObject, "s");
        let scaled = || forbidden(Autoscaler::ScaledObject);
        watch.list(&[(Autoscaler::Hpa, Ok(of_keda)), scaled()].into());
        assert_eq!(watch.look(at(3), "a", None).as_deref(), Some("ScaledObject s"));
        watch.list(&[(Autoscaler::Hpa, Ok(BTreeSet::new())), scaled()].into());
        assert_eq!(watch.look(at(4), "a", None), None);
    }

    #[test]
    fn what_a_process_before_knew_counts_until_this_one_knows_better() {
        let left = adapter(3, "x", Some(HPA));
        let mut new = watch();
        new.list(&[forbidden(Autoscaler::Hpa)].into());
        for second in 0..2 {
            assert_eq!(new.look(at(second), "a", Some(&left)).as_deref(), Some(HPA));
        }
        new.list(&hpas(BTreeSet::new()));
        assert_eq!(new.look(at(2), "a", Some(&left)), None);
        let News { note, is_event } = new.news("a", conflict_of(&left), None, "").unwrap();
        assert_eq!(note.message, "HorizontalPodAutoscaler h is gone; sla-planner writes it again");
        assert!(is_event);
        let mut new = watch();
        let again = new.news("a", conflict_of(&left), Some(HPA), "").unwrap();
        assert_eq!((again.note.reason, again.is_event), (names::EVENT_CONFLICT, false), "logged");
        assert_eq!(new.news("a", conflict_of(&left), Some(HPA), ""), None, "once");
        assert!(new.news("a", conflict_of(&left), Some("ScaledObject s"), "").unwrap().is_event);
        let other = watch().news("a", conflict_of(&left), Some("ScaledObject s"), "");
        assert!(other.unwrap().is_event);

        let fight = format!("kubectl{TAKES_BACK}");
        let left = adapter(3, "kubectl", Some(&fight));
        let mut new = watch();
        new.list(&hpas(BTreeSet::new()));
        assert_eq!(new.look(at(0), "a", Some(&left)).as_deref(), Some(fight.as_str()));
        assert_eq!(new.look(at(300), "a", Some(&left)).as_deref(), Some(fight.as_str()));
        assert_eq!(new.look(at(301), "a", Some(&left)), None);
    }

    #[test]
    fn news_are_told_once_and_again_when_they_change() {
        let mut watch = watch();
        let mut news = |others: Option<&str>| {
            let news = watch.news("a", None, others, "stops")?;
            assert!(news.is_event);
            Some((news.note.reason, news.note.message))
        };
        assert_eq!(news(None), None);
        let told =
            "HorizontalPodAutoscaler h sets the replicas of this adapter too; sla-planner stops";
        assert_eq!(news(Some(HPA)), Some((names::EVENT_CONFLICT, told.to_owned())));
        assert_eq!(news(Some(HPA)), None);
        assert_eq!(news(Some("ScaledObject s")).unwrap().0, names::EVENT_CONFLICT);
        let ended = "ScaledObject s is gone; sla-planner writes it again";
        assert_eq!(news(None), Some((names::EVENT_CONFLICT_RESOLVED, ended.to_owned())));
        assert_eq!(news(None), None);
    }

    #[test]
    fn a_conflict_that_comes_back_is_told_again_though_its_condition_was_never_taken_back() {
        let mut watch = watch();
        let mut news = |present: Option<&Condition>, others: Option<&str>| {
            let News { note, is_event } = watch.news("a", present, others, "stops")?;
            Some((note.reason, is_event))
        };
        assert_eq!(news(None, Some(HPA)), Some((names::EVENT_CONFLICT, true)));
        let left = adapter(3, "x", Some(HPA));
        let left = conflict_of(&left);
        assert_eq!(news(left, Some(HPA)), None);
        assert_eq!(news(left, None), Some((names::EVENT_CONFLICT_RESOLVED, true)));
        for _ in 0..2 {
            assert_eq!(news(left, None), None, "told, whatever the condition says");
        }
        assert_eq!(news(left, Some(HPA)), Some((names::EVENT_CONFLICT, true)));
        assert_eq!(news(left, Some(HPA)), None);
    }

    #[test]
    fn a_condition_stands_where_it_says_what_is_known() {
        let says = adapter(1, "x", Some(HPA));
        let present = conflict_of(&says);
        assert!(stands(present, Some(HPA)) && stands(None, None));
        assert!(!stands(present, None) && !stands(present, Some("x")) && !stands(None, Some(HPA)));
    }
}
