//! What the controller tells: once in the log, and to whoever listens.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::apply::Change;
use super::plan::Remark;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Something was written.
    Changed {
        /// `namespace/name` of the graph.
        dgd: String,
        /// What was written.
        change: Change,
    },
    /// Something could not be planned.
    Remarked {
        /// `namespace/name` of the graph.
        dgd: String,
        /// What.
        remark: Remark,
    },
    /// Something could not be written; it is tried again.
    Failed {
        /// `namespace/name` of the graph.
        dgd: String,
        /// Kind of the failure, for metrics.
        label: &'static str,
        /// What failed, for people.
        error: String,
    },
    /// A graph cannot be read as one; it is left alone until it changes.
    Invalid {
        /// `namespace/name` of the graph.
        dgd: String,
        /// What does not fit.
        why: String,
    },
    /// An adapter cannot be read as one; its service is left alone until it can.
    InvalidAdapter {
        /// `namespace/name` of the graph.
        dgd: String,
        /// Name of the adapter.
        adapter: String,
        /// The service that wants an adapter of this name.
        service: String,
        /// What does not fit.
        why: String,
    },
    /// An adapter names a graph that does not exist.
    DgdMissing {
        /// `namespace/name` of the graph.
        dgd: String,
        /// Name of the adapter.
        adapter: String,
    },
    /// A watch does not work; it is tried again.
    WatchFails {
        /// What is watched.
        resource: &'static str,
        /// Kind of the failure, for metrics.
        label: &'static str,
        /// What failed, for people.
        error: String,
    },
    /// A watch that did not work does again.
    WatchWorks {
        /// What is watched.
        resource: &'static str,
    },
}

/// Tells, and keeps what is told over and over out of the log.
pub(super) struct Teller {
    listener: Box<dyn Fn(&Told) + Send + Sync>,
    last: Mutex<BTreeMap<String, String>>,
}

/// The most subjects whose last word is remembered; beyond, repetition is logged.
const REMEMBERED: usize = 10_000;

impl Teller {
    pub(super) fn new(listener: impl Fn(&Told) + Send + Sync + 'static) -> Self {
        Self { listener: Box::new(listener), last: Mutex::new(BTreeMap::new()) }
    }

    /// Logs what is new, and hands everything to the listener. Says whether it was new.
    pub(super) fn tell(&self, told: Told) -> bool {
        let is_new = match &told {
            Told::Changed { dgd, change } => {
                self.forget(dgd);
                tracing::info!(dgd, %change, "adapter");
                true
            }
            Told::Remarked { dgd, remark } => {
                let remark = remark.to_string();
                let is_new = self.is_new(&format!("{dgd} {remark}"), &remark);
                if is_new {
                    tracing::warn!(dgd, remark, "adapter");
                }
                is_new
            }
            Told::Failed { dgd, label, error } => {
                let is_new = self.is_new(dgd, error);
                if is_new {
                    tracing::warn!(dgd, label, error, "adapter");
                }
                is_new
            }
            Told::Invalid { dgd, why } => {
                let is_new = self.is_new(dgd, why);
                if is_new {
                    tracing::warn!(dgd, why, "graph cannot be read");
                }
                is_new
            }
            Told::InvalidAdapter { dgd, adapter, service, why } => {
                let is_new = self.is_new(&adapter_subject(dgd, adapter), why);
                if is_new {
                    tracing::warn!(dgd, adapter, service, why, "adapter cannot be read");
                }
                is_new
            }
            Told::DgdMissing { dgd, adapter } => {
                let is_new = self.is_new(dgd, adapter);
                if is_new {
                    tracing::warn!(dgd, adapter, "adapter names a graph that does not exist");
                }
                is_new
            }
            Told::WatchFails { resource, label, error } => {
                tracing::warn!(resource, label, error, "watch");
                true
            }
            Told::WatchWorks { resource } => {
                tracing::info!(resource, "watch works again");
                true
            }
        };
        (self.listener)(&told);
        is_new
    }

    /// Takes in that an adapter can be read: when it cannot the next time, that is told again.
    pub(super) fn adapter_is_valid(&self, dgd: &str, adapter: &str) {
        self.forget(&adapter_subject(dgd, adapter));
    }

    /// Tells that a watch fails, where it worked before or failed otherwise.
    pub(super) fn watch_fails(&self, resource: &'static str, label: &'static str, error: String) {
        if self.is_new(resource, &error) {
            self.tell(Told::WatchFails { resource, label, error });
        }
    }

    /// Tells that a watch works, where it failed before.
    pub(super) fn watch_works(&self, resource: &'static str) {
        if self.forget(resource) {
            self.tell(Told::WatchWorks { resource });
        }
    }

    fn is_new(&self, subject: &str, word: &str) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(subject).is_some_and(|said| said == word) {
            return false;
        }
        if last.len() < REMEMBERED {
            last.insert(subject.to_owned(), word.to_owned());
        }
        true
    }

    fn forget(&self, subject: &str) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).remove(subject).is_some()
    }
}

fn adapter_subject(dgd: &str, adapter: &str) -> String {
    format!("{dgd} adapter {adapter}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_watch_that_keeps_failing_is_told_once_until_it_works_again() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let teller = Teller::new({
            let heard = Arc::clone(&heard);
            move |told| heard.lock().unwrap().push(told.clone())
        });
        for _ in 0..3 {
            teller.watch_fails("dgds", "forbidden", "no".to_owned());
        }
        teller.watch_works("dgds");
        teller.watch_works("dgds");
        assert_eq!(
            *heard.lock().unwrap(),
            [
                Told::WatchFails { resource: "dgds", label: "forbidden", error: "no".to_owned() },
                Told::WatchWorks { resource: "dgds" }
            ]
        );
    }

    #[test]
    fn an_adapter_that_cannot_be_read_is_told_once_for_each_reason_until_it_can_be() {
        let teller = Teller::new(|_| {});
        let is_new = |adapter: &str, why: &str| {
            let (dgd, service) = ("serving/graph".to_owned(), "Decode".to_owned());
            let (adapter, why) = (adapter.to_owned(), why.to_owned());
            teller.tell(Told::InvalidAdapter { dgd, adapter, service, why })
        };
        let asked = [("a", "no"), ("a", "no"), ("b", "no"), ("a", "never"), ("a", "never")];
        assert_eq!(
            asked.map(|(adapter, why)| is_new(adapter, why)),
            [true, false, true, true, false]
        );
        teller.adapter_is_valid("serving/graph", "a");
        assert_eq!([is_new("a", "never"), is_new("b", "no")], [true, false]);
    }
}
