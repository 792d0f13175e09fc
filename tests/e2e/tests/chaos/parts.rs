//! Parts end and come back: any one of them, and two members of etcd at once.

use std::time::Duration;

use zenvoy_e2e::load;

use crate::check::changes_since;
use crate::fault::Fault;
use crate::journal::unix_millis;
use crate::leader::FAIL_OVER;
use crate::stage::{Stage, on_a_fleet};

/// Storms, half before a part ends and half right after it; then it comes back, and all is calm.
async fn storm_around(stage: &mut Stage, fault: Fault) {
    let all = stage.services.stormed.clone();
    let (before, after) = all.split_at(all.len() / 2);
    stage.say(&fault.to_string());
    let began = unix_millis();
    let first = stage.storm(before);
    fault.begin(stage).await;
    let second = stage.storm(after);
    let storms = async {
        first.over().await;
        second.over().await;
    };
    if matches!(fault, Fault::KillController(_) | Fault::KillEtcd(_)) {
        // Others do what it did.
        storms.await;
        fault.end(stage).await;
    } else {
        fault.end(stage).await;
        storms.await;
    }
    let slowest = stage.slowest_wake(&all, began, began);
    stage.say(&format!("the slowest wake waited {slowest:?} for its scale write"));
    assert!(slowest <= FAIL_OVER, "a wake waited {slowest:?}");
    stage.assert_warm_saw_nothing(began);
    stage.until_calm().await;
}

#[test]
fn any_part_that_is_killed_in_a_storm_loses_only_what_ran_through_it() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        let follower = stage.fleet.followers().await[0];
        for fault in [
            Fault::KillController(follower),
            Fault::KillEtcd(0),
            Fault::KillEtcd(1),
            Fault::KillEtcd(2),
            Fault::KillApiServer,
            Fault::KillProxy(0),
            Fault::KillEnvoy(0),
        ] {
            storm_around(stage, fault).await;
        }
        traffic.stop().await;
    });
}

/// How long what is idle stays up while etcd has no quorum, in requests of a second each: longer than any of the services may be
/// idle.
const STAYS_UP: usize = 5;

/// How long a wake waits at most when etcd has just lost its quorum: two seconds in which nothing is heard of it, the last answers
/// before that, and a busy machine.
const UNNOTICED: Duration = Duration::from_millis(4_500);
/// The same once that is known: nobody waits for etcd.
const NOTICED: Duration = Duration::from_millis(1_500);

/// Two of three members go, a storm comes at once, and another one when all controllers have noticed. Then the members come back.
async fn storm_without_quorum(stage: &mut Stage, fault: Fault) {
    let all = stage.services.stormed.clone();
    let (at_once, later) = all.split_at(all.len() / 2);
    let began = unix_millis();
    stage.say(&fault.to_string());
    fault.begin(stage).await;
    let first = stage.storm(at_once);
    for controller in &mut stage.fleet.controllers {
        controller.until_not_ready().await;
    }
    let noticed = unix_millis();
    let second = stage.storm(later);
    first.over().await;
    second.over().await;
    let slowest = stage.slowest_wake(at_once, began, began);
    stage.say(&format!("the slowest wake waited {slowest:?} for its scale write"));
    assert!(slowest <= UNNOTICED, "a wake waited {slowest:?}");
    let slowest = stage.slowest_wake(later, noticed, noticed);
    stage.say(&format!("and of those after it was noticed {slowest:?}"));
    assert!(slowest <= NOTICED, "a wake waited {slowest:?}");
    stage.assert_warm_saw_nothing(began);
    let warm = stage.fleet.http(0, &stage.services.busy, "/slow?ms=1000");
    for _ in 0..STAYS_UP {
        load::once(&warm).await.served();
    }
    for backend in &all {
        let changes = changes_since(&stage.fleet.audit(), backend, began);
        assert_eq!(changes, [(0, 1)], "{} is scaled up once, and not down", backend.name());
    }
    for backend in stage.services.all() {
        let changes = changes_since(&stage.fleet.audit(), &backend, noticed);
        assert!(!changes.contains(&(1, 0)), "{} was scaled down without a quorum", backend.name());
    }
    fault.end(stage).await;
    stage.until_calm().await;
}

#[test]
fn without_a_quorum_of_etcd_what_sleeps_wakes_by_one_write_and_nothing_is_put_to_sleep() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        storm_without_quorum(stage, Fault::KillEtcdAllBut(2)).await;
        storm_without_quorum(stage, Fault::CutOffEtcdAllBut(0)).await;
        traffic.stop().await;
    });
}
