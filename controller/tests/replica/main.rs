//! A whole replica's mind, executor and store, in a world where time and pods move only when told.

mod api;
mod failing;
mod gone;
mod later;
mod outage;
mod refused;
mod spans;
mod store;
mod world;

use std::time::Duration;

use world::World;
use zenvoy_controller::model::Phase;
use zenvoy_controller::replica::{Routes, ToNode};
use zenvoy_controller::report::Happening;

#[tokio::test]
async fn a_held_connection_wakes_a_cold_service_with_one_scale_write() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.holds("node-1", true).await;
    assert_eq!(world.writes(), [1]);
    assert_eq!(world.phase(), Phase::Waking);
    world.holds("node-1", true).await;
    world.pod_ready("pod-1").await;
    assert_eq!(world.phase(), Phase::Active);
    assert_eq!(world.verdict(), "forward 10.42.0.1:80");
    world.holds("node-1", false).await;
    assert_eq!(world.writes(), [1], "demand said again is no second write");
}

#[tokio::test]
async fn two_nodes_that_demand_at_once_open_one_wake() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.node_opens("node-2").await;
    world.holds("node-1", true).await;
    world.holds("node-2", true).await;
    world.pod_ready("pod-1").await;
    assert_eq!(world.writes(), [1]);
    assert_eq!(world.happened(|what| matches!(what, Happening::Waking)), 1);
}

#[tokio::test]
async fn an_idle_service_sleeps_after_every_node_proved_quiet() {
    let mut world = World::awake().await;
    world.idle_past_limit().await;
    assert_eq!(world.verdict(), "hold for a drain");
    assert_eq!(world.writes(), [1], "nothing is scaled before the proof");
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked once the switch is applied");
    world.proves_quiet("node-1", &drain).await;
    assert_eq!(world.writes(), [1, 0]);
    world.pods_end().await;
    world.wait(Duration::from_secs(1)).await;
    assert_eq!(world.phase(), Phase::Cold);
    assert_eq!(world.verdict(), "hold");
    assert_eq!(world.happened(|what| matches!(what, Happening::Slept)), 1);
}

#[tokio::test]
async fn a_connection_during_an_offer_cancels_it_and_is_served_by_the_pods() {
    let mut world = World::awake().await;
    world.idle_past_limit().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked");
    world.holds("node-1", true).await;
    assert_eq!(world.verdict(), "forward 10.42.0.1:80");
    world.proves_quiet("node-1", &drain).await;
    world.holds("node-1", false).await;
    assert_eq!(world.writes(), [1], "a proof that crossed a demand is void");
    assert_eq!(world.phase(), Phase::Active);
    assert_eq!(world.happened(|what| matches!(what, Happening::DrainCancelled { .. })), 1);
}

#[tokio::test]
async fn a_connection_after_the_commit_waits_for_the_wake_that_follows() {
    let mut world = World::awake().await;
    world.idle_past_limit().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked");
    world.proves_quiet("node-1", &drain).await;
    world.holds("node-1", true).await;
    assert_eq!(world.verdict(), "hold for a drain", "never to a condemned pod");
    assert_eq!(world.writes(), [1, 0]);
    world.pods_end().await;
    world.wait(Duration::from_secs(1)).await;
    assert_eq!(world.writes(), [1, 0, 1]);
    world.pod_ready("pod-2").await;
    assert_eq!(world.verdict(), "forward 10.42.0.2:80");
}

#[tokio::test]
async fn a_wake_right_after_the_sleep_is_not_given_up_for_a_vote_from_before_it() {
    let mut world = World::awake().await;
    world.idle_until_limit().await;
    world.until_offered().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked");
    world.pods_end().await;
    world.proves_quiet("node-1", &drain).await;
    assert_eq!((world.writes(), world.phase()), (vec![1, 0], Phase::Cold));
    // The vote was cast just now, and is taken back a little later.
    world.holds("node-1", true).await;
    assert_eq!(world.writes(), [1, 0, 1], "somebody waits");
}

#[tokio::test]
async fn a_node_that_never_proves_quiet_ends_the_offer_and_the_service_stays() {
    let mut world = World::awake().await;
    world.idle_past_limit().await;
    world.applied("node-1").await;
    world.wait(Duration::from_secs(61)).await;
    assert_eq!(world.verdict(), "forward 10.42.0.1:80");
    assert_eq!(world.writes(), [1]);
}

