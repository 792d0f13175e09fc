//! The objects that tests create: a backend's workload and the Service before it; and what is seen of them.

mod seen;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, NAMESPACE};
use crate::kubelet::BEHAVIOUR;

/// The port that backends listen on in their pods.
pub const POD_PORT: u16 = 8080;

/// A workload of this crate's `backend` program with a Service of the same name, asleep and opted in to zenvoy unless
/// told otherwise.
#[derive(Debug, Clone)]
pub struct Backend {
    name: String,
    /// The label of its pods: its first name.
    app: String,
    family: Family,
    kind: Kind,
    mode: &'static str,
    arguments: Vec<String>,
    port: u16,
    replicas: u32,
    annotations: BTreeMap<String, String>,
    behaviour: Option<String>,
}

/// What the workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Deployment,
    StatefulSet,
}

/// Where the pods listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Backend {
    fn new(name: &str, mode: &'static str, protocol: &str, port: u16) -> Self {
        let backend = Self {
            name: name.into(),
            app: name.into(),
            family: Family::V4,
            kind: Kind::Deployment,
            mode,
            arguments: Vec::new(),
            port,
            replicas: 0,
            annotations: BTreeMap::new(),
            behaviour: None,
        };
        backend.set("enabled", "true").set("protocol", protocol)
    }

    /// An HTTP/1.1 server at port 80 of its Service.
    pub fn http(name: &str) -> Self {
        Self::new(name, "http", "http", 80)
    }

    /// An HTTP/2 server (without TLS) at port 80 of its Service.
    pub fn http2(name: &str) -> Self {
        Self::new(name, "http", "http2", 80)
    }

    /// A gRPC server at port 80 of its Service.
    pub fn grpc(name: &str) -> Self {
        Self::new(name, "grpc", "http2", 80)
    }

    /// A TCP echo at `port` of its Service, and of Envoy.
    pub fn echo(name: &str, port: u16) -> Self {
        Self::new(name, "tcp", "tcp", port).set("listen-port", &port.to_string())
    }

    /// A TCP server that speaks first, at `port` of its Service, and of Envoy.
    pub fn greeter(name: &str, port: u16) -> Self {
        Self::new(name, "greeter", "tcp", port).set("listen-port", &port.to_string())
    }

    /// The annotation `zenvoy.dev/NAME` of the Service.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(format!("zenvoy.dev/{name}"), value.into());
        self
    }

    /// Another Service before the same pods.
    #[must_use]
    pub fn named(mut self, service: &str) -> Self {
        self.name = service.into();
        self
    }

    /// Its pods listen on their IPv6 addresses alone, and its Service is of that family.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.family = Family::V6;
        self
    }

    /// Without any annotation of ours: for an `Upstream` object.
    #[must_use]
    pub fn unannotated(mut self) -> Self {
        self.annotations.clear();
        self
    }

    /// How its pods misbehave, see [`crate::kubelet::Behaviour`].
    #[must_use]
    pub fn behaving(mut self, behaviour: &str) -> Self {
        self.behaviour = Some(behaviour.into());
        self
    }

    /// A further argument of the backend program.
    #[must_use]
    pub fn with(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// So many replicas from the start.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// A StatefulSet in place of a Deployment.
    #[must_use]
    pub fn stateful(mut self) -> Self {
        self.kind = Kind::StatefulSet;
        self
    }

    /// The name of Service and workload.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The workload's kind with its group.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Deployment => "Deployment.apps",
            Kind::StatefulSet => "StatefulSet.apps",
        }
    }

    /// The host that HTTP clients ask for.
    pub fn host(&self) -> String {
        format!("{}.{NAMESPACE}", self.name)
    }

    /// The name of its upstream.
    pub fn upstream(&self) -> String {
        format!("{NAMESPACE}/{}:{}", self.name, self.port)
    }

    /// Envoy's port for it, if it has one of its own.
    pub fn listen_port(&self) -> Option<u16> {
        self.annotations.get("zenvoy.dev/listen-port")?.parse().ok()
    }

    /// Sets its replicas, as its owner.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn scale(&self, cluster: &Cluster, replicas: u32) {
        let (client, how) = (cluster.client(), PatchParams::default());
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let scaled = match self.kind {
            Kind::Deployment => {
                Api::<Deployment>::namespaced(client, NAMESPACE).patch_scale(&self.name, &how, &patch).await
            }
            Kind::StatefulSet => {
                Api::<StatefulSet>::namespaced(client, NAMESPACE).patch_scale(&self.name, &how, &patch).await
            }
        };
        scaled.expect("scale a backend");
    }

    /// Creates or changes both objects.
    ///
    /// # Panics
    /// When the API server refuses one.
    pub async fn apply(&self, cluster: &Cluster) {
        self.apply_workload(cluster).await;
        self.apply_service(cluster).await;
    }

    /// Creates or changes the workload only.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn apply_workload(&self, cluster: &Cluster) {
        let client = cluster.client();
        match self.kind {
            Kind::Deployment => {
                let api = Api::<Deployment>::namespaced(client, NAMESPACE);
                cluster.apply(&api, &self.name, &self.workload()).await;
            }
            Kind::StatefulSet => {
                let api = Api::<StatefulSet>::namespaced(client, NAMESPACE);
                cluster.apply(&api, &self.name, &self.workload()).await;
            }
        }
    }

    /// Creates or changes the workload under another name; the Service selects its pods all the same.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn apply_workload_as(&self, name: &str, cluster: &Cluster) {
        let api = Api::<Deployment>::namespaced(cluster.client(), NAMESPACE);
        cluster.apply(&api, name, &self.workload()).await;
    }

    /// Changes the workload's pods to this, and leaves its replicas as they are.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn repair(&self, cluster: &Cluster) {
        let api = Api::<Deployment>::namespaced(cluster.client(), NAMESPACE);
        let annotations: BTreeMap<_, _> = [(BEHAVIOUR, &self.behaviour)].into();
        let template = json!({ "metadata": { "annotations": annotations } });
        let patch = Patch::Merge(json!({ "spec": { "template": template } }));
        api.patch(&self.name, &PatchParams::default(), &patch).await.expect("change a workload");
    }

    /// Creates or changes the Service only.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn apply_service(&self, cluster: &Cluster) {
        let api = Api::<Service>::namespaced(cluster.client(), NAMESPACE);
        let service = json!({
            "metadata": { "annotations": self.annotations },
            "spec": {
                "selector": { "app": self.app },
                "ipFamilies": [match self.family {
                    Family::V4 => "IPv4",
                    Family::V6 => "IPv6",
                }],
                "ports": [{ "port": self.port, "targetPort": POD_PORT, "protocol": "TCP" }],
            },
        });
        cluster.apply(&api, &self.name, &service).await;
    }

    /// The workload as JSON, without its kind and name.
    pub fn workload(&self) -> Value {
        let listen = match self.family {
            Family::V4 => format!("$(POD_IP):{POD_PORT}"),
            Family::V6 => format!("[$(POD_IP6)]:{POD_PORT}"),
        };
        let mut arguments = vec![self.mode.to_owned(), "--listen".into(), listen];
        arguments.extend(self.arguments.iter().cloned());
        let annotations: BTreeMap<_, _> =
            self.behaviour.iter().map(|behaviour| (BEHAVIOUR, behaviour)).collect();
        let labels = json!({ "app": self.app });
        let mut workload = json!({
            "spec": {
                "replicas": self.replicas,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels, "annotations": annotations },
                    "spec": { "terminationGracePeriodSeconds": 5, "containers": [{
                        "name": "backend",
                        "image": "zenvoy.dev/test/backend:1",
                        "command": ["backend"],
                        "args": arguments,
                        "ports": [{ "containerPort": POD_PORT }],
                    }]},
                },
            },
        });
        if self.kind == Kind::StatefulSet {
            workload["spec"]["serviceName"] = self.name.as_str().into();
        }
        workload
    }
}
