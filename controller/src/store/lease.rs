//! Keeps one lease alive. In: a store; out: the lease while it lives, `None` while there is none.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use zenvoy_shared::fault::Faults;

use super::{LeaseId, Store};

/// Tells of the lease that lives, again and again until `stop`; then ends it, so that what hangs on it goes at once.
pub async fn keep(
    store: Arc<dyn Store>,
    ttl: Duration,
    tell: mpsc::Sender<Option<LeaseId>>,
    stop: CancellationToken,
) {
    let faults = Faults::default();
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
                if faults.is_news(&error.to_string(), std::time::Instant::now()) {
                    warn!(%error, "no lease: nothing is drained or allocated until the store answers");
                }
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
    let mut pause = ttl / 4;
    loop {
        let asked = Instant::now() + pause;
        let prolonged = async {
            tokio::time::sleep_until(asked).await;
            store.keep_alive(lease).await
        };
        // Whoever waits for an answer must not believe in the lease for longer than it lives.
        let prolonged = tokio::select! {
            () = stop.cancelled() => return,
            prolonged = tokio::time::timeout_at(ends, prolonged) => prolonged,
        };
        match prolonged {
            Ok(Ok(())) => {
                ends = asked + ttl;
                pause = ttl / 4;
            }
            Ok(Err(error)) if error.could_retry() => {
                warn!(%error, "the lease was not prolonged; it is tried again");
                pause = ttl / 10;
            }
            Ok(Err(error)) => {
                warn!(%error, "the lease has ended");
                return;
            }
            Err(_) => {
                warn!("the lease was not prolonged in time: it is taken to have ended");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Revision;
    use crate::store::{MemoryStore, Room, Snapshot, StoreError, Txn, TxnOutcome, WatchEvent};
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicBool, Ordering};

    const TTL: Duration = Duration::from_secs(10);

    /// A store that can fall silent for keep-alives.
    #[derive(Default)]
    struct Mute {
        store: MemoryStore,
        mute: AtomicBool,
    }

    #[async_trait]
    impl Store for Mute {
        async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
            self.store.txn(txn).await
        }

        async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
            self.store.read(room).await
        }

        async fn watch(&self, after: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
            self.store.watch(after).await
        }

        async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
            self.store.grant(ttl).await
        }

        async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
            if self.mute.load(Ordering::Relaxed) {
                tokio::time::sleep(TTL * 10).await;
            }
            self.store.keep_alive(lease).await
        }

        async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
            self.store.revoke(lease).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_lives_as_long_as_it_is_kept_and_ends_with_the_stop() {
        let store = Arc::new(MemoryStore::new());
        let (tell, mut told) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(keep(store.clone(), TTL, tell, stop.clone()));
        let lease = told.recv().await.flatten().expect("a lease");
        let none_for_long = tokio::time::timeout(TTL * 20, told.recv()).await;
        assert!(none_for_long.is_err(), "told {none_for_long:?} while it lived");
        store.keep_alive(lease).await.expect("alive");
        stop.cancel();
        keeping.await.expect("ends");
        assert!(matches!(store.keep_alive(lease).await, Err(StoreError::LeaseEnded(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_ended_is_told_and_followed_by_another() {
        let store = Arc::new(MemoryStore::new());
        let (tell, mut told) = mpsc::channel(4);
        tokio::spawn(keep(store.clone(), TTL, tell, CancellationToken::new()));
        let first = told.recv().await.flatten().expect("a lease");
        store.revoke(first).await.expect("revoke");
        assert_eq!(told.recv().await, Some(None));
        assert_ne!(told.recv().await.flatten().expect("another lease"), first);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_believes_in_a_lease_longer_than_it_surely_lives() {
        let store = Arc::new(Mute::default());
        let (tell, mut told) = mpsc::channel(4);
        let granted = Instant::now();
        tokio::spawn(keep(store.clone(), TTL, tell, CancellationToken::new()));
        told.recv().await.flatten().expect("a lease");
        store.mute.store(true, Ordering::Relaxed);
        assert_eq!(told.recv().await, Some(None));
        assert_eq!(granted.elapsed(), TTL);
    }
}
