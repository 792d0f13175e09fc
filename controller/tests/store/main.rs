//! What every store promises. Run on each implementation.

mod etcd_process;

use std::time::Duration;

use bytes::Bytes;
use etcd_process::Etcd;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{
    Compare, Key, MemoryStore, Room, Store, Txn, TxnOutcome, WATCH_BUFFER, WatchEvent, Write,
};
use zenvoy_shared::id::{ControllerId, NodeId};

fn node(name: &str) -> Key {
    Key::Node(NodeId(name.into()))
}

fn put(key: &Key, value: &'static str) -> Write {
    Write::Put(key.clone(), Bytes::from_static(value.as_bytes()), None)
}

async fn commit(store: &impl Store, compares: Vec<Compare>, writes: Vec<Write>) -> TxnOutcome {
    store.txn(Txn { compares, writes }).await.expect("the store answers")
}

async fn written(store: &impl Store, write: Write) -> Revision {
    match commit(store, Vec::new(), vec![write]).await {
        TxnOutcome::Written(revision) => revision,
        TxnOutcome::Refused(_) => panic!("refused without a comparison"),
    }
}

fn is_written(outcome: TxnOutcome) -> bool {
    matches!(outcome, TxnOutcome::Written(_))
}

async fn only_one_of_two_creators_wins(store: impl Store) {
    let create = || vec![Compare::Absent(Key::Leader)];
    assert!(is_written(commit(&store, create(), vec![put(&Key::Leader, "a")]).await));
    assert!(!is_written(commit(&store, create(), vec![put(&Key::Leader, "b")]).await));
    let entries = store.read(Room::Leader).await.expect("read").entries;
    assert_eq!(entries[0].value, "a");
}

async fn a_write_on_an_older_revision_is_refused(store: impl Store) {
    let key = node("a");
    let first = written(&store, put(&key, "1")).await;
    let guard = || vec![Compare::WrittenAt(key.clone(), first)];
    assert!(is_written(commit(&store, guard(), vec![put(&key, "2")]).await));
    assert!(!is_written(commit(&store, guard(), vec![put(&key, "3")]).await));
}

async fn a_room_that_changed_is_noticed(store: impl Store) {
    let seen = written(&store, put(&node("a"), "1")).await;
    let guard = || vec![Compare::UnchangedSince(Room::Nodes, seen)];
    assert!(is_written(commit(&store, guard(), vec![put(&Key::Leader, "x")]).await));
    written(&store, put(&node("b"), "1")).await;
    assert!(!is_written(commit(&store, guard(), vec![put(&Key::Leader, "y")]).await));
}

async fn a_watch_brings_every_step_in_order(store: impl Store) {
    let start = store.read(Room::All).await.expect("read").revision;
    let mut steps = store.watch(start).await.expect("watch");
    let first = written(&store, put(&node("a"), "1")).await;
    let second = written(&store, Write::Delete(node("a"))).await;
    let step = steps.recv().await.expect("a step");
    assert!(matches!(step, WatchEvent::Put(entry) if entry.key == node("a") && entry.mod_revision == first));
    assert_eq!(steps.recv().await, Some(WatchEvent::Deleted(node("a"), second)));
}

async fn what_hangs_on_a_revoked_lease_is_gone(store: impl Store) {
    let lease = store.grant(Duration::from_secs(60)).await.expect("grant");
    let key = Key::Controller(ControllerId("c".into()));
    written(&store, Write::Put(key, Bytes::from_static(b"{}"), Some(lease))).await;
    store.keep_alive(lease).await.expect("alive");
    store.revoke(lease).await.expect("revoke");
    assert!(store.read(Room::Controllers).await.expect("read").entries.is_empty());
    assert!(store.keep_alive(lease).await.is_err());
}

macro_rules! conformance {
    ($store:ident, $make:expr; $($test:ident),* $(,)?) => {
        mod $store {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                super::$test($make).await;
            })*
        }
    };
}

conformance!(in_memory, MemoryStore::new();
    only_one_of_two_creators_wins,
    a_write_on_an_older_revision_is_refused,
    a_room_that_changed_is_noticed,
    a_watch_brings_every_step_in_order,
    what_hangs_on_a_revoked_lease_is_gone,
);

conformance!(on_etcd, Etcd::start().await;
    only_one_of_two_creators_wins,
    a_write_on_an_older_revision_is_refused,
    a_room_that_changed_is_noticed,
    a_watch_brings_every_step_in_order,
    what_hangs_on_a_revoked_lease_is_gone,
);

#[tokio::test]
async fn a_watch_from_a_compacted_revision_is_resynchronised_and_goes_on() {
    let etcd = Etcd::start().await;
    let first = written(&etcd, put(&node("a"), "1")).await;
    let last = written(&etcd, put(&node("a"), "2")).await;
    etcd.compact(last).await;
    let mut steps = etcd.watch(Revision(first.0 - 1)).await.expect("watch");
    let step = steps.recv().await.expect("a step");
    assert!(matches!(step, WatchEvent::Resync(now) if now.revision == last && now.entries.len() == 1));
    written(&etcd, put(&node("b"), "1")).await;
    let step = steps.recv().await.expect("a step");
    assert!(matches!(step, WatchEvent::Put(entry) if entry.key == node("b")));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_prolongs_ends() {
    let store = MemoryStore::new();
    let lease = store.grant(Duration::from_secs(10)).await.expect("grant");
    tokio::time::advance(Duration::from_secs(9)).await;
    store.keep_alive(lease).await.expect("alive");
    tokio::time::advance(Duration::from_secs(9)).await;
    store.keep_alive(lease).await.expect("prolonged");
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(store.keep_alive(lease).await.is_err());
}

#[tokio::test]
async fn a_watcher_that_lags_is_resynchronised_instead_of_growing() {
    let store = MemoryStore::new();
    let mut steps = store.watch(Revision(0)).await.expect("watch");
    for _ in 0..2 * WATCH_BUFFER {
        written(&store, put(&node("a"), "1")).await;
    }
    let last = written(&store, put(&node("b"), "1")).await;
    let step = steps.recv().await.expect("a step");
    assert!(matches!(step, WatchEvent::Resync(now) if now.revision == last && now.entries.len() == 2));
    written(&store, put(&node("c"), "1")).await;
    let step = steps.recv().await.expect("a step");
    assert!(
        matches!(step, WatchEvent::Put(entry) if entry.key == node("c")),
        "only what is new comes after it"
    );
}
