//! The watches that run from the start, each as a task.

use std::sync::Arc;
use std::time::Duration;

use kube::api::ApiResource;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::info;
use zenvoy_shared::id::WorkloadId;

use super::Scope;
use super::api_server::ApiServer;
use super::board::{Change, Room};
use super::crd;
use super::follow::{Ended, Watched, follow};
use super::keep::{Key, SERVICE_LABEL, Service, Slice, Upstream, Workload};
use super::objects::{ServiceObject, SliceObject, UpstreamObject, WorkloadObject, built_in, kind_of};

/// A kind that is not served is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What all watches stand on.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) client: Client,
    pub(super) server: Arc<ApiServer>,
    pub(super) scope: Scope,
    pub(super) out: mpsc::Sender<Change>,
}

pub(super) fn start(tasks: &mut JoinSet<()>, ground: &Ground) {
    tasks.spawn(services(ground.clone()));
    tasks.spawn(upstreams(ground.clone()));
    tasks.spawn(slices(ground.clone()));
    let rooms = [Room::Deployments, Room::StatefulSets, Room::ReplicaSets];
    for (resource, room) in built_in().into_iter().zip(rooms) {
        tasks.spawn(workloads(resource, room, ground.clone()));
    }
}

async fn services(ground: Ground) {
    let Ground { client, server, scope, out } = ground;
    let watched = Watched {
        what: "services".into(),
        server,
        api: scope.api::<ServiceObject>(client),
        config: watcher::Config::default(),
        read: |service: ServiceObject| (Key::of(&service.metadata), Some(Service::read(service))),
        change: Change::Service,
        listed: Change::Listed(Room::Services),
    };
    while follow(&watched, &out).await == Ended::Missing {
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Without the definition of `Upstream` installed, annotations are all there is.
async fn upstreams(ground: Ground) {
    let Ground { client, server, scope, out } = ground;
    let resource = ApiResource::erase::<crd::Upstream>(&());
    let watched = Watched {
        what: "upstreams".into(),
        server,
        api: scope.api_with::<UpstreamObject>(client, &resource),
        config: watcher::Config::default(),
        read: |object: UpstreamObject| (Key::of(&object.metadata), Some(Upstream::read(object))),
        change: Change::Upstream,
        listed: Change::Listed(Room::Upstreams),
    };
    let mut told = false;
    while follow(&watched, &out).await == Ended::Missing {
        if !std::mem::replace(&mut told, true) {
            info!("the Upstream kind is not installed: only annotations configure; see `zenvoy crd`");
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// All slices of Services are kept, trimmed: a Service that opts in later needs its endpoints at once.
async fn slices(ground: Ground) {
    let Ground { client, server, scope, out } = ground;
    let watched = Watched {
        what: "endpointslices".into(),
        server,
        api: scope.api::<SliceObject>(client),
        config: watcher::Config::default().labels(SERVICE_LABEL),
        read: |slice: SliceObject| (Key::of(&slice.metadata), Slice::read(slice)),
        change: Change::Slice,
        listed: Change::Listed(Room::Slices),
    };
    while follow(&watched, &out).await == Ended::Missing {
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn workloads(resource: ApiResource, room: Room, ground: Ground) {
    let Ground { client, server, scope, out } = ground;
    let kind = kind_of(&resource);
    let watched = Watched {
        what: resource.plural.clone(),
        server,
        api: scope.api_with::<WorkloadObject>(client, &resource),
        config: watcher::Config::default(),
        read: |object: WorkloadObject| {
            let id = WorkloadId::new(object.namespace().unwrap_or_default(), &kind, object.name_any());
            (id, Some(Workload::read(object)))
        },
        change: Change::Workload,
        listed: Change::Listed(room),
    };
    while follow(&watched, &out).await == Ended::Missing {
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
