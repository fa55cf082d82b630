//! Log lines that strangers can cause: some of them are told, the others counted.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a line is rare for: who does something wrong often does it a thousand times more.
const WINDOW: Duration = Duration::from_secs(10);

/// Lets the first few through in each [`WINDOW`], and counts the others.
#[derive(Debug)]
pub(super) struct Seldom {
    most: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    began: Instant,
    told: u32,
    untold: u64,
}

impl Seldom {
    /// Lets so many through in each window.
    pub(super) fn new(most: u32) -> Self {
        let state = State { began: Instant::now(), told: 0, untold: 0 };
        Self { most, state: Mutex::new(state) }
    }

    /// Whether the next one is to be told, and then how many before it were not.
    pub(super) fn tell(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.elapsed() >= WINDOW {
            state.began = Instant::now();
            state.told = 0;
        }
        if state.told >= self.most {
            state.untold = state.untold.saturating_add(1);
            return None;
        }
        state.told += 1;
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_few_of_each_window_are_told_and_the_others_counted() {
        let seldom = Seldom::new(2);
        let told: Vec<_> = (0..5).map(|_| seldom.tell()).collect();
        assert_eq!(told, [Some(0), Some(0), None, None, None]);
        tokio::time::advance(WINDOW).await;
        let told: Vec<_> = (0..3).map(|_| seldom.tell()).collect();
        assert_eq!(told, [Some(3), Some(0), None]);
        tokio::time::advance(3 * WINDOW).await;
        assert_eq!(seldom.tell(), Some(1));
    }
}
