//! What every store promises. Run on each implementation.

use std::time::Duration;

use bytes::Bytes;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{
    Compare, Key, MemoryStore, Room, Store, StoreError, TxnOutcome, WatchEvent, Write,
};

use crate::etcd::Etcd;
use crate::records::{
    commit, controller, entry, is_written, next, node, put, steps_until, try_commit, written,
};

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
    written(&store, Write::Delete(key.clone())).await;
    assert!(!is_written(commit(&store, guard(), vec![put(&key, "4")]).await), "what is gone was not written");
}

async fn one_comparison_that_fails_is_enough_to_change_nothing(store: impl Store) {
    let seen = written(&store, put(&node("a"), "1")).await;
    let compares = vec![
        Compare::WrittenAt(node("a"), seen),
        Compare::UnchangedSince(Room::Nodes, seen),
        Compare::Absent(node("a")),
        Compare::Absent(Key::Leader),
    ];
    let writes = vec![put(&node("b"), "1"), Write::Delete(node("a"))];
    let outcome = commit(&store, compares, writes).await;
    assert_eq!(outcome, TxnOutcome::Refused(seen));
    let all = store.read(Room::All).await.expect("read");
    assert_eq!((all.revision, all.entries), (seen, vec![entry(&node("a"), "1", seen)]));
}

async fn all_writes_of_a_transaction_have_one_revision(store: impl Store) {
    let start = store.read(Room::All).await.expect("read").revision;
    let mut steps = store.watch(start).await.expect("watch");
    written(&store, put(&node("a"), "1")).await;
    let writes = vec![put(&node("b"), "1"), Write::Delete(node("a")), put(&Key::Leader, "x")];
    let TxnOutcome::Written(together) = commit(&store, Vec::new(), writes).await else { panic!("refused") };
    let seen = steps_until(&mut steps, together).await;
    assert_eq!(seen.len(), 2, "the first of three, as they share the revision: {seen:?}");
    let mut seen = [seen[1].clone(), next(&mut steps).await, next(&mut steps).await];
    seen.sort_by_key(|step| matches!(step, WatchEvent::Deleted(..)));
    assert!(seen[..2].contains(&WatchEvent::Put(entry(&node("b"), "1", together))));
    assert!(seen[..2].contains(&WatchEvent::Put(entry(&Key::Leader, "x", together))));
    assert_eq!(seen[2], WatchEvent::Deleted(node("a"), together));
}

async fn a_key_occurs_once_in_a_transaction(store: impl Store) {
    let twice = vec![put(&node("a"), "1"), put(&node("a"), "2")];
    let refused = try_commit(&store, Vec::new(), twice).await;
    assert!(matches!(&refused, Err(error @ StoreError::Refused(_)) if !error.could_retry()), "{refused:?}");
    assert!(store.read(Room::All).await.expect("read").entries.is_empty());
}

async fn a_room_that_changed_is_noticed(store: impl Store) {
    let seen = written(&store, put(&node("a"), "1")).await;
    let guard = |seen| vec![Compare::UnchangedSince(Room::Nodes, seen)];
    let empty = vec![Compare::UnchangedSince(Room::Drains, Revision(0))];
    assert!(is_written(commit(&store, empty, vec![put(&Key::Leader, "v")]).await), "nothing is unchanged");
    assert!(is_written(commit(&store, guard(seen), vec![put(&controller("c"), "w")]).await));
    assert!(
        is_written(commit(&store, guard(seen), vec![put(&Key::Leader, "x")]).await),
        "elsewhere is not here"
    );
    let changed = written(&store, put(&node("b"), "1")).await;
    assert!(!is_written(commit(&store, guard(seen), vec![put(&Key::Leader, "y")]).await));
    assert!(is_written(commit(&store, guard(changed), vec![put(&Key::Leader, "z")]).await));
}

async fn a_deletion_is_not_noticed_by_a_comparison_of_the_room(store: impl Store) {
    written(&store, put(&node("a"), "1")).await;
    let seen = written(&store, put(&node("b"), "1")).await;
    written(&store, Write::Delete(node("b"))).await;
    let guard = vec![Compare::UnchangedSince(Room::Nodes, seen)];
    assert!(is_written(commit(&store, guard, vec![put(&Key::Leader, "x")]).await));
}

async fn a_read_of_a_room_brings_that_room_only_sorted_by_key(store: impl Store) {
    let b = written(&store, put(&node("b"), "1")).await;
    let a = written(&store, put(&node("a"), "1")).await;
    written(&store, put(&Key::Leader, "x")).await;
    let last = written(&store, put(&controller("c"), "1")).await;
    let nodes = store.read(Room::Nodes).await.expect("read");
    assert_eq!(nodes.entries, [entry(&node("a"), "1", a), entry(&node("b"), "1", b)]);
    assert_eq!(nodes.revision, last, "of the store, not of the room");
    assert_eq!(store.read(Room::Leader).await.expect("read").entries.len(), 1);
    assert_eq!(store.read(Room::All).await.expect("read").entries.len(), 4);
    assert!(store.read(Room::Wakes).await.expect("read").entries.is_empty());
}

