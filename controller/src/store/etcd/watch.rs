//! A watch that outlives connections and compaction: it resumes after the last step, and lists again when etcd has
//! forgotten that.

use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse};
use tokio::sync::mpsc;
use tracing::warn;

use super::{EtcdStore, failed};
use crate::model::Revision;
use crate::store::{Room, Store, StoreError, WatchEvent};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Nobody listens any more.
struct Deserted;

pub(super) async fn run(store: EtcdStore, mut after: Revision, steps: mpsc::Sender<WatchEvent>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let seen = after;
        tokio::select! {
            () = steps.closed() => return,
            followed = follow(&store, &mut after, &steps) => match followed {
                Ok(Deserted) => return,
                Err(error) => warn!(%error, after = after.0, "the watch of the store broke; it resumes"),
            },
        }
        pause = if after > seen { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        let jittered = pause.mul_f64(rand::random_range(0.5..1.0));
        tokio::select! {
            () = steps.closed() => return,
            () = tokio::time::sleep(jittered) => {}
        }
    }
}

async fn follow(
    store: &EtcdStore,
    after: &mut Revision,
    steps: &mpsc::Sender<WatchEvent>,
) -> Result<Deserted, StoreError> {
    let options = WatchOptions::new().with_prefix().with_start_revision(after.0.saturating_add(1));
    let mut watch = store.client.clone().watch(store.path(""), Some(options)).await.map_err(failed)?;
    while let Some(response) = watch.message().await.map_err(failed)? {
        if response.compact_revision() > 0 {
            let now = store.read(Room::All).await?;
            *after = now.revision;
            if steps.send(WatchEvent::Resync(now)).await.is_err() {
                return Ok(Deserted);
            }
            return Err(StoreError::Unavailable("etcd has compacted what came in between".into()));
        }
        if response.canceled() {
            return Err(StoreError::Unavailable(response.cancel_reason().to_owned()));
        }
        for (revision, step) in read(store, &response)? {
            if steps.send(step).await.is_err() {
                return Ok(Deserted);
            }
            *after = revision;
        }
    }
    Err(StoreError::Unavailable("etcd ended the watch".into()))
}

fn read(store: &EtcdStore, response: &WatchResponse) -> Result<Vec<(Revision, WatchEvent)>, StoreError> {
    let kvs = response.events().iter().filter_map(|event| Some((event.event_type(), event.kv()?)));
    kvs.map(|(kind, kv)| {
        let entry = store.entry(kv)?;
        let revision = entry.mod_revision;
        let step = match kind {
            EventType::Put => WatchEvent::Put(entry),
            EventType::Delete => WatchEvent::Deleted(entry.key, revision),
        };
        Ok((revision, step))
    })
    .collect()
}
