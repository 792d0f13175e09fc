//! The wall clock of one replica jumps: nothing is decided by wall clocks (rule L2), so nothing happens.

use k8s_openapi::jiff::Timestamp;
use zenvoy_e2e::until;

use crate::check::changes_since;
use crate::journal::unix_millis;
use crate::stage::on_a_fleet;

/// In seconds.
const HOUR: i64 = 3600;

/// The time of the last line of a log, in seconds since the Unix epoch.
fn last_time(log: &str) -> Option<i64> {
    let time = |line: &str| line.split_whitespace().next()?.parse::<Timestamp>().ok();
    log.lines().rev().find_map(time).map(Timestamp::as_second)
}

#[test]
fn a_wall_clock_that_jumps_changes_nothing_for_the_leader_or_a_follower() {
    on_a_fleet(async |stage| {
        stage.give_clocks().await;
        let leader = stage.fleet.until_leader().await;
        let follower = stage.fleet.followers().await[0];
        let id = stage.fleet.controllers[leader].id().await;
        let terms = stage.terms().await;
        let traffic = stage.traffic().await;
        for jumps in [leader, follower] {
            for ahead in [HOUR, -HOUR, 0] {
                stage.say(&format!("the clock of controller-{} is {ahead} s ahead", jumps + 1));
                let began = unix_millis();
                stage.clocks[jumps].put(ahead);
                let all = stage.services.stormed.clone();
                stage.storm(&all).over().await;
                until::so("its log has the other time", async || {
                    let says = last_time(&stage.fleet.controllers[jumps].process().log());
                    let right = i64::try_from(unix_millis() / 1000).expect("seconds fit");
                    says.is_some_and(|says| (says - right - ahead).abs() < HOUR / 4)
                })
                .await;
                stage.until_calm().await;
                for backend in &all {
                    let changes = changes_since(&stage.fleet.audit(), backend, began);
                    assert_eq!(changes, [(0, 1), (1, 0)], "{}", backend.name());
                }
            }
        }
        traffic.stop().await;
        assert_eq!(stage.terms().await, terms, "nobody else has led");
        assert_eq!(stage.fleet.controllers[leader].id().await, id, "the leader has not started again");
    });
}
