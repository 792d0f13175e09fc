//! Bare watchers: when each service's first ready endpoint, and its pod's readiness, reached a plain client; which Deployments
//! are scaled up; and when a pod's process began to listen, which it writes into its log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::task::JoinSet;
use zenvoy_e2e::cluster::NAMESPACE;
use zenvoy_e2e::zenvoy::Installation;

use crate::clock::Wall;

type Moments = Arc<Mutex<HashMap<String, Instant>>>;

/// What was seen since the last [`Watch::forget`], by service.
pub(crate) struct Watch {
    slices: Moments,
    pods: Moments,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

impl Watch {
    pub(crate) fn start(on: &Installation) -> Self {
        let (slices, pods) = (Moments::default(), Moments::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(Api::namespaced(on.cluster.client(), NAMESPACE), slices.clone(), of_slice));
        tasks.spawn(follow(Api::namespaced(on.cluster.client(), NAMESPACE), pods.clone(), of_pod));
        Self { slices, pods, _tasks: tasks }
    }

    /// When the service's first ready endpoint arrived.
    pub(crate) fn slice(&self, service: &str) -> Option<Instant> {
        lock(&self.slices).get(service).copied()
    }

    /// When its first pod was seen to be ready.
    pub(crate) fn pod(&self, service: &str) -> Option<Instant> {
        lock(&self.pods).get(service).copied()
    }

    /// Nothing was seen.
    pub(crate) fn forget(&self) {
        lock(&self.slices).clear();
        lock(&self.pods).clear();
    }
}

/// Which Deployments have been scaled up since the last [`Scaled::forget`].
pub(crate) struct Scaled {
    seen: Moments,
    /// Ends with this.
    _task: JoinSet<()>,
}

impl Scaled {
    pub(crate) fn start(on: &Installation) -> Self {
        let seen = Moments::default();
        let mut task = JoinSet::new();
        task.spawn(follow(Api::namespaced(on.cluster.client(), NAMESPACE), seen.clone(), of_deployment));
        Self { seen, _task: task }
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.seen).len()
    }

    /// None was seen.
    pub(crate) fn forget(&self) {
        lock(&self.seen).clear();
    }
}

async fn follow<K>(api: Api<K>, moments: Moments, ready: fn(&K) -> Option<String>)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Send
        + serde::de::DeserializeOwned
        + 'static,
{
    let mut objects =
        std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
    while let Some(object) = objects.next().await {
        if let Some(service) = object.ok().as_ref().and_then(ready) {
            lock(&moments).entry(service).or_insert_with(Instant::now);
        }
    }
}

fn of_slice(slice: &EndpointSlice) -> Option<String> {
    let endpoints = slice.endpoints.iter().flatten();
    let mut conditions = endpoints.filter_map(|endpoint| endpoint.conditions.as_ref());
    conditions.any(|conditions| conditions.ready == Some(true)).then_some(())?;
    slice.labels().get("kubernetes.io/service-name").cloned()
}

fn of_deployment(deployment: &Deployment) -> Option<String> {
    let replicas = deployment.spec.as_ref()?.replicas.unwrap_or(1);
    (replicas > 0).then(|| deployment.name_any())
}

fn of_pod(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let ready = conditions.clone().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    (ready && pod.metadata.deletion_timestamp.is_none()).then(|| pod.labels().get("app").cloned())?
}

/// When the last pod of `service` began to listen.
pub(crate) fn listening(on: &Installation, service: &str) -> Option<Wall> {
    let entries = on.folder.path().read_dir().ok()?.flatten();
    let prefix = format!("pod-{service}-");
    let logs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let texts = logs.filter_map(|log| std::fs::read_to_string(log.path()).ok());
    texts.filter_map(|text| Wall::of_nanos(text.lines().next()?.rsplit(' ').next()?)).max()
}

fn lock(moments: &Moments) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
    moments.lock().unwrap_or_else(PoisonError::into_inner)
}
