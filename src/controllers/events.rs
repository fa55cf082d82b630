//! Our own small publisher of Events.
//!
//! kube's Recorder keeps the first message of a reason for six minutes: "3 to 4" and then "4 to 5"
//! become one event that still says "3 to 4". Here two events are one only if they say the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::client::{Call, CallError, within};
use crate::api::names;

/// Whether an event is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to worry about.
    Normal,
    /// Somebody may want to look.
    Warning,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Good news or not.
    pub severity: Severity,
    /// Why, for programs: one of the `EVENT_` names of [`names`].
    pub reason: &'static str,
    /// The whole of it, for people.
    pub message: String,
}

impl Note {
    /// Good news.
    #[must_use]
    pub const fn normal(reason: &'static str, message: String) -> Self {
        Self { severity: Severity::Normal, reason, message }
    }

    /// Bad news.
    #[must_use]
    pub const fn warning(reason: &'static str, message: String) -> Self {
        Self { severity: Severity::Warning, reason, message }
    }
}

/// Publishes events, counting what is said again instead of saying it twice.
pub struct Publisher {
    client: Client,
    instance: String,
    deadline: Duration,
    serial: AtomicU64,
    recent: Mutex<BTreeMap<Key, Sent>>,
}

/// What makes two events the same: the object and every word.
type Key = (String, Note);

#[derive(Clone, Debug)]
struct Sent {
    event: String,
    count: i32,
    last: Timestamp,
}

/// How long the same words are counted on one event. The API server forgets events after an hour by
/// default; a sixth of that keeps a repeated warning visible as an event of its own.
const SAME_FOR: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// The most events remembered. Forgetting one only costs a second event with the same words; the
/// limit keeps a broken cluster of thousands of graphs from growing our memory.
const REMEMBERED: usize = 1_000;

/// The longest message that the API server takes, in bytes.
const LONGEST_MESSAGE: usize = 1_024;

impl Publisher {
    /// A publisher that speaks as `instance` (the pod's name) and gives each call `deadline`.
    #[must_use]
    pub fn new(client: Client, instance: String, deadline: Duration) -> Self {
        Self {
            client,
            instance,
            deadline,
            serial: AtomicU64::new(0),
            recent: Mutex::new(BTreeMap::new()),
        }
    }

    /// Publishes an event about an object.
    ///
    /// # Errors
    ///
    /// Where the API server does not take it. An event is never worth failing for what it tells.
    pub async fn publish(
        &self,
        about: &ObjectReference,
        note: &Note,
        now: Timestamp,
    ) -> Result<(), CallError> {
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let key = (identity(about), note.clone());
        if let Some(sent) = self.said_before(&key, now) {
            let again = Sent { count: sent.count.saturating_add(1), last: now, ..sent };
            let patch = json!({"count": again.count, "lastTimestamp": Time(now)});
            let call = Call::object("patch", "", "events", namespace, &again.event);
            let params = PatchParams { field_manager: manager(), ..PatchParams::default() };
            let patch = Patch::Merge(&patch);
            let patched = events.patch(&again.event, &params, &patch);
            match within(self.deadline, call, patched).await {
                Ok(_) => {
                    self.remember(key, again);
                    return Ok(());
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let event = self.build_event(about, note, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        let call = Call::object("create", "", "events", namespace, &name);
        let params = PostParams { field_manager: manager(), ..PostParams::default() };
        within(self.deadline, call, events.create(&params, &event)).await?;
        self.remember(key, Sent { event: name, count: 1, last: now });
        Ok(())
    }

    fn build_event(&self, about: &ObjectReference, note: &Note, now: Timestamp) -> Event {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let object = about.name.as_deref().unwrap_or(names::FIELD_MANAGER);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{object}.{:x}.{serial:x}", now.as_nanosecond())),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: about.clone(),
            type_: Some(note.severity.as_str().to_owned()),
            reason: Some(note.reason.to_owned()),
            message: Some(shortened(&note.message).to_owned()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource {
                component: Some(names::FIELD_MANAGER.to_owned()),
                host: None,
            }),
            reporting_component: Some(names::FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }

    fn said_before(&self, key: &Key, now: Timestamp) -> Option<Sent> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.get(key).filter(|sent| now.duration_since(sent.last) < SAME_FOR).cloned()
    }

    fn remember(&self, key: Key, sent: Sent) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= REMEMBERED {
            let now = sent.last;
            recent.retain(|_, sent| now.duration_since(sent.last) < SAME_FOR);
        }
        if recent.len() < REMEMBERED {
            recent.insert(key, sent);
        }
    }
}

fn manager() -> Option<String> {
    Some(names::FIELD_MANAGER.to_owned())
}

/// The object, told apart from a namesake that lived before it.
fn identity(about: &ObjectReference) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    [&about.kind, &about.namespace, &about.name, &about.uid].map(part).join("/")
}

fn shortened(message: &str) -> &str {
    let mut end = message.len().min(LONGEST_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let message = "é".repeat(700);
        assert_eq!(shortened(&message).len(), 1_024);
        let odd = format!("x{message}");
        assert_eq!(shortened(&odd).len(), 1_023);
        assert_eq!(shortened("short"), "short");
    }
}
