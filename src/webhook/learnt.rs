//! What the judgement depends on and the cluster has to say first.

use tokio::sync::watch;

/// Something that is not known until it is learnt, and may change then: the newest of what a channel
/// told, also when nobody tells any more.
#[derive(Clone, Debug)]
pub struct Learnt<T>(watch::Receiver<Option<T>>);

impl<T> Learnt<T> {
    /// Whether it is known, and like that.
    pub(super) fn is(&self, like: impl FnOnce(&T) -> bool) -> bool {
        self.0.borrow().as_ref().is_some_and(like)
    }
}

impl<T> From<watch::Receiver<Option<T>>> for Learnt<T> {
    fn from(told: watch::Receiver<Option<T>>) -> Self {
        Self(told)
    }
}

impl<T> Default for Learnt<T> {
    /// What is never known.
    fn default() -> Self {
        Self(watch::channel(None).1)
    }
}
