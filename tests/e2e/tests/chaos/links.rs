//! Parts lose sight of each other.

use std::time::Duration;

use zenvoy_e2e::load;
use zenvoy_e2e::site::Member;
use zenvoy_e2e::until;

use crate::fault::controller;
use crate::journal::unix_millis;
use crate::leader::FAIL_OVER;
use crate::stage::{Stage, on_a_fleet};

/// Storms while something is cut, and says how long the slowest wake waited; then all is whole again.
async fn storm_meanwhile(stage: &mut Stage) -> Duration {
    let since = unix_millis();
    stage.journal.etcd_breaks();
    stage.storm(&stage.services.stormed).over().await;
    let slowest = stage.slowest_wake(&stage.services.stormed, since, since);
    stage.say(&format!("the slowest wake waited {slowest:?} for its scale write"));
    slowest
}

/// All is whole again.
async fn heal(stage: &mut Stage) {
    stage.fleet.site.heal();
    stage.fleet.until_ready().await;
    stage.journal.etcd_is_whole();
}

/// The leader loses some; a storm; another one leads. Returns how long the slowest wake waited.
async fn leader_loses(stage: &mut Stage, lost: &[Member]) -> Duration {
    let traffic = stage.traffic().await;
    let leader = stage.fleet.until_leader().await;
    stage.say(&format!("controller-{} leads, and loses {lost:?}", leader + 1));
    for member in lost {
        stage.fleet.site.cut(controller(leader), *member);
    }
    let slowest = storm_meanwhile(stage).await;
    stage.fleet.until_successor(leader).await;
    heal(stage).await;
    traffic.stop().await;
    slowest
}

#[test]
fn a_leader_that_loses_etcd_lets_another_one_lead() {
    on_a_fleet(async |stage| {
        let slowest = leader_loses(stage, &[Member::Etcd(0), Member::Etcd(1), Member::Etcd(2)]).await;
        assert!(slowest <= FAIL_OVER, "a wake waited {slowest:?}");
    });
}

#[test]
fn a_leader_that_loses_the_api_server_lets_another_one_lead() {
    on_a_fleet(async |stage| {
        let slowest = leader_loses(stage, &[Member::Kubernetes]).await;
        assert!(slowest <= FAIL_OVER, "a wake waited {slowest:?}");
    });
}

#[test]
fn a_replica_that_loses_everyone_loses_no_request() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        let lost = until::some("a node is served", async || stage.fleet.controller_of(0).await).await;
        stage.fleet.site.cut_off(controller(lost));
        let slowest = storm_meanwhile(stage).await;
        for node in 0..stage.fleet.nodes.len() {
            until::so("the node is served by another controller", async || {
                stage.fleet.controller_of(node).await.is_some_and(|controller| controller != lost)
            })
            .await;
        }
        heal(stage).await;
        traffic.stop().await;
        assert!(slowest <= FAIL_OVER, "a wake waited {slowest:?}");
    });
}

#[test]
fn a_node_that_loses_all_controllers_serves_what_is_warm_and_nothing_is_scaled_down_under_it() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        let warm = stage.fleet.http(0, &stage.services.busy, "/");
        until::so("the streams are open", async || load::once(&warm).await.result.is_ok()).await;
        for number in 0..3 {
            stage.fleet.site.cut(Member::Node(0), controller(number));
        }
        until::so("the node has noticed", async || {
            let status = stage.fleet.nodes[0].status().await;
            status["session"]["state"] == "opening"
        })
        .await;
        let before = stage.fleet.audit().all();
        load::together(&warm, 50).await.assert_all_served();
        // Through the others, what sleeps wakes; through this one it is held.
        let storm = stage.storm(&stage.services.stormed);
        until::so("all are up", async || {
            let audit = stage.fleet.audit();
            stage.services.stormed.iter().all(|backend| audit.effective(backend.name()).len() == 1)
        })
        .await;
        load::together(&warm, 50).await.assert_all_served();
        let downs = |all: &std::collections::BTreeMap<String, Vec<zenvoy_e2e::audit::ScaleRequest>>| {
            all.values().flatten().filter(|request| request.to == Some(0) && request.is_effective()).count()
        };
        assert_eq!(
            downs(&stage.fleet.audit().all()),
            downs(&before),
            "a node that says nothing is not quiet"
        );
        stage.fleet.site.heal();
        storm.over().await;
        stage.fleet.until_ready().await;
        traffic.stop().await;
    });
}

#[test]
fn packets_lost_between_controllers_nodes_and_etcd_lose_no_request() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        let leader = stage.fleet.until_leader().await;
        for member in [controller(leader), Member::Node(0), Member::Etcd(0)] {
            stage.fleet.site.lose(member, 5);
        }
        let slowest = storm_meanwhile(stage).await;
        heal(stage).await;
        traffic.stop().await;
        assert!(slowest <= FAIL_OVER, "a wake waited {slowest:?}");
    });
}

/// Each way, at three places: more than replicas of one region ever see.
const LATE: Duration = Duration::from_millis(100);

#[test]
fn packets_that_come_late_between_controllers_nodes_and_etcd_lose_no_request() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        let leader = stage.fleet.until_leader().await;
        for member in [controller(leader), Member::Node(0), Member::Etcd(0)] {
            stage.fleet.site.slow(member, LATE);
        }
        let slowest = storm_meanwhile(stage).await;
        assert_eq!(stage.fleet.leader().await, Some(leader), "who is slow leads on");
        stage.until_calm().await;
        heal(stage).await;
        traffic.stop().await;
        assert!(slowest <= FAIL_OVER, "a wake waited {slowest:?}");
    });
}
