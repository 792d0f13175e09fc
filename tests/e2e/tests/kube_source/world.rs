//! A cluster with a source that runs on it, and what it has said.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zenvoy_controller::model::{Fact, Inventory, WorkloadFacts};
use zenvoy_controller::report::Reporter;
use zenvoy_controller::source::kube::{Kube, KubeOptions, KubeReporter, KubeScaler, Urgency, connect};
use zenvoy_controller::source::{ScaleError, ScaleWrite, Scaler, Source};
use zenvoy_e2e::cluster::{Cluster, NAMESPACE, User};
use zenvoy_e2e::folder::Folder;
use zenvoy_e2e::until;
use zenvoy_shared::id::{UpstreamId, WorkloadId};

/// Where all pods are.
const NODE: &str = "node-1";

/// A control plane.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    _folder: Folder,
}

/// zenvoy's side.
pub(crate) struct Zenvoy {
    pub(crate) scaler: KubeScaler,
    pub(crate) reporter: KubeReporter,
    facts: mpsc::Receiver<Fact>,
    pub(crate) inventory: Inventory,
    /// Everything that was said, in order.
    pub(crate) said: Vec<Fact>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = Folder::new();
        let mut cluster = Cluster::start(&folder);
        cluster.until_ready().await;
        // EndpointSlices leave out pods whose node does not exist.
        let node = json!({ "metadata": { "name": NODE } });
        cluster.apply::<Node>(&Api::all(cluster.client()), NODE, &node).await;
        Self { cluster, _folder: folder }
    }

    pub(crate) fn client(&self) -> Client {
        self.cluster.client()
    }

    async fn config(&self, user: User) -> kube::Config {
        let read = Kubeconfig::read_from(self.cluster.kubeconfig(user)).expect("a kubeconfig");
        kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
            .await
            .expect("a configuration")
    }

    /// A scaler that may do nothing.
    pub(crate) async fn scaler_without_rights(&self) -> KubeScaler {
        let mut config = self.config(User::Admin).await;
        config.auth_info.impersonate = Some("nobody".into());
        KubeScaler::new(connect(&config).await.expect("a client"), Vec::new(), Urgency::default())
    }

    /// Starts zenvoy's side with the rights that it has in production.
    pub(crate) async fn zenvoy(&self) -> Zenvoy {
        let options = KubeOptions { instance: "test".into(), ..KubeOptions::default() };
        let kube = Kube::connect(&self.config(User::Zenvoy).await, options).await.expect("clients");
        let (said, facts) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (source, source_stop) = (Box::new(kube.source), stop.clone());
        tasks.spawn(async move { source.run(said, source_stop).await.expect("the source goes on") });
        tasks.spawn(kube.writer.run(stop.clone()));
        kube.reporter.leading(true);
        Zenvoy {
            scaler: kube.scaler,
            reporter: kube.reporter,
            facts,
            inventory: Inventory::default(),
            said: Vec::new(),
            stop,
            tasks,
        }
    }

    pub(crate) async fn service(&self, name: &str, annotations: &[(&str, &str)]) {
        let annotations: serde_json::Map<String, Value> =
            annotations.iter().map(|(name, value)| (format!("zenvoy.dev/{name}"), json!(value))).collect();
        let service = json!({
            "metadata": { "name": name, "annotations": annotations },
            "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 8080 }] },
        });
        self.cluster.apply::<Service>(&self.api(), name, &service).await;
    }

    pub(crate) async fn deployment(&self, name: &str, replicas: u32) {
        let deployment = json!({ "metadata": { "name": name }, "spec": workload(name, replicas) });
        self.cluster.apply::<Deployment>(&self.api(), name, &deployment).await;
    }

    /// With one replica and a named container port.
    pub(crate) async fn deployment_with_port(&self, name: &str, port_name: &str, port: u16) {
        let mut spec = workload(name, 1);
        spec["template"]["spec"]["containers"][0]["ports"] =
            json!([{ "name": port_name, "containerPort": port }]);
        let deployment = json!({ "metadata": { "name": name }, "spec": spec });
        self.cluster.apply::<Deployment>(&self.api(), name, &deployment).await;
    }

    pub(crate) async fn stateful_set(&self, name: &str, replicas: u32) {
        let mut spec = workload(name, replicas);
        spec["serviceName"] = json!(name);
        let set = json!({ "metadata": { "name": name }, "spec": spec });
        self.cluster.apply::<StatefulSet>(&self.api(), name, &set).await;
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client(), NAMESPACE)
    }

    /// The one pod of `app` that is not about to go.
    pub(crate) async fn pod(&self, app: &str) -> Pod {
        let api: Api<Pod> = self.api();
        let params = ListParams::default().labels(&format!("app={app}"));
        until::some("a pod", async || {
            let pods = api.list(&params).await.ok()?;
            pods.items.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none())
        })
        .await
    }

    /// Does what a kubelet would say of the pod.
    pub(crate) async fn pod_status(&self, pod: &Pod, status: &Value) {
        let api: Api<Pod> = self.api();
        let name = pod.metadata.name.as_deref().expect("pods have names");
        let patch = Patch::Merge(json!({ "status": status }));
        api.patch_status(name, &PatchParams::default(), &patch).await.expect("a status");
    }

    /// The pod runs at this address, ready or not.
    pub(crate) async fn pod_runs(&self, pod: &Pod, address: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let status = json!({
            "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
            "conditions": [{ "type": "Ready", "status": ready }],
        });
        self.pod_status(pod, &status).await;
    }
}

