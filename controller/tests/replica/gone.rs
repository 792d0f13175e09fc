//! A node that died without a word (rule N4): its deleted Pod is the proof, and nothing else of itself.

use std::time::Duration;

use crate::world::World;

/// A service that is up and idle, and a second node that died.
async fn with_a_dead_node(says: Option<&str>) -> World {
    let mut world = World::awake().await;
    world.pod_of_node_exists("uid-7", true);
    if let Some(uid) = says {
        world.nodes_live_in(uid);
    }
    world.node_opens("node-2").await;
    world.closes("node-2").await;
    world.idle_past_limit().await;
    world.applied("node-1").await;
    world
}

#[tokio::test]
async fn a_node_whose_pod_exists_keeps_everything_up_and_is_told_with_a_remedy() {
    let mut world = with_a_dead_node(Some("uid-7")).await;
    world.wait(Duration::from_secs(3_600)).await;
    assert_eq!(world.asked_for_proof("node-1"), None);
    let blocking = world.blocking();
    assert_eq!(blocking.len(), 1);
    assert_eq!(blocking[0].node.0, "node-2");
    for word in ["gateway/envoy-1", "zenvoy node forget node-2"] {
        assert!(blocking[0].remedy.contains(word), "{}", blocking[0].remedy);
    }
}

#[tokio::test]
async fn once_the_pod_is_deleted_the_node_no_longer_counts() {
    let mut world = with_a_dead_node(Some("uid-7")).await;
    world.pod_of_node_exists("uid-7", false);
    world.wait(Duration::from_secs(20)).await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("offered");
    world.proves_quiet("node-1", &drain).await;
    assert_eq!(world.writes(), [1, 0]);
    assert!(world.blocking().is_empty());
}

#[tokio::test]
async fn a_node_that_died_soon_after_it_came_is_looked_at_too() {
    let mut world = World::awake().await;
    world.pod_of_node_exists("uid-7", true);
    world.nodes_live_in("uid-7");
    world.node_opens("node-2").await;
    world.wait(Duration::from_secs(5)).await;
    world.closes("node-2").await;
    world.pod_of_node_exists("uid-7", false);
    world.idle_past_limit().await;
    world.wait(Duration::from_secs(20)).await;
    world.applied("node-1").await;
    assert!(world.asked_for_proof("node-1").is_some(), "{:?}", world.blocking());
}

#[tokio::test]
async fn a_pod_that_was_never_seen_proves_nothing() {
    for says in [None, Some("uid-of-another")] {
        let mut world = with_a_dead_node(says).await;
        world.wait(Duration::from_secs(3_600)).await;
        assert_eq!(world.asked_for_proof("node-1"), None);
        assert_eq!(world.blocking().len(), 1);
    }
}

#[tokio::test]
async fn a_node_that_is_heard_counts_though_its_pod_is_deleted() {
    let mut world = World::started().await;
    world.pod_of_node_exists("uid-7", true);
    world.nodes_live_in("uid-7");
    world.node_opens("node-1").await;
    world.holds("node-1", true).await;
    world.pod_ready("pod-1").await;
    world.pod_of_node_exists("uid-7", false);
    world.wait(Duration::from_secs(3_600)).await;
    world.idle_past_limit().await;
    assert_eq!((world.writes(), world.blocking()), (vec![1], vec![]));
}

#[tokio::test]
async fn a_node_that_moves_is_not_called_unreachable() {
    let mut world = World::awake().await;
    world.closes("node-1").await;
    world.wait(Duration::from_secs(5)).await;
    world.node_opens("node-1").await;
    world.wait(Duration::from_secs(3_600)).await;
    assert!(world.blocking().is_empty());
}
