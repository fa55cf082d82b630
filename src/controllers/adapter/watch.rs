//! The two watches: what a failure of one says, and when both are to begin anew in other versions.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use tokio::sync::Notify;

use super::told::Teller;
use crate::api::{Served, names};
use crate::controllers::client::{Call, CallError, CallFailure};
use crate::controllers::kinds::{ASK_AGAIN, Kinds};

/// Pause before a watch that ended with an error is begun again. Two watches of one process every two
/// seconds are no load for an API server that comes back, and nobody waits long after an outage.
pub const WATCH_PAUSE: Duration = Duration::from_secs(2);

/// One of the two watches, and what it says.
pub(super) struct Watched {
    pub(super) resource: &'static str,
    pub(super) namespace: Option<String>,
    pub(super) teller: Arc<Teller>,
    /// Told when it fails: the version that it watches may be gone.
    pub(super) doubt: Arc<Notify>,
}

impl Watched {
    /// What came, or `None` where it is a failure, which is told.
    pub(super) fn hear<K>(&self, object: watcher::Result<K>) -> Option<K> {
        let (verb, error) = match object {
            Ok(object) => {
                self.teller.watch_works(self.resource);
                return Some(object);
            }
            Err(watcher::Error::InitialListFailed(error)) => ("list", error),
            Err(watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error)) => {
                ("watch", error)
            }
            // An event too old to continue from (410): the watch lists again, nothing is lost.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => return None,
            Err(watcher::Error::WatchError(status)) => ("watch", kube::Error::Api(status)),
            Err(error @ watcher::Error::NoResourceVersion) => {
                let error = error.to_string();
                self.teller.watch_fails(self.resource, "refused", error);
                return None;
            }
        };
        let call = Call::all(verb, names::GROUP, self.resource, self.namespace.as_deref());
        let error = CallError::new(call, error);
        // A version that is gone, or one that nobody converts to.
        if matches!(error.failure, CallFailure::NotFound | CallFailure::Refused { .. }) {
            self.doubt.notify_one();
        }
        self.teller.watch_fails(self.resource, error.label(), error.to_string());
        None
    }
}

/// Completes when other versions than these are served. It is asked from time to time, when a watch
/// finds nothing to watch, and soon where these are no more than a guess.
pub(super) async fn until_others(
    kinds: Kinds,
    served: Served,
    mut is_sure: bool,
    doubt: Arc<Notify>,
) {
    loop {
        let pause = if is_sure { ASK_AGAIN } else { WATCH_PAUSE };
        tokio::select! {
            () = doubt.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        match kinds.ask().await {
            Some(found) if found != served => return,
            Some(_) => is_sure = true,
            None => {}
        }
        // Not more often than a watch is renewed.
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

/// The same pause always. A backoff that grows is reset by kube at the first event, and a list that
/// is refused begins with one: it would never grow.
pub(super) struct Pause;

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(WATCH_PAUSE)
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {}
}