#[tokio::test]
async fn a_scale_down_that_would_be_refused_is_never_committed_and_the_service_serves_on() {
    let mut world = World::awake().await;
    world.refuse_scaling(true);
    world.idle_past_limit().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked");
    world.proves_quiet("node-1", &drain).await;
    world.holds("node-1", true).await;
    assert_eq!(world.verdict(), "forward 10.42.0.1:80");
    assert_eq!(world.writes(), [1]);
    assert_eq!(world.happened(|what| matches!(what, Happening::WakeFailed(_))), 0);
}

#[tokio::test]
async fn a_second_node_without_proof_keeps_the_service_up() {
    let mut world = World::awake().await;
    world.node_opens("node-2").await;
    world.idle_past_limit().await;
    world.idle("node-2", 3_600).await;
    world.until_offered().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked");
    world.proves_quiet("node-1", &drain).await;
    assert_eq!(world.writes(), [1]);
    world.applied("node-2").await;
    world.proves_quiet("node-2", &drain).await;
    assert_eq!(world.writes(), [1, 0]);
}

#[tokio::test]
async fn a_node_whose_session_broke_still_counts_and_blocks_the_drain() {
    let mut world = World::awake().await;
    world.node_opens("node-2").await;
    world.closes("node-2").await;
    world.idle_past_limit().await;
    world.applied("node-1").await;
    if let Some(drain) = world.asked_for_proof("node-1") {
        world.proves_quiet("node-1", &drain).await;
    }
    assert_eq!(world.writes(), [1]);
}

#[tokio::test]
async fn a_node_that_said_goodbye_no_longer_counts_even_when_its_session_broke_at_once() {
    let mut world = World::awake().await;
    world.node_opens("node-2").await;
    world.says_goodbye("node-2").await;
    world.closes("node-2").await;
    world.idle_past_limit().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked");
    world.proves_quiet("node-1", &drain).await;
    assert_eq!(world.writes(), [1, 0]);
}

#[tokio::test]
async fn a_node_is_served_only_after_its_registration_was_watched() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    assert_eq!(world.told("node-1"), [ToNode::Welcome(Routes::Direct)]);
}

#[tokio::test]
async fn nobody_is_served_before_facts_are_complete_since_half_of_them_look_like_removals() {
    let mut world = World::loading().await;
    world.node_opens("node-1").await;
    assert_eq!(world.told("node-1"), []);
    world.completes().await;
    assert_eq!(world.told("node-1"), [ToNode::Welcome(Routes::Direct)]);
}

#[tokio::test]
async fn a_restarted_replica_keeps_mappings_and_scales_nothing_down() {
    let mut world = World::awake().await;
    let address = world.address();
    world.restart().await;
    assert_eq!(world.address(), address);
    world.wait(Duration::from_secs(3_600)).await;
    assert_ne!(world.verdict(), "hold for a drain", "of a node that is not back nothing is known");
    world.node_opens("node-1").await;
    world.wait(Duration::from_secs(3_600)).await;
    assert_eq!(world.writes(), [1], "unknown activity is not idle");
    world.idle("node-1", 1).await;
    world.wait(Duration::from_secs(1)).await;
    assert_ne!(world.verdict(), "hold for a drain", "two seconds are not past its limit");
    world.idle("node-1", 3_600).await;
    world.until_offered().await;
    assert_eq!(world.verdict(), "hold for a drain", "what the node remembers counts at once");
}

#[tokio::test]
async fn a_refused_scale_write_fails_held_clients_and_is_tried_again_with_a_pause() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.refuse_scaling(true);
    world.holds("node-1", true).await;
    assert_eq!(world.verdict(), "fail QuotaExceeded");
    let tried = world.tried();
    world.wait(Duration::from_secs(60)).await;
    assert!((tried + 3..tried + 30).contains(&world.tried()), "{} tries", world.tried());
    world.refuse_scaling(false);
    world.wait(Duration::from_secs(11)).await;
    assert_eq!(world.verdict(), "hold");
    world.pod_ready("pod-1").await;
    assert_eq!(world.verdict(), "forward 10.42.0.1:80");
}

#[tokio::test]
async fn a_status_write_under_a_wake_costs_no_pause() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.touch_status_on_next_scale();
    world.holds("node-1", true).await;
    assert_eq!((world.tried(), world.writes()), (2, vec![1]));
}

#[tokio::test]
async fn a_wake_whose_pods_fail_is_told_once_for_each_reason() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.pods_fail(Some("Unrelated")).await;
    assert_eq!(world.happened(|what| matches!(what, Happening::WakeFailed(_))), 0, "nobody asked for it");
    world.pods_fail(None).await;
    world.holds("node-1", true).await;
    for _ in 0..3 {
        world.pods_fail(Some("CrashLoop")).await;
    }
    assert_eq!(world.verdict(), "fail CrashLoop");
    let crash_loop =
        |what: &Happening| matches!(what, Happening::WakeFailed(problem) if problem.reason == "CrashLoop");
    assert_eq!(world.happened(crash_loop), 1);
    world.pod_ready("pod-1").await;
    world.pods_fail(None).await;
    assert_eq!(world.verdict(), "forward 10.42.0.1:80");
}

