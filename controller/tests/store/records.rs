//! Short words for what tests write and await.

use bytes::Bytes;
use tokio::sync::mpsc;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{Compare, Entry, Key, Store, StoreError, Txn, TxnOutcome, WatchEvent, Write};
use zenvoy_shared::id::{ControllerId, NodeId};

use crate::etcd::PATIENCE;

pub(crate) fn node(name: &str) -> Key {
    Key::Node(NodeId(name.into()))
}

pub(crate) fn controller(name: &str) -> Key {
    Key::Controller(ControllerId(name.into()))
}

pub(crate) fn put(key: &Key, value: &str) -> Write {
    Write::Put(key.clone(), Bytes::copy_from_slice(value.as_bytes()), None)
}

/// A transaction that may be sent again.
pub(crate) fn creates(key: &Key) -> Txn {
    Txn { compares: vec![Compare::Absent(key.clone())], writes: vec![put(key, "1")] }
}

pub(crate) fn entry(key: &Key, value: &str, at: Revision) -> Entry {
    Entry { key: key.clone(), value: Bytes::copy_from_slice(value.as_bytes()), mod_revision: at }
}

pub(crate) async fn try_commit(
    store: &impl Store,
    compares: Vec<Compare>,
    writes: Vec<Write>,
) -> Result<TxnOutcome, StoreError> {
    store.txn(Txn { compares, writes }).await
}

pub(crate) async fn commit(store: &impl Store, compares: Vec<Compare>, writes: Vec<Write>) -> TxnOutcome {
    try_commit(store, compares, writes).await.expect("the store answers")
}

pub(crate) async fn written(store: &impl Store, write: Write) -> Revision {
    match commit(store, Vec::new(), vec![write]).await {
        TxnOutcome::Written(revision) => revision,
        TxnOutcome::Refused(_) => panic!("refused without a comparison"),
    }
}

/// Writes until the store says that it is written: what it does not know of may be written as well.
pub(crate) async fn written_at_last(store: &impl Store, write: Write) -> Revision {
    let writing = async {
        loop {
            match try_commit(store, Vec::new(), vec![write.clone()]).await {
                Ok(TxnOutcome::Written(revision)) => return revision,
                Ok(TxnOutcome::Refused(_)) => panic!("refused without a comparison"),
                Err(error) => assert!(error.could_retry(), "{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, writing).await.expect("written")
}

pub(crate) fn is_written(outcome: TxnOutcome) -> bool {
    matches!(outcome, TxnOutcome::Written(_))
}

pub(crate) async fn next(steps: &mut mpsc::Receiver<WatchEvent>) -> WatchEvent {
    tokio::time::timeout(PATIENCE, steps.recv()).await.expect("a step comes").expect("the watch goes on")
}

/// All steps up to one revision.
pub(crate) async fn steps_until(steps: &mut mpsc::Receiver<WatchEvent>, last: Revision) -> Vec<WatchEvent> {
    let mut seen = Vec::new();
    loop {
        let step = next(steps).await;
        let revision = step.revision();
        assert!(revision <= last, "{step:?} is beyond {last:?}");
        seen.push(step);
        if revision == last {
            return seen;
        }
    }
}
