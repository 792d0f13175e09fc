//! Workloads of further kinds: discovered when they become a target, watched by their metadata, read through `scale`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::debug;
use zenvoy_shared::fault::causes;
use zenvoy_shared::id::WorkloadId;

use super::api_server::ApiServer;
use super::board::{Change, Wants};
use super::follow::{Ended, Pause, Watched, follow};
use super::keep::Key;
use super::kinds::Kinds;
use super::lookup;
use super::target::KindState;
use super::watches::Ground;

/// A kind that is not served may come with its definition.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Reads at once.
const READS: usize = 8;
const READ_DEADLINE: Duration = Duration::from_secs(10);
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Follows one kind for ever.
pub(super) async fn kind(kind: String, kinds: Kinds, ground: Ground) {
    let Ground { client, server, scope, out } = ground;
    let mut pause = Pause::default();
    loop {
        let wait = match kinds.discover(&kind).await {
            Ok(resource) => {
                if out.send(Change::Kind(kind.clone(), KindState::Scalable)).await.is_err() {
                    return;
                }
                let api = scope.api_with(client.clone(), &resource);
                if objects(&kind, server.clone(), api, &out).await == Ended::Deserted {
                    return;
                }
                pause = Pause::default();
                pause.next()
            }
            Err(error) => match error.problem() {
                Some(problem) => {
                    let state = KindState::Unusable(problem);
                    if out.send(Change::Kind(kind.clone(), state)).await.is_err() {
                        return;
                    }
                    ASK_AGAIN
                }
                None => {
                    server.failed(&kind, &causes(&error));
                    pause.next()
                }
            },
        };
        tokio::select! {
            () = out.closed() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Metadata only: their specs are of no form that is known here.
async fn objects(
    kind: &str,
    server: Arc<ApiServer>,
    api: Api<PartialObjectMeta<DynamicObject>>,
    out: &mpsc::Sender<Change>,
) -> Ended {
    let watched = Watched {
        what: kind.to_owned(),
        server,
        api,
        config: watcher::Config::default(),
        read: |object: PartialObjectMeta<DynamicObject>| {
            (Key::of(&object.metadata), object.metadata.resource_version)
        },
        change: |key: Key, version| Change::Seen(WorkloadId::new(key.namespace, kind, key.name), version),
        listed: Change::KindListed(kind.to_owned()),
    };
    follow(&watched, out).await
}

/// Reads what the board wants to know, for ever.
pub(super) async fn reads(
    client: Client,
    kinds: Kinds,
    mut wants: watch::Receiver<Wants>,
    out: mpsc::Sender<Change>,
) {
    // Versions that are being read, and that have been.
    let mut under_way: BTreeMap<WorkloadId, String> = BTreeMap::new();
    let mut done: BTreeMap<WorkloadId, String> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let due: Vec<(WorkloadId, String)> = {
            let wants = wants.borrow_and_update();
            done.retain(|id, version| wants.reads.get(id) == Some(version));
            let fresh = |(id, _): &(&WorkloadId, _)| !under_way.contains_key(*id) && !done.contains_key(*id);
            let due = wants.reads.iter().filter(fresh).take(READS - tasks.len());
            due.map(|(id, version)| (id.clone(), version.clone())).collect()
        };
        for (id, version) in due {
            under_way.insert(id.clone(), version.clone());
            tasks.spawn(read(client.clone(), kinds.clone(), id, version));
        }
        tokio::select! {
            changed = wants.changed() => if changed.is_err() { return },
            Some(Ok((id, change))) = tasks.join_next() => {
                if let (Some(version), Some(change)) = (under_way.remove(&id), change) {
                    done.insert(id, version);
                    if out.send(change).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

async fn read(client: Client, kinds: Kinds, id: WorkloadId, version: String) -> (WorkloadId, Option<Change>) {
    let reading = async {
        let resource = kinds.resource(&id.kind).await.map_err(|error| error.to_string())?;
        lookup::workload(&client, &resource, &id).await.map_err(|error| error.to_string())
    };
    let failure = match tokio::time::timeout(READ_DEADLINE, reading).await {
        Ok(Ok(workload)) => return (id.clone(), Some(Change::Read(id, version, workload))),
        Ok(Err(failure)) => failure,
        Err(_) => format!("no answer in {READ_DEADLINE:?}"),
    };
    debug!(workload = %id, failure, "a read failed; it is tried again");
    tokio::time::sleep(READ_AGAIN).await;
    (id, None)
}