#[tokio::test]
async fn clients_of_a_failing_workload_are_asked_to_wait_as_long_as_its_next_try_does() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.holds("node-1", true).await;
    for seconds in [1, 20, 300] {
        world.pods_back_off(Some(Duration::from_secs(seconds))).await;
        assert_eq!(world.retry_after(), Duration::from_secs(seconds));
    }
    world.pods_back_off(Some(Duration::from_millis(200))).await;
    assert_eq!(world.retry_after(), Duration::from_secs(1), "never less than a second");
    world.pods_back_off(None).await;
    assert_eq!(world.retry_after(), Duration::from_secs(10), "nobody knows when");
}

#[tokio::test]
async fn a_wake_past_its_timeout_is_a_condition_and_is_told_once_until_a_pod_is_ready() {
    let late =
        |what: &Happening| matches!(what, Happening::WakeFailed(problem) if problem.reason == "WakeDeadline");
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    world.holds("node-1", true).await;
    world.wait(Duration::from_secs(59)).await;
    assert_eq!((world.ready_reason(), world.happened(late)), ("Ready".into(), 0));
    world.wait(Duration::from_secs(2)).await;
    assert_eq!((world.ready_reason(), world.happened(late)), ("WakeDeadline".into(), 1));
    assert_eq!(world.verdict(), "hold", "it may still become ready");
    world.wait(Duration::from_secs(600)).await;
    assert_eq!(world.happened(late), 1);
    world.pod_ready("pod-1").await;
    assert_eq!(world.ready_reason(), "Ready");
    assert_eq!(world.verdict(), "forward 10.42.0.1:80");
}

#[tokio::test]
async fn a_lost_host_is_told_once_for_each_time_it_is_lost() {
    let lost =
        |what: &Happening| matches!(what, Happening::Unserved(problem) if problem.reason == "HostConflict");
    let mut world = World::started().await;
    world.opt_in_with_host("first", "shop.example").await;
    world.opt_in_with_host("second", "shop.example").await;
    world.opt_in("third").await;
    assert_eq!(world.happened(lost), 1);
    world.opt_in_with_host("second", "other.example").await;
    assert_eq!(world.happened(lost), 1);
    world.opt_in_with_host("second", "shop.example").await;
    assert_eq!(world.happened(lost), 2);
}

#[tokio::test]
async fn an_exhausted_pool_is_told_once_for_each_upstream_without_an_address() {
    let exhausted = |what: &Happening| matches!(what, Happening::Unserved(problem) if problem.reason == "PortPoolExhausted");
    let mut world = World::started().await;
    for service in 1..100 {
        world.opt_in(&format!("service-{service}")).await;
    }
    assert_eq!(world.happened(exhausted), 0);
    world.opt_in("one-too-many").await;
    world.opt_in("two-too-many").await;
    world.wait(Duration::from_secs(60)).await;
    assert_eq!(world.happened(exhausted), 2);
}

#[tokio::test]
async fn a_status_write_between_pin_and_patch_is_pinned_anew_and_a_spec_change_is_respected() {
    let mut world = World::awake().await;
    world.idle_past_limit().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked");
    world.touch_status_on_next_scale();
    world.proves_quiet("node-1", &drain).await;
    world.wait(Duration::from_secs(3)).await;
    assert_eq!(world.writes(), [1, 0]);

    let mut world = World::awake().await;
    world.idle_past_limit().await;
    world.applied("node-1").await;
    let drain = world.asked_for_proof("node-1").expect("asked");
    world.change_spec_on_next_scale();
    world.proves_quiet("node-1", &drain).await;
    world.wait(Duration::from_secs(10)).await;
    assert_eq!(world.writes(), [1], "overtaken: never patched");
    world.applied("node-1").await;
    let another = world.asked_for_proof("node-1").expect("still idle: offered anew");
    assert_ne!(another, drain);
}

#[tokio::test]
async fn a_released_address_rests_before_it_is_used_again() {
    let mut world = World::started().await;
    let address = world.address();
    world.opt_out().await;
    world.opt_in("other").await;
    assert_ne!(world.address_of("other"), address);
    world.wait(Duration::from_secs(601)).await;
    world.opt_in("third").await;
    assert_eq!(world.address_of("third"), address);
}
