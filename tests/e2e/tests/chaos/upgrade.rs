//! Replicas and nodes of two builds side by side (rule L4): a fleet of an earlier build is replaced part by part by the one under
//! test, and one part goes back.

use std::path::Path;

use nix::sys::signal::Signal;
use zenvoy_e2e::parts;
use zenvoy_e2e::process::Process;

use crate::stage::{Stage, on_a_fleet_of};

fn assert_runs(process: &Process, program: &Path) {
    let runs = std::fs::read_link(format!("/proc/{}/exe", process.pid())).expect("it runs");
    assert_eq!(runs, program);
}

/// Replaces a controller as a rollout does: it is told to end, and ends in good order before its successor starts.
async fn replace_controller(stage: &mut Stage, number: usize, program: &Path) {
    stage.say(&format!("controller-{} becomes {}", number + 1, program.display()));
    storm_around(stage, async |stage| {
        let controller = &mut stage.fleet.controllers[number];
        controller.become_build(program);
        controller.process().signal(Signal::SIGTERM);
        let status = controller.process().end().await;
        assert!(status.success(), "it ended in good order: {status}");
    })
    .await;
    assert_runs(stage.fleet.controllers[number].process(), program);
}

/// Replaces a node as a rollout does: its Envoy ends before its proxy, and nobody is sent there until both are back.
async fn replace_node(stage: &mut Stage, number: usize, program: &Path) {
    stage.say(&format!("node-{} becomes {}", number + 1, program.display()));
    storm_around(stage, async |stage| {
        stage.journal.excuse(number);
        let node = &mut stage.fleet.nodes[number];
        node.become_build(program);
        node.envoy().terminate().await;
        let status = node.proxy().terminate().await;
        assert!(status.success(), "it ended in good order: {status}");
    })
    .await;
    assert_runs(stage.fleet.nodes[number].proxy(), program);
}

/// Storms, half before something ends and half while it starts again.
async fn storm_around(stage: &mut Stage, ends: impl AsyncFnOnce(&mut Stage)) {
    let all = stage.services.stormed.clone();
    let (before, after) = all.split_at(all.len() / 2);
    let first = stage.storm(before);
    ends(stage).await;
    stage.fleet.start_again();
    let second = stage.storm(after);
    first.over().await;
    second.over().await;
    stage.fleet.until_ready().await;
    stage.journal.no_more_excuses();
    stage.until_calm().await;
}

#[test]
fn a_fleet_of_an_earlier_build_is_upgraded_part_by_part_and_one_part_goes_back() {
    let earlier = parts::path("earlier");
    on_a_fleet_of(earlier.clone(), async move |stage| {
        let program = parts::zenvoy();
        let traffic = stage.traffic().await;
        // The leader last: what leads is of the earlier build for as long as there is one.
        let leader = stage.fleet.until_leader().await;
        assert_runs(stage.fleet.controllers[leader].process(), &earlier);
        for number in stage.fleet.followers().await.into_iter().chain([leader]) {
            replace_controller(stage, number, &program).await;
        }
        for number in 0..stage.fleet.nodes.len() {
            replace_node(stage, number, &program).await;
        }
        let leader = stage.fleet.until_leader().await;
        replace_controller(stage, leader, &earlier).await;
        traffic.stop().await;
    });
}
