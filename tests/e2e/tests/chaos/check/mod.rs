//! The invariants, read from what others wrote down: the API server's audit log, etcd's history, what each replica serves, and
//! what clients saw.
//!
//! I1 one effective scale write per cold episode; I2 no request is lost but through killed parts; I3 port mappings are unique and
//! stable; I4 all replicas serve the same and nothing is refused; I5 what is in use is not scaled down; I6 nothing grows without
//! bound.

mod bounds;
mod observer;
mod ports;
mod writes;

use std::collections::BTreeSet;

use serde_json::Value;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::store::Records;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Fleet;

use crate::journal::Journal;
use crate::traffic::Services;
pub(crate) use writes::{changes_since, up_at};

/// Waits until nothing moves any more, then checks all invariants. Traffic has ended, and all parts run and reach each other.
///
/// # Panics
/// When it does not come to rest, or one is broken: with all that was found.
pub(crate) async fn check(fleet: &mut Fleet, services: &Services, journal: &Journal) {
    fleet.until_ready().await;
    let backends = services.all();
    until_all_sleep(fleet, &backends).await;
    assert_no_violation(fleet, &backends, journal).await;
}

/// Checks all invariants. Nothing moves any more, and all parts run and reach each other.
///
/// # Panics
/// When one is broken: with all that was found.
pub(crate) async fn assert_no_violation(fleet: &mut Fleet, backends: &[Backend], journal: &Journal) {
    let mut records = Records::of(&fleet.etcd[0]).await;
    let history = records.history().await;
    let mut found = Vec::new();
    found.extend(writes::found(&fleet.audit(), backends, &history, &journal.outages()));
    found.extend(writes::cut_short(&fleet.audit(), journal));
    found.extend(journal.lost().iter().map(|(what, times)| format!("I2: lost {times} times: {what}")));
    found.extend(ports::found(&history));
    found.extend(observer::found(fleet).await);
    found.extend(bounds::found(fleet, &mut records).await);
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
    let served = journal.entries().iter().filter(|entry| entry.record.result.is_ok()).count();
    assert!(served > 0, "nothing was served, so nothing is proven");
}

/// Waits until everything has been scaled to zero, all nodes hold, and no wake or drain is open.
pub(crate) async fn until_all_sleep(fleet: &Fleet, backends: &[Backend]) {
    let names: Vec<&str> = backends.iter().map(Backend::name).collect();
    until::so(&format!("all sleep on all nodes: {names:?}"), async || are_asleep(fleet, backends).await)
        .await;
    let mut records = Records::of(&fleet.etcd[0]).await;
    until::so("no wake and no drain is open", async || {
        let (wakes, drains) = (records.all("wakes/").await, records.all("drains/").await);
        let open = |record: &Value| record["state"] == "offered" || record["state"] == "committed";
        wakes.values().all(|wake| wake["state"] == "retired") && !drains.values().any(open)
    })
    .await;
}

async fn are_asleep(fleet: &Fleet, backends: &[Backend]) -> bool {
    let audit = fleet.audit().all();
    let is_down = |backend: &Backend| {
        let last = audit.get(backend.name()).and_then(|all| all.iter().rfind(|request| request.to.is_some()));
        last.is_some_and(|last| last.to == Some(0))
    };
    if !backends.iter().all(is_down) {
        return false;
    }
    for node in &fleet.nodes {
        let Some(status) = node.try_status().await else { return false };
        let upstreams = status["upstreams"].as_array().map_or(&[][..], Vec::as_slice);
        let held = upstreams.iter().filter(|upstream| upstream["verdict"] == "hold");
        let held: BTreeSet<&str> = held.filter_map(|upstream| upstream["upstream"].as_str()).collect();
        if !backends.iter().all(|backend| held.contains(backend.upstream().as_str())) {
            return false;
        }
    }
    for backend in backends {
        if !backend.pods(&fleet.cluster).await.is_empty() {
            return false;
        }
    }
    true
}
