//! The baseline: the writes that a wake cannot do without, by plain clients and nothing else.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use zenvoy_e2e::cluster::{NAMESPACE, User};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::zenvoy::Installation;

use crate::clock::Wall;

/// Plain clients of etcd and of the API server.
pub(crate) struct Bare {
    etcd: etcd_client::Client,
    deployments: Api<Deployment>,
}

impl Bare {
    pub(crate) async fn connect(on: &Installation) -> Self {
        let etcd = etcd_client::Client::connect([on.etcd.endpoint()], None).await.expect("connect to etcd");
        // With zenvoy's own rights: authentication and authorisation are parts of what a write costs.
        let client = on.cluster.client_of(User::Zenvoy).await;
        Self { etcd, deployments: Api::namespaced(client, NAMESPACE) }
    }

    /// One put of a record as large as a wake's.
    pub(crate) async fn put(&mut self) -> Duration {
        let began = Instant::now();
        self.etcd.put("/bare", vec![b'x'; 300], None).await.expect("put");
        began.elapsed()
    }

    /// The version that a watch would have: of a workload at rest.
    pub(crate) async fn version(&self, backend: &Backend) -> Option<String> {
        self.deployments.get(backend.name()).await.expect("the deployment").metadata.resource_version
    }

    /// Scales to one with that version: the same patch as a wake's. Returns when the patch was sent.
    pub(crate) async fn scale(&self, backend: &Backend, version: Option<&str>) -> Wall {
        self.patch(backend, 1, version).await
    }

    /// Scales to zero, whatever was written meanwhile.
    pub(crate) async fn end(&self, backend: &Backend) {
        self.patch(backend, 0, None).await;
    }

    async fn patch(&self, backend: &Backend, replicas: u32, version: Option<&str>) -> Wall {
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "replicas": replicas } });
        let sent = Wall::of(Instant::now());
        let patch = Patch::Merge(&patch);
        self.deployments.patch_scale(backend.name(), &PatchParams::default(), &patch).await.expect("scale");
        sent
    }

    /// Puts a record and then scales, for all at once. Returns when the first put was sent.
    pub(crate) async fn storm(&self, backends: &[Backend]) -> Wall {
        let versions = futures::future::join_all(backends.iter().map(|backend| self.version(backend))).await;
        let began = Wall::of(Instant::now());
        let wakes = backends.iter().zip(&versions).map(async |(backend, version)| {
            let mut etcd = self.etcd.clone();
            let key = format!("/bare/{}", backend.name());
            etcd.put(key, vec![b'x'; 300], None).await.expect("put");
            self.patch(backend, 1, version.as_deref()).await
        });
        futures::future::join_all(wakes).await;
        began
    }
}

/// A backend that zenvoy knows nothing of.
pub(crate) fn backend(name: &str) -> Backend {
    Backend::http(name).set("enabled", "false")
}

/// When the API server answered the last write of `backend` that changed its replicas to `replicas`.
pub(crate) fn answered(on: &Installation, backend: &Backend, replicas: u64) -> Wall {
    let requests = on.audit().requests(backend.name());
    let last = requests.iter().rfind(|request| request.is_effective() && request.to == Some(replicas));
    Wall::read(&last.expect("it was scaled").at)
}
