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

use serde_json::Value;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::store::Records;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Fleet;

use crate::journal::Journal;
use crate::traffic::Services;
pub(crate) use writes::up_at;

/// Waits until nothing moves any more, then checks all invariants. Traffic has ended, and all parts run and reach each other.
///
/// # Panics
/// When it does not come to rest, or one is broken: with all that was found.
pub(crate) async fn check(fleet: &mut Fleet, services: &Services, journal: &Journal) {
    fleet.until_ready().await;
    let backends = services.all();
    until_all_sleep(fleet, &backends).await;
    let mut records = Records::of(&fleet.etcd[0]).await;
    let history = records.history().await;
    let mut found = Vec::new();
    found.extend(writes::found(&fleet.audit(), &backends, &history));
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
    for backend in backends {
        until::so(&format!("{} sleeps on all nodes", backend.name()), async || {
            is_asleep(fleet, backend).await
        })
        .await;
    }
    let mut records = Records::of(&fleet.etcd[0]).await;
    until::so("no wake and no drain is open", async || {
        let (wakes, drains) = (records.all("wakes/").await, records.all("drains/").await);
        let open = |record: &Value| record["state"] == "offered" || record["state"] == "committed";
        wakes.values().all(|wake| wake["state"] == "retired") && !drains.values().any(open)
    })
    .await;
}

async fn is_asleep(fleet: &Fleet, backend: &Backend) -> bool {
    let requests = fleet.audit().requests(backend.name());
    let last = requests.iter().rfind(|request| request.to.is_some());
    if last.is_none_or(|last| last.to != Some(0)) || !backend.pods(&fleet.cluster).await.is_empty() {
        return false;
    }
    for node in &fleet.nodes {
        if node.upstream(backend).await.is_none_or(|upstream| upstream["verdict"] != "hold") {
            return false;
        }
    }
    true
}
