//! The two watches: what a failure of one says.

use std::sync::Arc;

use kube::runtime::watcher;
use tokio::sync::Notify;

use super::told::Teller;
use crate::api::names;
use crate::controllers::client::{Call, CallError};
use crate::controllers::watches::{Failed, may_be_gone};

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
        let error = match object {
            Ok(object) => {
                self.teller.watch_works(self.resource);
                return Some(object);
            }
            Err(error) => error,
        };
        let (verb, error) = match Failed::of(error) {
            Failed::TooOld => return None,
            Failed::Useless(error) => {
                self.teller.watch_fails(self.resource, "refused", error);
                return None;
            }
            Failed::Call(verb, error) => (verb, error),
        };
        let call = Call::all(verb, names::GROUP, self.resource, self.namespace.as_deref());
        let error = CallError::new(call, error);
        if may_be_gone(&error) {
            self.doubt.notify_one();
        }
        self.teller.watch_fails(self.resource, error.label(), error.to_string());
        None
    }
}
