//! A node whose pods are processes: what a kubelet and a scheduler do, as far as clients of the API can see it.
//!
//! In: pods of the API server; out: bindings, processes, statuses. Of a pod, the first container is run; `backend` as its
//! command is this crate's server. A pod's annotation makes it misbehave, see [`Behaviour`].

mod api;
mod behaviour;
mod container;
mod pod;
mod status;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::pin::pin;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::cluster::Cluster;
use crate::folder::Folder;
pub use behaviour::{BEHAVIOUR, Behaviour};

/// The name of the node.
pub const NODE: &str = "node-1";

/// A running kubelet. Dropped: its pods' processes end.
#[derive(Debug)]
pub struct Kubelet {
    // Ends its tasks, and with them the processes.
    _tasks: JoinSet<()>,
}

impl Kubelet {
    /// Starts it on a cluster that is ready; its Node is Ready when this returns.
    ///
    /// # Panics
    /// When the API server refuses the Node.
    pub async fn start(cluster: &Cluster, folder: &Folder) -> Self {
        let client = cluster.client();
        register(cluster).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(run(client, folder.path().to_path_buf()));
        Self { _tasks: tasks }
    }
}

/// A pod's addresses: every one is local in a test's namespace, and none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Addresses {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Addresses {
    fn of(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self { v4: Ipv4Addr::new(10, 42, high, low), v6: Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, number) }
    }
}

/// A pod that this kubelet has seen and the API server has not yet removed.
struct Seen {
    /// Told once: the pod has so many seconds to end.
    deletion: watch::Sender<Option<u64>>,
    task: AbortHandle,
}

async fn register(cluster: &Cluster) {
    let nodes = Api::<Node>::all(cluster.client());
    cluster.apply(&nodes, NODE, &json!({})).await;
    let room = json!({ "cpu": "1000", "memory": "1000Gi", "pods": "100000" });
    let status = json!({ "status": {
        "capacity": room,
        "allocatable": room,
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "pods are processes",
            "lastHeartbeatTime": status::now(), "lastTransitionTime": status::now(),
        }],
    }});
    // No node lifecycle controller runs: it stays Ready without heartbeats.
    nodes
        .patch_status(NODE, &PatchParams::default(), &Patch::Merge(status))
        .await
        .expect("the node's status");
}

async fn run(client: Client, folder: PathBuf) {
    let events = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).default_backoff();
    let mut events = pin!(events);
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut addresses = (1..u16::MAX).map(Addresses::of);
    let mut listed: Vec<String> = Vec::new();
    while let Some(event) = events.next().await {
        let pod = match event {
            Ok(Event::Apply(pod)) => pod,
            Ok(Event::InitApply(pod)) => {
                listed.extend(pod.uid());
                pod
            }
            Ok(Event::Delete(pod)) => {
                forget(&mut seen, &pod.uid().unwrap_or_default());
                continue;
            }
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitDone) => {
                let gone: Vec<String> = seen.keys().filter(|uid| !listed.contains(uid)).cloned().collect();
                gone.iter().for_each(|uid| forget(&mut seen, uid));
                continue;
            }
            // The watcher tries again by itself.
            Err(_) => continue,
        };
        if pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| node != NODE) {
            continue;
        }
        let uid = pod.uid().unwrap_or_default();
        let grace = pod.metadata.deletion_timestamp.as_ref().map(|_| {
            let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
            u64::try_from(seconds).unwrap_or(0)
        });
        let known = seen.entry(uid).or_insert_with(|| {
            let (deletion, told) = watch::channel(None);
            let addresses = addresses.next().expect("fewer than 65,000 pods in a test");
            let task = tasks.spawn(pod::run(client.clone(), folder.clone(), pod, addresses, told));
            Seen { deletion, task }
        });
        if grace.is_some() {
            known.deletion.send_replace(grace);
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// The API server has removed it: whatever still runs of it ends.
fn forget(seen: &mut HashMap<String, Seen>, uid: &str) {
    if let Some(pod) = seen.remove(uid) {
        pod.task.abort();
    }
}
