//! A real Kubernetes control plane: etcd, kube-apiserver and the controllers that workloads need, for one test.
//!
//! Every test has one of its own: on two cores it is ready about 3 s after its start, for 2.8 s of processor time and
//! 400 MB (API server 273, controller manager 87, etcd 45), which is less than what sharing one by Kubernetes namespaces
//! would cost in tests that disturb each other (cluster-wide watches, audit logs, restarts of the API server).

mod files;
mod rights;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::audit::Audit;
use crate::etcd::Etcd;
use crate::folder::Folder;
use crate::net::Place;
use crate::process::Process;
use crate::{parts, until};
use files::Files;
pub use files::User;

/// The Kubernetes namespace that tests put their objects into.
pub const NAMESPACE: &str = "shop";

/// What runs of kube-controller-manager: everything between a scale write and the EndpointSlice.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,\
    endpointslice-controller,garbage-collector-controller,namespace-controller,serviceaccount-controller";

/// Admission that nothing here needs; without the service account's, pods need no token.
const NO_ADMISSION: &str = "ServiceAccount,PodGroupWorkloadExists";

/// A control plane. Dropped: its processes end.
pub struct Cluster {
    place: Place,
    client: Option<Client>,
    address: SocketAddr,
    kubeconfigs: Vec<(User, PathBuf)>,
    audit: Audit,
    api_flags: Vec<String>,
    api_log: PathBuf,
    controllers: Process,
    api: Process,
    etcd: Etcd,
}

impl Cluster {
    /// Starts all of it at once, at ports of 127.0.0.1.
    ///
    /// # Panics
    /// When a process cannot be started.
    pub fn start(folder: &Folder) -> Self {
        Self::start_in(&Place::here(), folder)
    }

    /// The same at another place.
    ///
    /// # Panics
    /// When a process cannot be started.
    pub fn start_in(place: &Place, folder: &Folder) -> Self {
        let address = place.at(6443);
        let etcd = Etcd::alone(folder, "etcd-of-kubernetes", place, 2479);
        let files = Files::write(folder, address);
        let kubeconfigs = User::ALL.map(|user| (user, files.kubeconfig(folder, user, address))).to_vec();
        let audit = folder.path().join("audit.json");
        let api_flags = api_flags(folder, &files, address, &etcd.endpoint(), &audit);
        let api_log = folder.log("kube-apiserver");
        let api = Process::start_in(place, &parts::path("kube-apiserver"), &api_flags, &[], &api_log);
        let controllers = start_controllers(place, folder, &kubeconfigs);
        let (place, audit) = (place.clone(), Audit::at(audit));
        Self { place, client: None, address, kubeconfigs, audit, api_flags, api_log, controllers, api, etcd }
    }

    /// Waits until it serves, then creates what tests expect: their namespace, and zenvoy's rights.
    ///
    /// # Panics
    /// When a part of it ends, or it is not ready within a minute.
    pub async fn until_ready(&mut self) {
        let client = connect(self.kubeconfig(User::Admin)).await;
        self.client = Some(client.clone());
        self.until_serving().await;
        self.apply::<Namespace>(&Api::all(client.clone()), NAMESPACE, &json!({})).await;
        let token = rights::grant(&client).await;
        files::give_token(self.kubeconfig(User::Zenvoy), &token);
    }

    /// Waits until the API server serves.
    ///
    /// # Panics
    /// When a part of it ends, or it does not serve within a minute.
    pub async fn until_serving(&mut self) {
        let client = self.client();
        until::so("the API server is ready", async || {
            self.api.assert_running();
            self.controllers.assert_running();
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a valid request");
            client.request_text(request).await.is_ok()
        })
        .await;
    }

    /// A client that may do anything.
    ///
    /// # Panics
    /// Before [`Self::until_ready`].
    pub fn client(&self) -> Client {
        self.client.clone().expect("the cluster is ready")
    }

    /// Where the API server is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of `user`, with the rights that it has.
    ///
    /// # Panics
    /// Never: the kubeconfig is valid.
    pub async fn client_of(&self, user: User) -> Client {
        connect(self.kubeconfig(user)).await
    }

