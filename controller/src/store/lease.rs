//! Keeps one lease alive. In: a store; out: the lease while it lives, `None` while there is none, and when the store was
//! last heard.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use zenvoy_shared::fault::Faults;

use super::{LeaseId, Store};

/// When the last call began that granted or prolonged the lease; `None` before the first.
pub type Heard = watch::Sender<Option<Instant>>;

/// Tells of the lease that lives, again and again until `stop`; then ends it, so that what hangs on it goes at once.
pub async fn keep(
    store: Arc<dyn Store>,
    ttl: Duration,
    tell: mpsc::Sender<Option<LeaseId>>,
    heard: Heard,
    stop: CancellationToken,
) {
    let faults = Faults::default();
    while !stop.is_cancelled() {
        // Taken before the call: the lease cannot end sooner than this says.
        let asked = Instant::now();
        match store.grant(ttl).await {
            Ok(lease) => {
                heard.send_replace(Some(asked));
                if tell.send(Some(lease)).await.is_err() {
                    return;
                }
                prolong(store.as_ref(), lease, ttl, asked, &heard, &stop).await;
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
    heard: &Heard,
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
                heard.send_replace(Some(asked));
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

    fn unheard() -> Heard {
        watch::Sender::new(None)
    }

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
        let keeping = tokio::spawn(keep(store.clone(), TTL, tell, unheard(), stop.clone()));
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
        tokio::spawn(keep(store.clone(), TTL, tell, unheard(), CancellationToken::new()));
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
        tokio::spawn(keep(store.clone(), TTL, tell, unheard(), CancellationToken::new()));
        told.recv().await.flatten().expect("a lease");
        store.mute.store(true, Ordering::Relaxed);
        assert_eq!(told.recv().await, Some(None));
        assert_eq!(granted.elapsed(), TTL);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_when_the_last_call_began_that_the_store_answered() {
        let store = Arc::new(Mute::default());
        let (tell, mut told) = mpsc::channel(4);
        let heard = unheard();
        let mut hears = heard.subscribe();
        let granted = Instant::now();
        tokio::spawn(keep(store.clone(), TTL, tell, heard, CancellationToken::new()));
        told.recv().await.flatten().expect("a lease");
        assert_eq!(*hears.borrow_and_update(), Some(granted));
        hears.changed().await.expect("it is prolonged");
        let last = granted + TTL / 4;
        assert_eq!(*hears.borrow_and_update(), Some(last));
        store.mute.store(true, Ordering::Relaxed);
        let none_yet = tokio::time::timeout_at(last + TTL - Duration::from_millis(1), told.recv()).await;
        assert!(none_yet.is_err(), "told {none_yet:?} while it lived");
        assert_eq!(*hears.borrow(), Some(last));
        assert_eq!(told.recv().await, Some(None));
    }
}