async fn deletions_have_revisions_that_order_with_puts(store: impl Store) {
    let put_first = written(&store, put(&node("a"), "1")).await;
    let deleted = written(&store, Write::Delete(node("a"))).await;
    let deleted_again = written(&store, Write::Delete(node("a"))).await;
    let put_again = written(&store, put(&node("a"), "2")).await;
    assert!(put_first < deleted && deleted < put_again);
    assert_eq!(deleted_again, deleted, "what is not there cannot go, so nothing has changed");
}

async fn a_watch_brings_exactly_the_steps_after_a_revision_in_order(store: impl Store) {
    written(&store, put(&node("a"), "0")).await;
    let seen = written(&store, put(&node("b"), "0")).await;
    let first = written(&store, put(&node("a"), "1")).await;
    let second = written(&store, Write::Delete(node("a"))).await;
    let mut steps = store.watch(seen).await.expect("watch");
    let third = written(&store, put(&node("c"), "1")).await;
    let expected = [
        WatchEvent::Put(entry(&node("a"), "1", first)),
        WatchEvent::Deleted(node("a"), second),
        WatchEvent::Put(entry(&node("c"), "1", third)),
    ];
    assert_eq!(steps_until(&mut steps, third).await, expected);
}

async fn what_hangs_on_a_revoked_lease_is_gone(store: impl Store) {
    let lease = store.grant(Duration::from_secs(60)).await.expect("grant");
    written(&store, Write::Put(controller("c"), Bytes::from_static(b"{}"), Some(lease))).await;
    store.keep_alive(lease).await.expect("alive");
    store.revoke(lease).await.expect("revoke");
    assert!(store.read(Room::Controllers).await.expect("read").entries.is_empty());
    assert!(matches!(store.keep_alive(lease).await, Err(StoreError::LeaseEnded(ended)) if ended == lease));
    assert!(matches!(store.revoke(lease).await, Err(StoreError::LeaseEnded(ended)) if ended == lease));
}

async fn nothing_is_hung_on_a_lease_that_has_ended(store: impl Store) {
    let lease = store.grant(Duration::from_secs(60)).await.expect("grant");
    store.revoke(lease).await.expect("revoke");
    let write =
        || vec![put(&node("a"), "1"), Write::Put(controller("c"), Bytes::from_static(b"{}"), Some(lease))];
    let refused = try_commit(&store, Vec::new(), write()).await;
    assert!(matches!(refused, Err(StoreError::LeaseEnded(ended)) if ended == lease), "{refused:?}");
    assert!(store.read(Room::All).await.expect("read").entries.is_empty(), "nor is anything else written");
    let elsewhere = commit(&store, vec![Compare::WrittenAt(Key::Leader, Revision(9))], write()).await;
    assert!(!is_written(elsewhere), "the comparison is looked at first");
}

async fn what_hangs_on_a_lease_that_nobody_prolongs_goes_and_the_watch_tells(store: impl Store) {
    let lease = store.grant(Duration::from_secs(1)).await.expect("grant");
    let hung = written(&store, Write::Put(controller("c"), Bytes::from_static(b"{}"), Some(lease))).await;
    let mut steps = store.watch(hung).await.expect("watch");
    let gone = next(&mut steps).await;
    assert!(
        matches!(&gone, WatchEvent::Deleted(key, at) if *key == controller("c") && *at > hung),
        "{gone:?}"
    );
    assert!(matches!(store.keep_alive(lease).await, Err(StoreError::LeaseEnded(_))));
}

async fn a_record_that_is_written_without_its_lease_outlives_that(store: impl Store) {
    let lease = store.grant(Duration::from_secs(60)).await.expect("grant");
    written(&store, Write::Put(controller("c"), Bytes::from_static(b"1"), Some(lease))).await;
    let freed = written(&store, put(&controller("c"), "2")).await;
    store.revoke(lease).await.expect("revoke");
    let entries = store.read(Room::Controllers).await.expect("read").entries;
    assert_eq!(entries, [entry(&controller("c"), "2", freed)]);
}

macro_rules! conformance {
    ($($test:ident),* $(,)?) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                super::$test(MemoryStore::new()).await;
            })*
        }

        mod on_etcd {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                let etcd = Etcd::start();
                super::$test(etcd.store().await).await;
            })*
        }
    };
}

conformance!(
    only_one_of_two_creators_wins,
    a_write_on_an_older_revision_is_refused,
    one_comparison_that_fails_is_enough_to_change_nothing,
    all_writes_of_a_transaction_have_one_revision,
    a_key_occurs_once_in_a_transaction,
    a_room_that_changed_is_noticed,
    a_deletion_is_not_noticed_by_a_comparison_of_the_room,
    a_read_of_a_room_brings_that_room_only_sorted_by_key,
    deletions_have_revisions_that_order_with_puts,
    a_watch_brings_exactly_the_steps_after_a_revision_in_order,
    what_hangs_on_a_revoked_lease_is_gone,
    nothing_is_hung_on_a_lease_that_has_ended,
    what_hangs_on_a_lease_that_nobody_prolongs_goes_and_the_watch_tells,
    a_record_that_is_written_without_its_lease_outlives_that,
);
