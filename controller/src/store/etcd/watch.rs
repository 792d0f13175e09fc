//! A watch that outlives connections, members and compaction: it resumes after the last step, and lists again when
//! etcd has forgotten that.

use std::time::Duration;

use etcd_client::{EventType, WatchOptions, WatchResponse};
use tokio::sync::mpsc;
use tracing::warn;

use super::failure::{Failure, of_cancellation};
use super::members::Call;
use super::{EtcdStore, MESSAGE_LIMIT};
use crate::model::Revision;
use crate::store::{Room, Store, StoreError, WatchEvent};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Nobody listens any more.
struct Deserted;

/// How far a watch has come.
struct Place {
    after: Revision,
    /// How long it rests if it breaks now.
    pause: Duration,
}

pub(super) async fn run(store: EtcdStore, after: Revision, steps: mpsc::Sender<WatchEvent>) {
    let mut place = Place { after, pause: FIRST_PAUSE };
    loop {
        tokio::select! {
            () = steps.closed() => return,
            followed = follow(&store, &mut place, &steps) => match followed {
                Ok(Deserted) => return,
                Err(error) => warn!(%error, after = place.after.0, "the watch of the store broke; it resumes"),
            },
        }
        let jittered = place.pause.mul_f64(rand::random_range(0.5..1.0));
        place.pause = (place.pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = steps.closed() => return,
            () = tokio::time::sleep(jittered) => {}
        }
    }
}

async fn follow(
    store: &EtcdStore,
    place: &mut Place,
    steps: &mpsc::Sender<WatchEvent>,
) -> Result<Deserted, StoreError> {
    let from = place.after.0.saturating_add(1);
    let opened = store.members.call(Call::REPEATABLE, |client| {
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let mut client = client.watch_client().max_decoding_message_size(MESSAGE_LIMIT);
        let path = store.path("");
        async move { client.watch(path, Some(options)).await.map(|watch| (watch, client)) }
    });
    // A client made with later TLS files takes this one's place; the connection lives as long as one uses it.
    let (member, (mut watch, _client)) = opened.await?;
    let left = store.members.left(member);
    tokio::pin!(left);
    loop {
        let message = tokio::select! {
            message = watch.message() => message,
            () = &mut left => return Err(broken(store, member, "it answers calls no more")),
        };
        let response = match message {
            Ok(Some(response)) => response,
            Ok(None) => {
                store.members.leave(member);
                return Err(broken(store, member, "it ended the watch"));
            }
            Err(error) => {
                store.members.leave(member);
                return Err(broken(store, member, &error.to_string()));
            }
        };
        if response.compact_revision() > 0 {
            let now = store.read(Room::All).await?;
            place.after = now.revision;
            if steps.send(WatchEvent::Resync(now)).await.is_err() {
                return Ok(Deserted);
            }
            return Err(broken(store, member, "it has compacted what came in between"));
        }
        if response.canceled() {
            return Err(cancelled(store, member, response.cancel_reason()).await);
        }
        place.pause = FIRST_PAUSE;
        for (revision, step) in read(store, &response) {
            if let Some(step) = step
                && steps.send(step).await.is_err()
            {
                return Ok(Deserted);
            }
            place.after = revision;
        }
    }
}

fn broken(store: &EtcdStore, member: usize, why: &str) -> StoreError {
    StoreError::Unavailable(format!("{}: {why}", store.members.endpoint_of(member)))
}

/// A member cancels a watch when it has lost the leader, or when the token no longer holds.
async fn cancelled(store: &EtcdStore, member: usize, reason: &str) -> StoreError {
    match of_cancellation(reason, store.members.endpoint_of(member)) {
        Failure::StaleToken(error) => match store.members.renew_token(member).await {
            Ok(()) => error,
            Err(
                Failure::Undone(error)
                | Failure::Unknown(error)
                | Failure::StaleToken(error)
                | Failure::Answered(error),
            ) => error,
        },
        Failure::Answered(error) => error,
        Failure::Undone(error) | Failure::Unknown(error) => {
            store.members.leave(member);
            error
        }
    }
}

/// The steps of a response; `None` stands for one on a key that this version does not know.
fn read<'a>(
    store: &'a EtcdStore,
    response: &'a WatchResponse,
) -> impl Iterator<Item = (Revision, Option<WatchEvent>)> + Send + 'a {
    let kvs = response.events().iter().filter_map(|event| Some((event.event_type(), event.kv()?)));
    kvs.map(|(kind, kv)| {
        let revision = Revision(kv.mod_revision());
        let step = store.entry(kv).map(|entry| match kind {
            EventType::Put => WatchEvent::Put(entry),
            EventType::Delete => WatchEvent::Deleted(entry.key, revision),
        });
        (revision, step)
    })
}
