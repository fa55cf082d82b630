//! What the judgement depends on and the cluster has to say first.

use std::sync::{Arc, Mutex, PoisonError};

/// Something that is not known until it is learnt, and may change then. Clones share it.
#[derive(Debug)]
pub struct Learnt<T>(Arc<Mutex<Option<T>>>);

impl<T> Learnt<T> {
    /// From now on it is this.
    pub fn learn(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// Whether it is known, and like that.
    pub(super) fn is(&self, like: impl FnOnce(&T) -> bool) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(like)
    }
}

impl<T> Clone for Learnt<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Learnt<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
