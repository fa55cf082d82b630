//! What all watches of our kinds have in common: the pause before one is begun again, what its failure
//! means, and when it is to begin anew in another version.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use tokio::sync::Notify;

use super::client::{CallError, CallFailure};
use super::kinds::{ASK_AGAIN, Kinds};
use crate::api::Served;

/// Pause before a watch that ended with an error is begun again. Two watches of one process every two
/// seconds are no load for an API server that comes back, and nobody waits long after an outage.
pub const WATCH_PAUSE: Duration = Duration::from_secs(2);

/// Why a watch failed.
pub(super) enum Failed {
    /// The call with this verb.
    Call(&'static str, kube::Error),
    /// The API server no longer knows what came since (410): the watch lists again, nothing is lost.
    TooOld,
    /// What it lists cannot be watched.
    Useless(String),
}

impl Failed {
    pub(super) fn of(error: watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error) => Self::Call("list", error),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                Self::Call("watch", error)
            }
            watcher::Error::WatchError(status) if status.code == 410 => Self::TooOld,
            watcher::Error::WatchError(status) => Self::Call("watch", kube::Error::Api(status)),
            error @ watcher::Error::NoResourceVersion => Self::Useless(error.to_string()),
        }
    }
}

/// Whether a failure may come of a version that is gone, or that nobody converts to.
pub(super) const fn may_be_gone(error: &CallError) -> bool {
    matches!(error.failure, CallFailure::NotFound | CallFailure::Refused { .. })
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
