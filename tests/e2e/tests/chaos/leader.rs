//! The leader is killed, paused, stopped.

use std::time::Duration;

use nix::sys::signal::Signal;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::LEASE_TTL;

use crate::journal::unix_millis;
use crate::stage::{Stage, on_a_fleet};

/// A wake during a fail-over waits no longer than this.
pub(crate) const FAIL_OVER: Duration = LEASE_TTL.saturating_add(Duration::from_secs(1));
/// A wake during a hand-over waits no longer than this.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Storms, half before something happens to the leader and half right after it; returns how long the slowest wake waited from
/// then on.
async fn storm_around(stage: &mut Stage, happens: impl AsyncFnOnce(&mut Stage, usize)) -> Duration {
    let leader = stage.fleet.until_leader().await;
    let all = stage.services.stormed.clone();
    let (before, after) = all.split_at(all.len() / 2);
    let began = unix_millis();
    let first = stage.storm(before);
    until::so("the storm has begun", async || {
        before.iter().any(|backend| !stage.fleet.audit().effective(backend.name()).is_empty())
    })
    .await;
    let since = unix_millis();
    happens(stage, leader).await;
    let second = stage.storm(after);
    first.over().await;
    second.over().await;
    let slowest = stage.slowest_wake(&all, began, since);
    stage.say(&format!("the slowest wake waited {slowest:?} for its scale write"));
    stage.assert_warm_saw_nothing(began);
    slowest
}

#[test]
fn a_leader_killed_in_a_storm_of_wakes_is_succeeded_and_no_request_is_lost() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        let slowest = storm_around(stage, async |stage, leader| {
            stage.fleet.controllers[leader].process().kill().await;
        })
        .await;
        assert!(slowest <= FAIL_OVER, "a wake waited {slowest:?}");
        stage.fleet.start_again();
        stage.fleet.until_ready().await;
        traffic.stop().await;
    });
}

#[test]
fn a_leader_paused_for_longer_than_its_lease_writes_nothing_when_it_goes_on() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        let mut paused = None;
        let slowest = storm_around(stage, async |stage, leader| {
            stage.fleet.controllers[leader].process().signal(Signal::SIGSTOP);
            paused = Some(leader);
        })
        .await;
        let paused = paused.expect("the leader was paused");
        let successor = stage.fleet.until_successor(paused).await;
        stage.until_calm().await;
        // It goes on with what it had heard before, in the middle of another storm.
        let storm = stage.storm(&stage.services.stormed);
        stage.fleet.controllers[paused].process().signal(Signal::SIGCONT);
        storm.over().await;
        stage.fleet.until_ready().await;
        assert_eq!(stage.fleet.leader().await, Some(successor), "who went on does not lead");
        traffic.stop().await;
        assert!(slowest <= FAIL_OVER, "a wake waited {slowest:?}");
    });
}

#[test]
fn a_leader_that_is_told_to_end_hands_over_within_a_second() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        let mut ending = 0;
        let slowest = storm_around(stage, async |stage, leader| {
            stage.fleet.controllers[leader].process().signal(Signal::SIGTERM);
            ending = leader;
        })
        .await;
        assert!(slowest <= HAND_OVER, "a wake waited {slowest:?}");
        let status = stage.fleet.controllers[ending].process().end().await;
        assert!(status.success(), "it ended in good order: {status}");
        stage.fleet.start_again();
        stage.fleet.until_ready().await;
        traffic.stop().await;
    });
}
