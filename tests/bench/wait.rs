//! Waiting: ask until the answer is there or the time is over.

use std::time::{Duration, Instant};

/// How often a question is asked again. Short beside the second in which the HPA
/// and Prometheus look, long beside what a question costs.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Asks until the answer is `Ok`, and returns it.
///
/// `what` completes "waited for …"; an `Err` says what was seen instead.
///
/// # Panics
/// When `within` is over, with `what` and the last `Err`.
pub(crate) async fn eventually<T, E: std::fmt::Display>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) => give_up_after(begin, within, what, &seen),
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// [`eventually`] for code that has no runtime.
pub(crate) fn eventually_blocking<T, E: std::fmt::Display>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(seen) => give_up_after(begin, within, what, &seen),
        }
        std::thread::sleep(POLL_EVERY);
    }
}

#[track_caller]
fn give_up_after(begin: Instant, within: Duration, what: &str, seen: &dyn std::fmt::Display) {
    assert!(begin.elapsed() < within, "waited {within:?} for {what}; last seen: {seen}");
}
