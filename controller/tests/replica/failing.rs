//! Why a wake does not go on: one reason, the most specific that is known.

use std::time::Duration;

use zenvoy_controller::report::Happening;

use crate::world::World;

fn told(world: &World, reason: &str) -> usize {
    world.happened(|what| matches!(what, Happening::WakeFailed(problem) if problem.reason == reason))
}

async fn late() -> World {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.holds("node-1", true).await;
    world.wait(Duration::from_secs(61)).await;
    world
}

#[tokio::test]
async fn the_reason_of_a_crash_loop_stands_while_the_next_try_goes_on() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.holds("node-1", true).await;
    for _ in 0..10 {
        world.pods_fail(Some("CrashLoop")).await;
        world.wait(Duration::from_secs(10)).await;
        assert_eq!(world.ready_reason(), "CrashLoop");
        world.pods_fail(None).await;
        world.wait(Duration::from_secs(1)).await;
    }
    assert_eq!(world.ready_reason(), "CrashLoop", "its timeout is over, and this is known");
    assert_eq!((told(&world, "CrashLoop") > 0, told(&world, "WakeDeadline")), (true, 0));
    world.wait(Duration::from_secs(60)).await;
    assert_eq!(world.ready_reason(), "WakeDeadline", "this try does not end as the last did");
}

#[tokio::test]
async fn a_late_wake_says_what_its_source_knows() {
    let mut world = late().await;
    assert!(world.ready("cart").problem.message.contains("its output and its readiness check may say why"));
    world.pods_lack("nobody listens. Its last lines:\nopening").await;
    let problem = world.ready("cart").problem.clone();
    assert_eq!(problem.reason, "WakeDeadline");
    assert!(
        problem.message.ends_with("of 1m: nobody listens. Its last lines:\nopening"),
        "{}",
        problem.message
    );
    assert_eq!(told(&world, "WakeDeadline"), 1);
}

#[tokio::test]
async fn who_is_held_in_vain_is_told_what_the_workload_lacks() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.pods_lack("nobody listens").await;
    assert_eq!(world.held_lack(), "", "nobody waits for it");
    world.holds("node-1", true).await;
    world.pods_lack("nobody listens. Its last lines:\nopening").await;
    assert_eq!(world.held_lack(), "nobody listens. Its last lines:\nopening");
    world.pod_ready("pod-1").await;
    assert!(world.verdict().starts_with("forward "), "{}", world.verdict());
}

#[tokio::test]
async fn what_one_wake_lacked_is_not_told_of_the_next() {
    let mut world = late().await;
    world.pods_lack("nobody listens").await;
    world.pod_ready("pod-1").await;
    assert!(world.ready("cart").holds);
    world.pods_end().await;
    world.wait(Duration::from_secs(61)).await;
    assert!(!world.ready("cart").problem.message.contains("nobody listens"));
}
