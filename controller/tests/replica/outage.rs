//! The store is away (rules W4, N2): what a replica does alone, and that all goes on by itself when it is back.

use std::time::Duration;

use zenvoy_controller::model::Phase;
use zenvoy_controller::replica::{Routes, ToNode};

use crate::world::World;

/// A proxy that relays since nobody could register it looks for somebody who can more often than that.
const NODES_COME: Duration = Duration::from_secs(10);

/// A sleeping service whose store has gone.
async fn cold_and_cut_off() -> World {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.store_goes().await;
    world
}

#[tokio::test]
async fn without_a_lease_a_cold_service_wakes_with_one_scale_write_and_no_record() {
    let mut world = cold_and_cut_off().await;
    world.holds("node-1", true).await;
    assert_eq!(world.writes(), [1]);
    world.wait(Duration::from_secs(60)).await;
    world.pod_ready("pod-1").await;
    assert_eq!(world.verdict(), "forward 10.42.0.1:80");
    assert_eq!(world.writes(), [1]);
}

#[tokio::test]
async fn without_an_answer_the_scale_write_does_not_wait_for_the_lease_to_end() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.store_falls_silent();
    world.holds("node-1", true).await;
    assert_eq!(world.writes(), [1]);
    world.wait(Duration::from_secs(60)).await;
    assert_eq!(world.writes(), [1]);
}

#[tokio::test]
async fn a_store_that_left_one_intent_unanswered_is_not_waited_for_by_the_next() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.store_falls_silent();
    world.holds("node-1", true).await;
    assert_eq!((world.asked_for_intents(), world.writes()), (1, vec![1]));
    world.pod_ready("pod-1").await;
    world.holds("node-1", false).await;
    world.others_scale_to_zero().await;
    world.wait(Duration::from_secs(3)).await;
    world.holds("node-1", true).await;
    assert_eq!((world.asked_for_intents(), world.writes()), (1, vec![1, 1]));
}

#[tokio::test]
async fn a_store_that_answers_again_is_asked_again_for_the_next_wake() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.store_falls_silent();
    world.holds("node-1", true).await;
    world.store_speaks();
    world.wait(Duration::from_secs(3)).await;
    assert!(world.has_wake_record().await, "somebody still waits");
    world.pod_ready("pod-1").await;
    world.holds("node-1", false).await;
    world.others_scale_to_zero().await;
    world.wait(Duration::from_secs(1)).await;
    let before = world.asked_for_intents();
    world.holds("node-1", true).await;
    assert_eq!((world.asked_for_intents(), world.writes()), (before + 1, vec![1, 1]));
}

#[tokio::test]
async fn a_wake_without_a_record_gets_one_when_the_store_is_back_and_no_second_write() {
    let mut world = cold_and_cut_off().await;
    world.holds("node-1", true).await;
    world.store_returns().await;
    assert!(world.has_wake_record().await, "somebody still waits");
    assert_eq!(world.phase(), Phase::Waking);
    world.pod_ready("pod-1").await;
    world.holds("node-1", false).await;
    assert_eq!((world.writes(), world.phase()), (vec![1], Phase::Active));
}

#[tokio::test]
async fn what_woke_without_a_record_sleeps_again_once_the_store_is_back() {
    let mut world = cold_and_cut_off().await;
    world.holds("node-1", true).await;
    world.pod_ready("pod-1").await;
    world.holds("node-1", false).await;
    world.idle_past_limit().await;
    assert_eq!(world.writes(), [1], "to scale down needs the store");
    world.store_returns().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("offered");
    world.proves_quiet("node-1", &drain).await;
    assert_eq!(world.writes(), [1, 0]);
}

#[tokio::test]
async fn after_an_outage_nothing_is_put_to_sleep_before_nodes_that_nobody_could_register_have_come() {
    let mut world = World::awake().await;
    world.store_goes().await;
    world.idle_past_limit().await;
    world.store_answers().await;
    world.wait(NODES_COME - Duration::from_secs(1)).await;
    world.applied("node-1").await;
    assert!(world.asked_for_proof("node-1").is_none());
    world.wait(Duration::from_secs(10)).await;
    world.applied("node-1").await;
    assert!(world.asked_for_proof("node-1").is_some());
}

#[tokio::test]
async fn nobody_wakes_what_nobody_demands_or_what_is_up() {
    let mut world = cold_and_cut_off().await;
    world.wait(Duration::from_secs(60)).await;
    assert_eq!(world.writes(), [0; 0]);
    let mut world = World::awake().await;
    world.store_goes().await;
    world.holds("node-1", true).await;
    assert_eq!((world.writes(), world.verdict().as_str()), (vec![1], "forward 10.42.0.1:80"));
}

#[tokio::test]
async fn a_wake_waits_for_a_committed_drain_whose_end_is_not_known_and_says_so() {
    let mut world = World::awake().await;
    world.idle_past_limit().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked");
    world.proves_quiet("node-1", &drain).await;
    assert_eq!(world.writes(), [1, 0]);
    world.store_goes().await;
    world.pods_end().await;
    world.holds("node-1", true).await;
    world.wait(Duration::from_secs(30)).await;
    assert_eq!(world.writes(), [1, 0], "nobody knows how far the drain is");
    assert_eq!(world.ready_reason(), "StoreUnavailable");
    world.store_returns().await;
    assert_eq!(world.writes(), [1, 0, 1]);
    assert_eq!(world.ready_reason(), "Ready");
}

#[tokio::test]
async fn a_refused_write_without_a_record_fails_held_clients_and_is_tried_again() {
    let mut world = cold_and_cut_off().await;
    world.refuse_scaling(true);
    world.holds("node-1", true).await;
    assert_eq!(world.verdict(), "fail QuotaExceeded");
    world.refuse_scaling(false);
    world.wait(Duration::from_secs(11)).await;
    assert_eq!((world.writes(), world.verdict().as_str()), (vec![1], "hold"));
}

#[tokio::test]
async fn a_node_that_arrives_while_the_store_is_away_gets_no_direct_routes_until_it_is_registered() {
    let mut world = World::awake().await;
    world.store_goes().await;
    world.node_opens("node-2").await;
    assert_eq!(world.told("node-2"), [ToNode::Welcome(Routes::Activator)]);
    world.holds("node-2", true).await;
    world.pod_ready("pod-1").await;
    assert_eq!(world.verdict(), "forward 10.42.0.1:80", "its proxy relays");
    assert!(world.relayed_directly().is_empty(), "{:?}", world.relayed_directly());
    world.store_returns().await;
    assert!(world.hung().iter().all(|node| node == "node-2") && !world.hung().is_empty(), "it begins anew");
    world.node_opens("node-2").await;
    assert_eq!(world.told("node-2").last(), Some(&ToNode::Welcome(Routes::Direct)));
    assert_eq!(world.told("node-1"), [ToNode::Welcome(Routes::Direct)], "who was there is left in peace");
}

#[tokio::test]
async fn a_node_whose_registration_got_no_answer_does_not_wait_for_the_lease_to_end() {
    let mut world = World::awake().await;
    world.store_falls_silent();
    world.node_opens("node-2").await;
    assert_eq!(world.told("node-2"), [ToNode::Welcome(Routes::Activator)]);
}

#[tokio::test]
async fn a_replica_that_was_never_registered_serves_nobody() {
    let mut world = World::loading().await;
    world.store_goes().await;
    world.node_opens("node-1").await;
    assert_eq!(world.told("node-1"), []);
}
