//! What each store does with the past: etcd forgets it by compaction, memory beyond a bound. And what lies beside ours.

use std::time::Duration;

use etcd_client::Client;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{
    Compare, EtcdOptions, EtcdStore, Key, MemoryStore, Room, Store, StoreError, WATCH_BUFFER, WatchEvent,
};

use crate::etcd::{Etcd, compact, ready};
use crate::records::{commit, entry, is_written, next, node, put, steps_until, written};

#[tokio::test]
async fn a_watch_from_a_compacted_revision_is_resynchronised_and_goes_on() {
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let first = written(&store, put(&node("a"), "1")).await;
    let last = written(&store, put(&node("a"), "2")).await;
    compact(&etcd.endpoints(), last).await;
    let mut steps = store.watch(Revision(first.0 - 1)).await.expect("watch");
    let step = next(&mut steps).await;
    assert!(matches!(step, WatchEvent::Resync(now) if now.revision == last && now.entries.len() == 1));
    let later = written(&store, put(&node("b"), "1")).await;
    assert_eq!(next(&mut steps).await, WatchEvent::Put(entry(&node("b"), "1", later)));
}

#[tokio::test]
async fn more_records_than_fit_into_one_message_are_read_and_watched() {
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let start = store.read(Room::All).await.expect("read").revision;
    let value = "x".repeat(4_000);
    for batch in 0..25 {
        let writes = (0..100).map(|one| put(&node(&format!("{batch:02}-{one:02}")), &value)).collect();
        let outcome = commit(&store, Vec::new(), writes).await;
        assert!(is_written(outcome));
    }
    written(&store, put(&Key::Leader, "x")).await;
    let nodes = store.read(Room::Nodes).await.expect("read");
    assert_eq!(nodes.entries.len(), 2_500);
    assert!(nodes.entries.is_sorted_by_key(|entry| &entry.key));
    let mut steps = store.watch(start).await.expect("watch");
    for _ in 0..2_500 {
        assert!(matches!(next(&mut steps).await, WatchEvent::Put(entry) if entry.value.len() == 4_000));
    }
    assert!(matches!(next(&mut steps).await, WatchEvent::Put(entry) if entry.key == Key::Leader));
}

#[tokio::test]
async fn keys_of_a_later_version_are_skipped_and_the_rest_is_read_and_watched() {
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let start = store.read(Room::All).await.expect("read").revision;
    let mut steps = store.watch(start).await.expect("watch");
    let mut client = Client::connect(etcd.endpoints(), None).await.expect("connect");
    for unknown in ["leader-of-the-pack", "moons/io", "wakes/not-a-workload"] {
        client.put(format!("/zenvoy/v1/test/{unknown}"), "{}", None).await.expect("put");
    }
    client.delete("/zenvoy/v1/test/moons/io", None).await.expect("delete");
    let leader = written(&store, put(&Key::Leader, "x")).await;
    let expected = entry(&Key::Leader, "x", leader);
    for room in [Room::All, Room::Leader] {
        assert_eq!(store.read(room).await.expect("read").entries.as_slice(), std::slice::from_ref(&expected));
    }
    assert_eq!(steps_until(&mut steps, leader).await, [WatchEvent::Put(expected)]);
    client.put("/zenvoy/v1/test/leader-of-the-pack", "{}", None).await.expect("put");
    let guard = vec![Compare::UnchangedSince(Room::Leader, leader)];
    assert!(is_written(commit(&store, guard, vec![put(&node("a"), "1")]).await), "it is no leader");
}

#[tokio::test]
async fn two_clusters_on_one_etcd_do_not_see_each_other() {
    let etcd = Etcd::start();
    let one = etcd.store().await;
    // A name that the other begins with.
    let options = EtcdOptions { cluster: "test-2".into(), ..etcd.options() };
    let two = ready(&options).await;
    let start = one.read(Room::All).await.expect("read").revision;
    let mut steps = one.watch(start).await.expect("watch");
    written(&two, put(&node("a"), "two")).await;
    let seen = written(&two, put(&Key::Leader, "two")).await;
    let create = vec![Compare::Absent(Key::Leader), Compare::UnchangedSince(Room::All, start)];
    assert!(is_written(commit(&one, create, vec![put(&Key::Leader, "one")]).await));
    let ours = one.read(Room::All).await.expect("read").entries;
    assert!(matches!(&ours[..], [only] if only.value == "one" && only.mod_revision > seen), "{ours:?}");
    assert_eq!(two.read(Room::All).await.expect("read").entries.len(), 2);
    assert!(matches!(next(&mut steps).await, WatchEvent::Put(entry) if entry.value == "one"));
}

#[tokio::test]
async fn a_name_that_would_lie_inside_another_cluster_is_refused() {
    for cluster in ["", "test/nodes"] {
        let endpoints = vec!["http://127.0.0.1:1".into()];
        let options = EtcdOptions { endpoints, cluster: cluster.into(), ..EtcdOptions::default() };
        let refused = EtcdStore::connect(&options).await.err().expect("refused");
        assert!(matches!(refused, StoreError::Options(_)), "{refused}");
    }
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
    let step = next(&mut steps).await;
    assert!(matches!(step, WatchEvent::Resync(now) if now.revision == last && now.entries.len() == 2));
    let later = written(&store, put(&node("c"), "1")).await;
    let only_what_is_new = WatchEvent::Put(entry(&node("c"), "1", later));
    assert_eq!(next(&mut steps).await, only_what_is_new);
}

#[tokio::test]
async fn a_watch_from_a_past_that_memory_has_forgotten_is_resynchronised() {
    let store = MemoryStore::new();
    let first = written(&store, put(&node("a"), "1")).await;
    let mut last = first;
    for _ in 0..WATCH_BUFFER {
        last = written(&store, put(&node("a"), "2")).await;
    }
    let mut known = store.watch(first).await.expect("watch");
    assert_eq!(steps_until(&mut known, last).await.len(), WATCH_BUFFER);
    let mut forgotten = store.watch(Revision(0)).await.expect("watch");
    assert!(matches!(next(&mut forgotten).await, WatchEvent::Resync(now) if now.revision == last));
}
