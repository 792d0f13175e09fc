//! Waiting for a condition, with a deadline.

use std::time::Duration;

use zenvoy_xds::server::Outcome;

/// Tries until there is a result. The pause between two tries only spares the processor.
///
/// # Panics
/// After 60 seconds without a result.
pub(crate) async fn some<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            if let Some(found) = attempt().await {
                return found;
            }
        }
    };
    done(what, tries).await
}

/// Waits for a future.
///
/// # Panics
/// After 60 seconds.
pub(crate) async fn done<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(result) => result,
        Err(_) => panic!("not within 60 s: {what}"),
    }
}

/// Waits until the Envoy has applied something.
///
/// # Panics
/// After 60 seconds, or when it has refused it.
pub(crate) async fn applied(acked: impl Future<Output = Outcome>) {
    assert_eq!(done("Envoy's ACK", acked).await, Outcome::Applied);
}
