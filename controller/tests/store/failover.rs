//! What the store on etcd lives through: members that die, fall silent, or come back; a quorum that is lost.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{Compare, EtcdStore, Key, Room, Store, StoreError, TxnOutcome, WatchEvent};

use crate::etcd::{Etcd, compact, ready};
use crate::records::{
    commit, creates, entry, is_written, next, node, put, steps_until, try_commit, written, written_at_last,
};

/// The member in use is `failed` no longer, and what is written now arrives.
async fn goes_on_elsewhere(store: &EtcdStore, steps: &mut Receiver<WatchEvent>, failed: &str) {
    // A read is answered by another member within its deadline, however the first one failed.
    store.read(Room::All).await.expect("another member answers");
    assert_ne!(store.member(), failed);
    let last = written(store, put(&node("b"), "2")).await;
    let seen = steps_until(steps, last).await;
    assert_eq!(seen.last(), Some(&WatchEvent::Put(entry(&node("b"), "2", last))));
}

/// Three members, a client, and its watch, which has brought a first record.
async fn watched() -> (Etcd, EtcdStore, Receiver<WatchEvent>) {
    let etcd = Etcd::of(3);
    let store = etcd.store().await;
    let start = written(&store, put(&node("a"), "1")).await;
    let mut steps = store.watch(Revision(start.0 - 1)).await.expect("watch");
    next(&mut steps).await;
    (etcd, store, steps)
}

#[tokio::test]
async fn when_the_member_in_use_is_killed_calls_and_the_watch_go_on_at_another() {
    let (mut etcd, store, mut steps) = watched().await;
    let failed = store.member().to_owned();
    etcd.kill(&failed);
    goes_on_elsewhere(&store, &mut steps, &failed).await;
}

#[tokio::test]
async fn when_the_member_in_use_falls_silent_calls_and_the_watch_go_on_at_another() {
    let (mut etcd, store, mut steps) = watched().await;
    let failed = store.member().to_owned();
    etcd.pause(&failed);
    let unknown = try_commit(&store, Vec::new(), vec![put(&node("perhaps"), "1")]).await;
    assert!(matches!(&unknown, Err(StoreError::Unavailable(why)) if why.contains(&failed)), "{unknown:?}");
    goes_on_elsewhere(&store, &mut steps, &failed).await;
    etcd.resume(&failed);
    let last = written(&store, put(&node("c"), "1")).await;
    let seen = steps_until(&mut steps, last).await;
    assert!(seen.len() <= 2, "at most what was written late, and the last: {seen:?}");
}

