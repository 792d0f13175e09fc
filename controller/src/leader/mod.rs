//! Who may write decisions. In: the store; out: the term, whose revision guards every write of the leader (section 6).

mod election;
mod lease;

pub use election::{Election, Next, Observed};
pub use lease::{LeaseOptions, elect};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::model::{Replica, Term};
use crate::replica::Event;
use crate::store::{Compare, Key, Room, Store, StoreError, Txn, TxnOutcome, Write, encode};

/// Takes the term over: one write, compared with the term that was observed. `None` when another replica was faster.
pub async fn take_over(store: &dyn Store, me: &Replica) -> Result<Option<Term>, StoreError> {
    let observed = store.read(Room::Leader).await?.entries.pop();
    let unchanged = match observed {
        Some(entry) => Compare::WrittenAt(Key::Leader, entry.mod_revision),
        None => Compare::Absent(Key::Leader),
    };
    let write = Write::Put(Key::Leader, encode(me), None);
    match store.txn(Txn { compares: vec![unchanged], writes: vec![write] }).await? {
        TxnOutcome::Written(revision) => Ok(Some(Term(revision))),
        TxnOutcome::Refused(_) => Ok(None),
    }
}

/// How replicas agree on a leader.
#[derive(Clone)]
pub enum Electing {
    /// There is one replica only.
    Alone,
    /// By a Lease of Kubernetes.
    Lease(LeaseOptions),
}

/// Leads as the only replica there is: takes the term over once, whoever had it. A replica that starts later does the
/// same, and then this one's writes are refused.
pub async fn lead_alone(
    store: Arc<dyn Store>,
    me: Replica,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    let mut pause = Duration::from_millis(50);
    loop {
        match take_over(store.as_ref(), &me).await {
            Ok(Some(term)) => {
                let _ = events.send(Event::Leads(Some(term))).await;
                stop.cancelled().await;
                return;
            }
            Ok(None) => {}
            Err(error) => warn!(%error, "the term cannot be taken over yet"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
        }
    }
}
