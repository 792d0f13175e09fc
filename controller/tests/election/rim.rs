//! The whole election on a clock that stands still until everybody waits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use zenvoy_controller::leader::Standing;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{History, Key, MemoryStore, Room, Store, Txn, Write};
use zenvoy_shared::id::NodeId;

use crate::replicas::{Meeting, TTL};

/// What a look, a call or a tick may add to the durations that rules speak of.
const SLACK: Duration = Duration::from_secs(1);

async fn leader_of(meeting: &Meeting) -> String {
    let leader = meeting.store.read(Room::Leader).await.expect("read").entries.pop().expect("there is one");
    let leader: serde_json::Value = serde_json::from_slice(&leader.value).expect("JSON");
    leader["id"].as_str().expect("a name").to_owned()
}

#[tokio::test(start_paused = true)]
async fn one_of_many_leads_and_writes_its_term_into_the_store() {
    let meeting = Meeting::new();
    let mut replicas: Vec<_> = ["a", "b", "c"].map(|name| meeting.replica(name)).into();
    tokio::time::sleep(TTL).await;
    let leading = replicas.iter_mut().filter(|replica| replica.leads.borrow().is_some()).count();
    assert_eq!(leading, 1);
    assert_eq!(leader_of(&meeting).await, meeting.api.holder());
    let lease = meeting.api.state().lease.clone().expect("a Lease");
    assert_eq!(
        lease["metadata"]["annotations"]["zenvoy.dev/etcd"],
        format!("0@{}", meeting.store.read(Room::All).await.expect("read").revision.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_is_followed_within_a_second_and_one_that_dies_after_its_lease() {
    let meeting = Meeting::new();
    let mut first = meeting.replica("first");
    let term = first.until_leads().await;
    let mut second = meeting.replica("second");
    tokio::time::sleep(TTL * 3).await;
    assert_eq!((*first.leads.borrow(), *second.leads.borrow()), (Some(term), None));
    let stopped = Instant::now();
    first.stop.cancel();
    first.ended().await.expect("a good end");
    assert!(second.until_leads().await > term);
    assert!(stopped.elapsed() < SLACK, "{:?}", stopped.elapsed());
    let mut third = meeting.replica("third");
    tokio::time::sleep(TTL).await;
    second.kill();
    let died = Instant::now();
    third.until_leads().await;
    assert!(died.elapsed() <= TTL + SLACK, "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_clock_is_far_off_keeps_its_lease_while_it_renews_and_loses_it_when_it_is_dead() {
    for skewed in ["1970-01-01T00:00:01.000000Z", "2999-01-01T00:00:00.000000Z"] {
        let meeting = Meeting::new();
        let renew = |micros: u32| {
            let renewed = skewed.replace(".000000", &format!(".{micros:06}"));
            let spec =
                json!({ "holderIdentity": "foreign", "renewTime": renewed, "leaseDurationSeconds": 15 });
            meeting.api.write(&json!({ "spec": spec }));
        };
        renew(0);
        let mut replica = meeting.replica("own");
        for micros in 1..20 {
            tokio::time::sleep(TTL / 3).await;
            renew(micros);
            assert_eq!(*replica.leads.borrow(), None, "stolen from a live holder");
        }
        let died = Instant::now();
        replica.until_leads().await;
        let waited = died.elapsed();
        assert!(waited >= TTL && waited <= TTL + SLACK, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_the_store_lets_go_at_two_thirds_of_its_lease_and_another_serves() {
    let meeting = Meeting::new();
    let mut first = meeting.replica("first");
    first.until_leads().await;
    let mut second = meeting.replica("second");
    tokio::time::sleep(TTL * 2).await;
    first.store.cut.store(true, Ordering::Relaxed);
    let cut = Instant::now();
    second.until_leads().await;
    // The last prolongation may be a quarter of the lease old when the way is cut.
    let took = cut.elapsed();
    assert!(took >= TTL * 2 / 3 - TTL / 4 && took <= TTL * 2 / 3 + SLACK, "{took:?}");
    assert_eq!(*first.leads.borrow(), None);
    // It does not come back for two durations, though the Lease is there to be taken.
    first.store.cut.store(false, Ordering::Relaxed);
    second.stop.cancel();
    second.ended().await.expect("a good end");
    first.until_leads().await;
    assert!(cut.elapsed() >= TTL * 2 / 3 - TTL / 4 + TTL, "{:?}", cut.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_renewals_are_carried_out_and_not_answered_steps_down_before_its_lease_ends() {
    let meeting = Meeting::new();
    let mut first = meeting.replica("first");
    first.until_leads().await;
    meeting.api.state().loses_answers = true;
    let lost = Instant::now();
    first.until_follows().await;
    assert!(lost.elapsed() < TTL, "{:?}", lost.elapsed());
    meeting.api.state().loses_answers = false;
    first.until_leads().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_api_server_ends_a_leader_in_time_and_all_resumes() {
    let meeting = Meeting::new();
    let mut first = meeting.replica("first");
    let term = first.until_leads().await;
    let silent = Instant::now();
    meeting.api.state().silent = true;
    first.until_follows().await;
    assert!(silent.elapsed() <= TTL * 2 / 3 + SLACK, "{:?}", silent.elapsed());
    meeting.api.state().silent = false;
    assert!(first.until_leads().await > term);
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_the_term_whose_answer_was_lost_does_not_cost_the_lease() {
    let meeting = Meeting::new();
    let mut replica = meeting.replica("own");
    replica.store.loses_answers.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let term = replica.until_leads().await;
    assert!(started.elapsed() < TTL / 3, "{:?}", started.elapsed());
    let leader = meeting.store.read(Room::Leader).await.expect("read").entries.pop().expect("a leader");
    assert_eq!(leader.mod_revision, term.0);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_that_took_the_term_over_does_not_leave_the_holder_of_the_lease_idle() {
    let meeting = Meeting::new();
    let mut replica = meeting.replica("own");
    let term = replica.until_leads().await;
    let zombie = Meeting { api: crate::api::Api::default(), ..meeting.clone() };
    let mut zombie = zombie.replica("zombie");
    let stolen = zombie.until_leads().await;
    zombie.kill();
    assert!(stolen > term);
    let back = replica.leads.wait_for(|term| *term > Some(stolen)).await.expect("it stands");
    assert!(back.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_annotation_by_somebody_else_does_not_end_a_term() {
    let meeting = Meeting::new();
    let mut replica = meeting.replica("own");
    replica.until_leads().await;
    replica.leads.mark_unchanged();
    for _ in 0..20 {
        meeting.api.write(&json!({ "metadata": { "annotations": { "team": "shop" } } }));
        tokio::time::sleep(TTL / 4).await;
    }
    assert!(!replica.leads.has_changed().expect("it stands"));
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_from_a_store_that_moves_on_does_not_think_that_it_went_back() {
    let meeting = Meeting::new();
    let mut first = meeting.replica("first");
    first.until_leads().await;
    let second = meeting.replica("second");
    tokio::time::sleep(TTL).await;
    second.store.cut.store(true, Ordering::Relaxed);
    let node = Write::Put(Key::Node(NodeId("node-1".into())), "{}".into(), None);
    for _ in 0..10 {
        let txn = Txn { compares: Vec::new(), writes: vec![node.clone()] };
        meeting.store.txn(txn).await.expect("written");
        tokio::time::sleep(TTL / 3).await;
        assert_eq!(*second.stands.borrow(), Standing::Follows);
    }
    first.stop.cancel();
    first.ended().await.expect("a good end");
}

#[tokio::test(start_paused = true)]
async fn on_a_store_that_went_back_nobody_leads_until_exactly_that_is_accepted() {
    let meeting = Meeting::new();
    let history = |cluster, revision| Some(History { cluster, revision: Revision(revision) });
    meeting.history.send_replace(history(0xabc, 100));
    let mut first = meeting.replica("first");
    first.until_leads().await;
    first.stop.cancel();
    first.ended().await.expect("a good end");
    for (cluster, revision) in [(0xabc, 99), (0xdef, 500)] {
        meeting.history.send_replace(history(cluster, revision));
        let mut second = meeting.replica("second");
        let stands = second.stands.wait_for(|stands| matches!(stands, Standing::Refuses(_))).await;
        let Standing::Refuses(why) = stands.expect("it stands").clone() else { unreachable!("waited for") };
        tokio::time::sleep(TTL * 5).await;
        assert_eq!(*second.leads.borrow(), None);
        let (_, command) =
            why.split_once("kubectl -n zenvoy annotate --overwrite lease zenvoy ").expect(&why);
        let (name, value) = command.split_once('=').expect(command);
        let old = value.replace("abc@100", "abc@99");
        meeting.api.write(&json!({ "metadata": { "annotations": { name: old } } }));
        tokio::time::sleep(TTL).await;
        assert_eq!(*second.leads.borrow(), None, "another break was accepted");
        meeting.api.write(&json!({ "metadata": { "annotations": { name: value } } }));
        second.until_leads().await;
        let lease = meeting.api.state().lease.clone().expect("a Lease");
        let annotations = &lease["metadata"]["annotations"];
        assert_eq!(annotations["zenvoy.dev/etcd"], format!("{cluster:x}@{revision}"));
        assert!(annotations.get(name).is_none(), "it was for once: {annotations}");
        second.stop.cancel();
        second.ended().await.expect("a good end");
        meeting.history.send_replace(history(0xabc, 100));
        meeting.api.write(&json!({ "metadata": { "annotations": { "zenvoy.dev/etcd": "abc@100" } } }));
    }
}

/// Rule L3, and the same with the rule switched off: what the Lease says of etcd is lost.
#[tokio::test(start_paused = true)]
async fn l3_without_what_the_lease_says_of_etcd_terms_repeat_on_a_backup() {
    for kept in [true, false] {
        let mut meeting = Meeting::new();
        let mut first = meeting.replica("first");
        let term = first.until_leads().await;
        let node = Write::Put(Key::Node(NodeId("node-1".into())), "{}".into(), None);
        let txn = Txn { compares: Vec::new(), writes: vec![node] };
        meeting.store.txn(txn).await.expect("written");
        tokio::time::sleep(TTL).await;
        first.stop.cancel();
        first.ended().await.expect("a good end");
        // A backup from before there was anything.
        meeting.store = MemoryStore::new();
        if !kept {
            meeting.api.write(&json!({ "metadata": { "annotations": { "zenvoy.dev/etcd": null } } }));
        }
        let second = meeting.replica("second");
        tokio::time::sleep(TTL * 5).await;
        let repeats = second.leads.borrow().is_some_and(|again| again <= term);
        assert_eq!(repeats, !kept, "{:?} after {term:?}", *second.leads.borrow());
    }
}
