//! zenvoy under test, as its users run it: processes of the one program, beside real parts.

mod controller;
mod fleet;
mod node;
mod secured;

use std::path::Path;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use serde_json::Value;

use crate::audit::Audit;
use crate::cluster::{Cluster, User};
use crate::etcd::Etcd;
use crate::folder::Folder;
use crate::kubelet::Kubelet;
use crate::load::Request;
use crate::manifest::Backend;
use crate::{parts, until};
pub use controller::{Controller, LEASE_TTL};
pub use fleet::Fleet;
pub use node::{Mode, Node};
pub use secured::Certificates;

/// A part that says nothing for this long is paused, and does not keep others waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// What it logs: `part` in detail, unless `ZENVOY_LOG` says otherwise (benchmarks run it as it is shipped).
fn log_flag(part: &str) -> String {
    match std::env::var("ZENVOY_LOG") {
        Ok(filter) => format!("--log={filter}"),
        Err(_) => format!("--log=info,{part}=debug"),
    }
}

/// A whole installation in the test's network namespace: a control plane, a kubelet, etcd, one controller, one node.
pub struct Installation {
    /// The node: a proxy and its Envoy.
    pub node: Node,
    /// The controller.
    pub controller: Controller,
    /// zenvoy's etcd.
    pub etcd: Etcd,
    /// Runs the pods.
    pub kubelet: Kubelet,
    /// Kubernetes.
    pub cluster: Cluster,
    /// Where everything logs. Last: it shows the logs of what has ended.
    pub folder: Folder,
}

impl Installation {
    /// Starts everything, and waits until a connection would be served.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn start(mode: Mode) -> Self {
        Self::start_with(mode, &[]).await
    }

    /// The same, with further flags for the controller.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn start_with(mode: Mode, controller_flags: &[&str]) -> Self {
        Self::start_in(Folder::new(), mode, controller_flags, None).await
    }

    /// The same, with mutual TLS between node and controller.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn start_secured(mode: Mode, controller_flags: &[&str]) -> (Self, Certificates) {
        let folder = Folder::new();
        let certificates = Certificates::in_folder(folder.path());
        (Self::start_in(folder, mode, controller_flags, Some(&certificates)).await, certificates)
    }

    async fn start_in(
        folder: Folder,
        mode: Mode,
        controller_flags: &[&str],
        certificates: Option<&Certificates>,
    ) -> Self {
        let mut cluster = Cluster::start(&folder);
        let mut etcd = Etcd::start(&folder, "etcd-of-zenvoy", 2379);
        let program = parts::zenvoy();
        cluster.until_ready().await;
        let kubelet = Kubelet::start(&cluster, &folder).await;
        install_definitions(&cluster, &program).await;
        etcd.until_ready().await;
        let kubeconfig = cluster.kubeconfig(User::Zenvoy);
        let of_controller = certificates.map(Certificates::controller_flag);
        let controller_flags: Vec<&str> =
            controller_flags.iter().copied().chain(of_controller.as_deref()).collect();
        let mut controller = Controller::start(&folder, kubeconfig, &etcd.endpoint(), &controller_flags);
        let mut node = match certificates {
            None => Node::start(&folder, mode, controller.address()),
            Some(certificates) => {
                let url = format!("https://{}", controller.address());
                Node::start_with(&folder, mode, &url, &[certificates.node_flag()])
            }
        };
        controller.until_ready().await;
        node.until_ready().await;
        Self { node, controller, etcd, kubelet, cluster, folder }
    }

    /// Creates a backend, and waits until its upstream is known to the node: from then on a connection is served.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn create(&mut self, backend: &Backend) {
        backend.apply(&self.cluster).await;
        self.until_known(backend).await;
    }

    /// Waits until proxy and Envoy know the upstream of a backend.
    ///
    /// # Panics
    /// When they do not get to know it.
    pub async fn until_known(&mut self, backend: &Backend) {
        let upstream = backend.upstream();
        until::so(&format!("the node knows {upstream}"), async || {
            self.controller.process().assert_running();
            self.node.knows(backend).await
        })
        .await;
    }

    /// Waits until Envoy goes to the pods of a backend directly.
    ///
    /// # Panics
    /// When it does not switch.
    pub async fn until_warm(&self, backend: &Backend) {
        until::so(&format!("{} is switched to its pods", backend.name()), async || {
            self.node.upstream(backend).await.is_some_and(|upstream| upstream["verdict"] == "forward")
                && self
                    .node
                    .envoy_endpoints(backend)
                    .await
                    .iter()
                    .all(|to| to.ip().to_string().starts_with("10.42."))
        })
        .await;
    }

    /// Waits until nothing of a backend runs, and a connection would wake it.
    ///
    /// # Panics
    /// When it does not go to zero.
    pub async fn until_cold(&self, backend: &Backend) {
        until::so(&format!("{} sleeps", backend.name()), async || {
            self.audit()
                .requests(backend.name())
                .iter()
                .rfind(|request| request.to.is_some())
                .is_some_and(|last| last.to == Some(0))
                && backend.pods(&self.cluster).await.is_empty()
                && self.node.upstream(backend).await.is_some_and(|upstream| upstream["verdict"] == "hold")
        })
        .await;
    }

    /// An HTTP/1.1 request to a backend, through Envoy.
    pub fn http(&self, backend: &Backend, path: &str) -> Request {
        Request::Http { to: self.node.http(), host: backend.host(), path: path.into() }
    }

    /// An HTTP/2 request to a backend, through Envoy.
    pub fn http2(&self, backend: &Backend, path: &str) -> Request {
        Request::Http2 { to: self.node.http(), host: backend.host(), path: path.into() }
    }

    /// An echo through Envoy's listener at `port`.
    pub fn echo(&self, port: u16) -> Request {
        Request::Echo { to: self.node.listener(port) }
    }

    /// A greeting through Envoy's listener at `port`.
    pub fn greeting(&self, port: u16) -> Request {
        Request::Greeting { to: self.node.listener(port) }
    }

    /// What was scaled, by whom.
    pub fn audit(&self) -> Audit {
        Audit::of(&self.cluster)
    }
}

/// Installs what `zenvoy crd` prints.
async fn install_definitions(cluster: &Cluster, program: &Path) {
    let printed = std::process::Command::new(program).arg("crd").output().expect("run zenvoy crd");
    assert!(printed.status.success(), "zenvoy crd: {}", String::from_utf8_lossy(&printed.stderr));
    let definition: Value = serde_saphyr::from_slice(&printed.stdout).expect("zenvoy crd prints YAML");
    let name = definition["metadata"]["name"].as_str().expect("a definition has a name").to_owned();
    let api = Api::<CustomResourceDefinition>::all(cluster.client());
    cluster.apply(&api, &name, &definition).await;
    until::so("the Upstream kind is served", async || {
        let definition = api.get(&name).await.expect("the definition that we installed");
        let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
    })
    .await;
}
