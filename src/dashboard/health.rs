//! Whether the process is alive and ready, for the probes of the kubelet.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shared between the loops that know and the server that tells. At first alive and not ready.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    not_ready: Option<String>,
    alive_until: Option<Instant>,
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            not_ready: Some("starting".to_owned()),
            alive_until: None,
        })))
    }
}

impl Health {
    /// Ready to serve.
    pub fn set_ready(&self) {
        self.state().not_ready = None;
    }

    /// Not ready, because `why`.
    pub fn set_not_ready(&self, why: impl Into<String>) {
        self.state().not_ready = Some(why.into());
    }

    /// A sign of life: without another one within `time` the process counts as stuck. A loop that
    /// never gives one is not watched.
    pub fn alive_for(&self, time: Duration) {
        self.state().alive_until = Instant::now().checked_add(time);
    }

    /// Why the process should be restarted, if it should.
    #[must_use]
    pub fn stuck(&self) -> Option<String> {
        let late = Instant::now().checked_duration_since(self.state().alive_until?)?;
        (!late.is_zero())
            .then(|| format!("no sign of life for {} s longer than promised", late.as_secs()))
    }

    /// Why the process is not ready, if it is not.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        self.state().not_ready.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stops_giving_signs_is_stuck() {
        let health = Health::default();
        assert_eq!(health.stuck(), None);
        health.alive_for(Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(health.stuck(), None);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(health.stuck().unwrap(), "no sign of life for 5 s longer than promised");
        health.alive_for(Duration::from_secs(30));
        assert_eq!(health.stuck(), None);
    }
}