#[tokio::test]
async fn a_write_that_voids_itself_is_made_at_another_member_when_the_one_in_use_falls_silent() {
    let mut etcd = Etcd::of(3);
    let store = etcd.store().await;
    let start = store.read(Room::All).await.expect("read").revision;
    let mut steps = store.watch(start).await.expect("watch");
    let failed = store.member().to_owned();
    etcd.pause(&failed);
    let made = commit(&store, vec![Compare::Absent(node("a"))], vec![put(&node("a"), "1")]).await;
    assert!(is_written(made), "{made:?}");
    etcd.resume(&failed);
    // What the member was sent first comes late, if it comes at all, and is refused.
    let last = written_at_last(&store, put(&node("b"), "1")).await;
    let seen = steps_until(&mut steps, last).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[tokio::test]
async fn a_write_that_voids_itself_outlives_any_other_member() {
    let mut etcd = Etcd::of(3);
    let store = etcd.store().await;
    for endpoint in etcd.endpoints() {
        if store.member() == endpoint {
            continue;
        }
        // One of them leads, and what the member in use had handed on to it is lost.
        etcd.kill(&endpoint);
        let name = node(&endpoint.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let made = try_commit(&store, vec![Compare::Absent(name.clone())], vec![put(&name, "1")]).await;
        assert!(matches!(made, Ok(TxnOutcome::Written(_))), "{made:?}");
        etcd.start_all();
        written_at_last(&store, put(&node("whole"), "1")).await;
    }
}

#[tokio::test]
async fn a_lease_is_kept_at_another_member_when_the_one_in_use_is_killed() {
    let mut etcd = Etcd::of(3);
    let store = etcd.store().await;
    let lease = store.grant(Duration::from_secs(60)).await.expect("grant");
    store.keep_alive(lease).await.expect("alive");
    let failed = store.member().to_owned();
    etcd.kill(&failed);
    store.keep_alive(lease).await.expect("alive at another member");
    store.revoke(lease).await.expect("revoke");
    assert!(matches!(store.keep_alive(lease).await, Err(StoreError::LeaseEnded(_))));
}

#[tokio::test]
async fn without_a_quorum_calls_fail_in_time_and_with_one_they_and_the_watch_go_on() {
    let mut etcd = Etcd::of(3);
    let store = etcd.store().await;
    let lease = store.grant(Duration::from_secs(600)).await.expect("grant");
    let start = written(&store, put(&node("a"), "1")).await;
    let mut steps = store.watch(start).await.expect("watch");
    for endpoint in &etcd.endpoints()[1..] {
        etcd.kill(endpoint);
    }
    let read = store.read(Room::All).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let write = try_commit(&store, Vec::new(), vec![put(&node("perhaps"), "1")]).await;
    assert!(matches!(write, Err(StoreError::Unavailable(_))), "{write:?}");
    let asked = Instant::now();
    let urgent = store.urgent_txn(creates(&node("b"))).await;
    assert!(matches!(urgent, Err(StoreError::Unavailable(_))), "{urgent:?}");
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "a plain call takes five seconds: {:?}",
        asked.elapsed()
    );
    let kept = store.keep_alive(lease).await;
    assert!(matches!(kept, Err(StoreError::Unavailable(_))), "away is not ended: {kept:?}");
    etcd.start_all();
    let last = written_at_last(&store, put(&node("b"), "1")).await;
    let seen = steps_until(&mut steps, last).await;
    assert_eq!(seen.last(), Some(&WatchEvent::Put(entry(&node("b"), "1", last))));
    store.keep_alive(lease).await.expect("the lease lived on");
}

#[tokio::test]
async fn an_urgent_write_does_not_wait_long_for_the_one_member_that_is_silent() {
    let mut etcd = Etcd::of(3);
    let store = etcd.store().await;
    let failed = store.member().to_owned();
    etcd.pause(&failed);
    let asked = Instant::now();
    let made = store.urgent_txn(creates(&node("a"))).await;
    assert!(matches!(made, Ok(TxnOutcome::Written(_))), "{made:?}");
    assert_ne!(store.member(), failed);
    etcd.resume(&failed);
    eprintln!("answered after {:?}", asked.elapsed());
}

#[tokio::test]
async fn over_many_reconnects_the_watch_neither_loses_nor_doubles_a_step() {
    let mut etcd = Etcd::of(3);
    let store = etcd.store().await;
    let start = store.read(Room::All).await.expect("read").revision;
    let mut steps = store.watch(start).await.expect("watch");
    let mut last = start;
    for round in 0..4 {
        for one in 0..5 {
            last = written_at_last(&store, put(&node(&format!("{one}")), &format!("{round}"))).await;
        }
        etcd.kill(store.member());
        for one in 5..10 {
            last = written_at_last(&store, put(&node(&format!("{one}")), &format!("{round}"))).await;
        }
        etcd.start_all();
    }
    let seen = steps_until(&mut steps, last).await;
    let mut afresh = ready(&etcd.options()).await.watch(start).await.expect("watch");
    assert_eq!(seen, steps_until(&mut afresh, last).await);
    assert!(seen.len() >= 40);
}

#[tokio::test]
async fn after_a_restart_on_the_same_data_everything_goes_on() {
    let mut etcd = Etcd::start();
    let store = etcd.store().await;
    let lease = store.grant(Duration::from_secs(600)).await.expect("grant");
    let before = written(&store, put(&node("a"), "1")).await;
    let mut steps = store.watch(before).await.expect("watch");
    etcd.kill(store.member());
    etcd.start_all();
    let after = written_at_last(&store, put(&Key::Leader, "x")).await;
    assert_eq!(steps_until(&mut steps, after).await, [WatchEvent::Put(entry(&Key::Leader, "x", after))]);
    let entries = store.read(Room::Nodes).await.expect("read").entries;
    assert_eq!(entries, [entry(&node("a"), "1", before)]);
    store.keep_alive(lease).await.expect("the lease lived on");
}

#[tokio::test]
async fn compaction_while_the_watch_is_away_is_a_resynchronisation() {
    let mut etcd = Etcd::start();
    let store = etcd.store().await;
    let before = written(&store, put(&node("a"), "1")).await;
    let mut steps = store.watch(Revision(before.0 - 1)).await.expect("watch");
    next(&mut steps).await;
    etcd.kill(store.member());
    etcd.aside(async |options| {
        let other = ready(&options).await;
        written(&other, put(&node("a"), "2")).await;
        let last = written(&other, put(&node("b"), "1")).await;
        compact(&options.endpoints, last).await;
    })
    .await;
    etcd.start_all();
    let WatchEvent::Resync(now) = next(&mut steps).await else { panic!("steps that are compacted") };
    assert_eq!(now.entries.len(), 2);
    let last = written_at_last(&store, put(&node("c"), "1")).await;
    assert_eq!(
        steps_until(&mut steps, last).await.last(),
        Some(&WatchEvent::Put(entry(&node("c"), "1", last)))
    );
}
