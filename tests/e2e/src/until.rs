//! Waiting for a condition, with a deadline.

use std::time::Duration;

/// The longest any single condition may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Tries until there is a result. The pause between two tries only spares the processor.
///
/// # Panics
/// After 60 seconds without a result.
pub async fn some<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            if let Some(found) = attempt().await {
                return found;
            }
        }
    };
    match tokio::time::timeout(LIMIT, tries).await {
        Ok(found) => found,
        Err(_) => panic!("not within {} s: {what}", LIMIT.as_secs()),
    }
}

/// Tries until it is so.
///
/// # Panics
/// After 60 seconds.
pub async fn so(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    some(what, async || condition().await.then_some(())).await;
}

/// Waits for a future.
///
/// # Panics
/// After 60 seconds.
pub async fn done<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(result) => result,
        Err(_) => panic!("not within {} s: {what}", LIMIT.as_secs()),
    }
}