fn workload(name: &str, replicas: u32) -> Value {
    json!({
        "replicas": replicas,
        "selector": { "matchLabels": { "app": name } },
        "template": {
            "metadata": { "labels": { "app": name } },
            "spec": {
                "nodeName": NODE,
                "terminationGracePeriodSeconds": 0,
                "containers": [{ "name": "main", "image": "none" }],
            },
        },
    })
}

impl Zenvoy {
    /// Takes in facts until something is so.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl Fn(&Inventory) -> bool) {
        until::done(what, async {
            while !is_so(&self.inventory) {
                let fact = self.facts.recv().await.expect("the source runs");
                self.inventory.apply(fact.clone());
                self.said.push(fact);
            }
        })
        .await;
    }

    pub(crate) async fn until_complete(&mut self) {
        self.until("everything has been said", Inventory::is_complete).await;
    }

    /// What is known of a workload.
    pub(crate) fn facts(&self, id: &WorkloadId) -> WorkloadFacts {
        self.inventory.view(id).facts.expect("a known workload").clone()
    }

    pub(crate) async fn until_ready_pods(&mut self, id: &WorkloadId, pods: usize) {
        self.until("the endpoints", |inventory| {
            let view = inventory.view(id);
            view.upstreams.iter().map(|upstream| upstream.endpoints.len()).sum::<usize>() == pods
        })
        .await;
    }

    /// Scales on the version that is there now; again when something else was faster.
    pub(crate) async fn scale(&self, id: &WorkloadId, replicas: u32) -> String {
        until::some("a scale write", async || {
            let now = self.scaler.read(id).await.expect("an answer").expect("a workload");
            let write = ScaleWrite { replicas, resource_version: now.version.resource_version };
            match self.scaler.scale(id, &write).await {
                Err(ScaleError::Conflict(_)) => None,
                answer => Some(answer.expect("scaled")),
            }
        })
        .await
    }

    /// Ends, as at a graceful stop.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        until::done("the end of its tasks", async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.expect("no task panics");
            }
        })
        .await;
    }
}

pub(crate) fn deployment(name: &str) -> WorkloadId {
    WorkloadId::new(NAMESPACE, "Deployment.apps", name)
}

pub(crate) fn stateful_set(name: &str) -> WorkloadId {
    WorkloadId::new(NAMESPACE, "StatefulSet.apps", name)
}

pub(crate) fn upstream(service: &str) -> UpstreamId {
    UpstreamId::new(NAMESPACE, service, 80)
}
