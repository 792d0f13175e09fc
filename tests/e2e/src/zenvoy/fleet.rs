//! A highly available installation: three controllers, three nodes, three members of etcd and a control plane, each on a
//! machine of its own.

use std::path::Path;

use futures::future::join_all;
use futures::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;

use super::{Controller, Mode, Node, install_definitions};
use crate::audit::Audit;
use crate::cluster::{Cluster, User};
use crate::deploy::SYSTEM;
use crate::etcd::Etcd;
use crate::folder::Folder;
use crate::kubelet::Kubelet;
use crate::load::Request;
use crate::manifest::Backend;
use crate::site::{Member, Site};
use crate::{parts, until};

/// How many there are of each.
const EACH: u8 = 3;
/// Between machines of one test there is nobody to hide from.
const PLAINTEXT: &str = "--plaintext";
/// A storm of creations is not what tests are about.
const CREATED_AT_ONCE: usize = 20;
const LEASE: &str = "zenvoy-default";

/// The whole of it.
pub struct Fleet {
    /// Proxies and Envoys.
    pub nodes: Vec<Node>,
    /// Controller replicas; one leads.
    pub controllers: Vec<Controller>,
    /// The members of zenvoy's etcd.
    pub etcd: Vec<Etcd>,
    /// Runs the pods, beside the test.
    pub kubelet: Kubelet,
    /// Kubernetes.
    pub cluster: Cluster,
    /// The machines, and what lies between them.
    pub site: Site,
    /// Where everything logs. Last: it shows the logs of what has ended.
    pub folder: Folder,
}

impl Fleet {
    /// Starts everything, and waits until there is a leader and every node is served.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn start() -> Self {
        Self::start_as(&parts::zenvoy()).await
    }

    /// The same, with all of zenvoy of a build of one's choice.
    ///
    /// # Panics
    /// When a part does not start.
    pub async fn start_as(program: &Path) -> Self {
        let folder = Folder::new();
        let site = Site::join(
            [Member::Kubernetes]
                .into_iter()
                .chain((0..EACH).flat_map(|n| [Member::Controller(n), Member::Node(n), Member::Etcd(n)])),
        );
        let mut cluster = Cluster::start_in(site.place(Member::Kubernetes), &folder);
        let mut etcd = start_etcd(&folder, &site);
        cluster.until_ready().await;
        let kubelet = Kubelet::start(&cluster, &folder).await;
        install_definitions(&cluster, program).await;
        for member in &mut etcd {
            member.until_ready().await;
        }
        let endpoints: Vec<String> = etcd.iter().map(Etcd::endpoint).collect();
        let kubeconfig = cluster.kubeconfig(User::Zenvoy);
        let controllers: Vec<Controller> = (0..EACH)
            .map(|number| {
                let member = Member::Controller(number);
                let place = site.place(member);
                Controller::start_in(
                    place,
                    program,
                    &folder,
                    &format!("zenvoy-{member}"),
                    kubeconfig,
                    &endpoints.join(","),
                    &[PLAINTEXT],
                )
            })
            .collect();
        let urls: Vec<String> =
            controllers.iter().map(|controller| format!("http://{}", controller.address())).collect();
        let plaintext = [PLAINTEXT.to_owned()];
        let nodes = (0..EACH)
            .map(|number| {
                let place = site.place(Member::Node(number));
                Node::start_in(
                    place,
                    program,
                    &folder,
                    &format!("-{}", number + 1),
                    Mode::Tproxy,
                    &urls.join(","),
                    &plaintext,
                )
            })
            .collect();
        let mut fleet = Self { nodes, controllers, etcd, kubelet, cluster, site, folder };
        fleet.until_ready().await;
        fleet
    }

    /// Waits until every part serves and one controller leads.
    ///
    /// # Panics
    /// When a part has ended, or does not serve within a minute.
    pub async fn until_ready(&mut self) {
        self.cluster.until_serving().await;
        for member in &mut self.etcd {
            member.until_ready().await;
        }
        for controller in &mut self.controllers {
            controller.until_ready().await;
        }
        for node in &mut self.nodes {
            node.until_ready().await;
        }
        self.until_leader().await;
    }

    /// The controller that holds the Lease, if a living one does.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub async fn leader(&self) -> Option<usize> {
        let leases = Api::<Lease>::namespaced(self.cluster.client(), SYSTEM);
        let holder = leases.get_opt(LEASE).await.expect("read the Lease")?.spec?.holder_identity?;
        let ids = join_all(self.controllers.iter().map(Controller::id)).await;
        ids.iter().position(|id| id.as_ref() == Some(&holder))
    }

    /// Waits until a living controller holds the Lease.
    ///
    /// # Panics
    /// When none does within a minute.
    pub async fn until_leader(&self) -> usize {
        until::some("a controller leads", async || self.leader().await).await
    }

    /// Waits until a controller other than this one holds the Lease.
    ///
    /// # Panics
    /// When none does within a minute.
    pub async fn until_successor(&self, of: usize) -> usize {
        until::some("another controller leads", async || self.leader().await.filter(|leader| *leader != of))
            .await
    }

    /// The controllers that do not lead.
    pub async fn followers(&self) -> Vec<usize> {
        let leader = self.until_leader().await;
        (0..self.controllers.len()).filter(|number| *number != leader).collect()
    }

    /// Starts again what has ended, of controllers, proxies, Envoys, members of etcd and the API server.
    pub fn start_again(&mut self) {
        for controller in &mut self.controllers {
            if controller.process().ended().is_some() {
                controller.start_again();
            }
        }
        for node in &mut self.nodes {
            if node.proxy().ended().is_some() {
                node.start_proxy_again();
            }
            if node.envoy().ended().is_some() {
                node.start_envoy_again();
            }
        }
        for member in &mut self.etcd {
            if member.process().ended().is_some() {
                member.start_again();
            }
        }
        if self.cluster.api().ended().is_some() {
            self.cluster.start_api_again();
        }
    }

    /// The controller that has the session of a node, if one does.
    pub async fn controller_of(&self, node: usize) -> Option<usize> {
        let status = self.nodes[node].try_status().await?;
        let address = status["session"]["address"].as_str()?.to_owned();
        self.controllers.iter().position(|controller| controller.address().to_string() == address)
    }

    /// Creates backends, and waits until all nodes know them.
    ///
    /// # Panics
    /// When one does not get to know them.
    pub async fn create(&self, backends: &[Backend]) {
        let creations = backends.iter().map(|backend| backend.apply(&self.cluster));
        stream::iter(creations).buffer_unordered(CREATED_AT_ONCE).collect::<()>().await;
        for node in &self.nodes {
            let what = format!("{} knows what was created", node.name());
            until::so(&what, async || node.knows_all(backends).await).await;
        }
    }

    /// An HTTP/1.1 request to a backend, through the Envoy of a node.
    pub fn http(&self, node: usize, backend: &Backend, path: &str) -> Request {
        Request::Http { to: self.nodes[node].http(), host: backend.host(), path: path.into() }
    }

    /// What was scaled, by whom.
    pub fn audit(&self) -> Audit {
        Audit::of(&self.cluster)
    }
}

fn start_etcd(folder: &Folder, site: &Site) -> Vec<Etcd> {
    let members = (0..EACH).map(Member::Etcd);
    let names: Vec<String> = members.clone().map(|member| member.to_string()).collect();
    let places = members.map(|member| site.place(member));
    let cluster: Vec<_> = names.iter().map(String::as_str).zip(places).collect();
    cluster.iter().map(|(name, place)| Etcd::member(folder, name, place, 2379, &cluster)).collect()
}
