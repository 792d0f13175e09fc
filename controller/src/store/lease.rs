//! Keeps one lease alive. In: a store; out: the lease while it lives, `None` while there is none.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{LeaseId, Store};

/// Tells of the lease that lives, again and again until `stop`; then ends it, so that what hangs on it goes at once.
pub async fn keep(
    store: Arc<dyn Store>,
    ttl: Duration,
    tell: mpsc::Sender<Option<LeaseId>>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        // Taken before the call: the lease cannot end sooner than this says.
        let asked = Instant::now();
        match store.grant(ttl).await {
            Ok(lease) => {
                if tell.send(Some(lease)).await.is_err() {
                    return;
                }
                prolong(store.as_ref(), lease, ttl, asked, &stop).await;
                if tell.send(None).await.is_err() || stop.is_cancelled() {
                    if let Err(error) = store.revoke(lease).await {
                        warn!(%error, "the lease could not be ended; it ends by itself");
                    }
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "no lease: nothing is drained or allocated until the store answers");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(ttl / 10) => {}
                }
            }
        }
    }
}

/// Until `stop`, or until the lease has ended or must be taken to have ended.
async fn prolong(
    store: &dyn Store,
    lease: LeaseId,
    ttl: Duration,
    granted: Instant,
    stop: &CancellationToken,
) {
    let mut ends = granted + ttl;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ttl / 4) => {}
        }
        let asked = Instant::now();
        match store.keep_alive(lease).await {
            Ok(()) => ends = asked + ttl,
            Err(error) if error.could_retry() && Instant::now() < ends => {
                warn!(%error, "the lease was not prolonged; it is tried again");
            }
            Err(error) => {
                warn!(%error, "the lease has ended");
                return;
            }
        }
    }
}