    /// The kubeconfig file of `user`.
    ///
    /// # Panics
    /// Never: every user has one.
    pub fn kubeconfig(&self, user: User) -> &Path {
        let (_, path) =
            self.kubeconfigs.iter().find(|(owner, _)| *owner == user).expect("every user has one");
        path
    }

    /// What the API server logs of requests.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The API server's process, to stop, pause or kill.
    pub fn api(&mut self) -> &mut Process {
        &mut self.api
    }

    /// The process of kube-controller-manager, to stop, pause or kill.
    pub fn controllers(&mut self) -> &mut Process {
        &mut self.controllers
    }

    /// The API server's etcd, to stop, pause or kill; zenvoy's is another.
    pub fn etcd(&mut self) -> &mut Etcd {
        &mut self.etcd
    }

    /// Starts the API server again, on the same etcd.
    ///
    /// # Panics
    /// When it does not come back.
    pub async fn restart_api(&mut self) {
        self.api.kill().await;
        self.start_api_again();
        self.until_serving().await;
    }

    /// The same without waiting; the process that was must have ended.
    pub fn start_api_again(&mut self) {
        let program = parts::path("kube-apiserver");
        self.api = Process::start_in(&self.place, &program, &self.api_flags, &[], &self.api_log);
    }

    /// Creates or changes an object by server-side apply.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn apply<K>(&self, api: &Api<K>, name: &str, object: &impl Serialize) -> K
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut object = serde_json::to_value(object).expect("objects are JSON");
        object["apiVersion"] = K::api_version(&()).into();
        object["kind"] = K::kind(&()).into();
        object["metadata"]["name"] = name.into();
        let how = PatchParams::apply("zenvoy-e2e").force();
        let applied = api.patch(name, &how, &Patch::Apply(object)).await;
        applied.unwrap_or_else(|error| panic!("apply {} {name}: {error}", K::kind(&())))
    }
}

async fn connect(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig we wrote");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a valid kubeconfig")).expect("a client")
}

fn api_flags(folder: &Folder, files: &Files, address: SocketAddr, etcd: &str, audit: &Path) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let flag = |name: &str, value: &str| format!("--{name}={value}");
    vec![
        flag("etcd-servers", etcd),
        flag("bind-address", &address.ip().to_string()),
        flag("secure-port", &address.port().to_string()),
        // Must not be loopback; nobody is told it, as there is no endpoint reconciler.
        flag("advertise-address", "10.42.255.254"),
        flag("endpoint-reconciler-type", "none"),
        flag("cert-dir", &path(folder.path())),
        flag("tls-cert-file", &path(&files.certificate)),
        flag("tls-private-key-file", &path(&files.key)),
        flag("token-auth-file", &path(&files.tokens)),
        flag("anonymous-auth", "false"),
        flag("authorization-mode", "RBAC"),
        flag("service-account-issuer", "https://kubernetes.default.svc"),
        flag("service-account-signing-key-file", &path(&files.account_key)),
        flag("service-account-key-file", &path(&files.account_public_key)),
        flag("service-cluster-ip-range", "10.96.0.0/16,fd00:96::/112"),
        flag("disable-admission-plugins", NO_ADMISSION),
        flag("enable-priority-and-fairness", "false"),
        flag("profiling", "false"),
        flag("audit-policy-file", &path(&files.audit_policy)),
        flag("audit-log-path", &path(audit)),
    ]
}

fn start_controllers(place: &Place, folder: &Folder, kubeconfigs: &[(User, PathBuf)]) -> Process {
    let (_, kubeconfig) =
        kubeconfigs.iter().find(|(user, _)| *user == User::ControllerManager).expect("every user has one");
    let flags = [
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--controllers={CONTROLLERS}"),
        "--leader-elect=false".into(),
        "--secure-port=0".into(),
        // Its default of 20 requests a second would be what a storm measures.
        "--kube-api-qps=1000".into(),
        "--kube-api-burst=2000".into(),
    ];
    let program = parts::path("kube-controller-manager");
    Process::start_in(place, &program, flags, &[], &folder.log("kube-controller-manager"))
}
