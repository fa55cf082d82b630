//! The two watches: what a failure of one says. And which graphs are to be looked at because their
//! namespace is left alone no more.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use tokio::sync::{Notify, watch as channel};

use super::Dgd;
use super::told::Teller;
use crate::api::{Version, names};
use crate::controllers::client::{Call, CallError};
use crate::controllers::restricted::{Restricted, is_left_alone};
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

/// The graphs of the namespaces that are taken back, whenever some are.
pub(super) fn taken_back(
    restricted: Option<channel::Receiver<Restricted>>,
    dgds: Store<Dgd>,
    version: Version,
) -> BoxStream<'static, Option<ObjectRef<Dgd>>> {
    let Some(mut restricted) = restricted else { return stream::empty().boxed() };
    let before = restricted.borrow_and_update().clone();
    let next = move |(mut restricted, before): (channel::Receiver<Restricted>, Restricted)| {
        let dgds = dgds.clone();
        async move {
            // Where nobody is left to tell, what is known stays.
            restricted.changed().await.ok()?;
            let after = restricted.borrow_and_update().clone();
            let back = dgds.state_filter(|dgd| {
                let namespace = dgd.meta().namespace.as_deref().unwrap_or_default();
                is_left_alone(&before, namespace) && !is_left_alone(&after, namespace)
            });
            let back =
                back.into_iter().map(move |dgd| Some(ObjectRef::from_obj_with(&*dgd, version)));
            Some((stream::iter(back), (restricted, after)))
        }
    };
    stream::unfold((restricted, before), next).flatten().boxed()
}
