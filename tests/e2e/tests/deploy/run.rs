//! The deployment runs: its pods as the manifests say, with their users, rights, volumes, probes and certificates, three
//! members of etcd and three controllers among them.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use zenvoy_e2e::cluster::Cluster;
use zenvoy_e2e::deploy::{self, Deployed, Pod, SYSTEM};
use zenvoy_e2e::folder::Folder;
use zenvoy_e2e::http::get;
use zenvoy_e2e::kubelet::Kubelet;
use zenvoy_e2e::load::{self, Request};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until;

const ETCD: [(&str, &str); 3] =
    [("zenvoy-etcd", "zenvoy-etcd-0"), ("zenvoy-etcd", "zenvoy-etcd-1"), ("zenvoy-etcd", "zenvoy-etcd-2")];
const CONTROLLERS: [(&str, &str); 3] = [
    ("zenvoy-controller", "zenvoy-controller-a"),
    ("zenvoy-controller", "zenvoy-controller-b"),
    ("zenvoy-controller", "zenvoy-controller-c"),
];
const GATEWAYS: [(&str, &str); 3] = [
    ("zenvoy-gateway", "zenvoy-gateway-a"),
    ("zenvoy-gateway", "zenvoy-gateway-b"),
    ("zenvoy-gateway", "zenvoy-gateway-c"),
];

/// Starts these pods, and waits until all are ready.
async fn start(deployed: &mut Deployed, pods: &[(&str, &str)]) -> Vec<Pod> {
    let mut started = Vec::new();
    for (workload, pod) in pods {
        started.push(deployed.pod(workload, pod).await);
    }
    for pod in &mut started {
        pod.start().await;
    }
    for pod in &mut started {
        pod.until_ready().await;
    }
    started
}

fn request(gateway: &Pod, backend: &Backend) -> Request {
    Request::Http { to: gateway.at(10_000), host: backend.host(), path: "/".into() }
}

async fn until_served(gateway: &Pod, backend: &Backend) {
    let what = format!("{} serves {}", gateway.name(), backend.name());
    until::so(&what, async || load::once(&request(gateway, backend)).await.result.is_ok()).await;
}

async fn until_cold(cluster: &Cluster, backend: &Backend) {
    let what = format!("{} sleeps", backend.name());
    until::so(&what, async || backend.pods(cluster).await.is_empty()).await;
}

/// A controller says that nothing is scaled down because of this node.
async fn until_blocked_by(controller: &Pod, node: &str) {
    let remedy = format!("zenvoy node forget {node}");
    until::so(&format!("{node} is not heard"), async || {
        get(controller.at(18_080), "admin", "/status").await.is_ok_and(|answer| answer.body.contains(&remedy))
    })
    .await;
}

/// Which controller leads, by the Lease.
async fn leader(cluster: &Cluster, controllers: &[Pod]) -> Option<usize> {
    let leases = Api::<Lease>::namespaced(cluster.client(), SYSTEM);
    let holder = leases.get("zenvoy-default").await.ok()?.spec?.holder_identity?;
    for (index, controller) in controllers.iter().enumerate() {
        let answer = get(controller.at(18_080), "admin", "/status").await.ok()?;
        if answer.body.contains(&holder) {
            return Some(index);
        }
    }
    None
}

/// A user without any right; but for the proxy in transparent mode, which is root with one: to administer its network.
fn assert_confined(pod: &Pod, overlay: &str) {
    const NET_ADMIN: u64 = 1 << 12;
    for (container, status) in pod.rights() {
        let line = |name: &str| {
            let found =
                status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the status");
            found.split_whitespace().last().expect("a value").to_owned()
        };
        let transparent = overlay == "tproxy" && container == "proxy";
        let (user, rights) = if transparent { (0, NET_ADMIN) } else { (deploy::user(65_532), 0) };
        let place = format!("{} {container}", pod.name());
        assert_eq!(line("Uid:"), user.to_string(), "{place}");
        assert_eq!(line("NoNewPrivs:"), "1", "{place}");
        for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
            let all = u64::from_str_radix(&line(set), 16).expect("a set of capabilities");
            assert_eq!(all & !rights, 0, "{place}: {set} {all:x}");
        }
    }
}

async fn lives(overlay: &str) {
    let folder = Folder::new();
    let mut cluster = Cluster::start(&folder);
    cluster.until_ready().await;
    let _kubelet = Kubelet::start(&cluster, &folder).await;
    let pods = [&ETCD[..], &CONTROLLERS, &GATEWAYS].concat();
    let mut deployed = Deployed::new(&folder, &cluster, overlay, &pods).await;
    let _etcd = start(&mut deployed, &ETCD).await;
    let mut controllers = start(&mut deployed, &CONTROLLERS).await;
    let mut gateways = start(&mut deployed, &GATEWAYS).await;

    for pod in controllers.iter().chain(&gateways) {
        assert_confined(pod, overlay);
    }

    let web = Backend::http("web").set("idle-after", "1s");
    web.apply(&cluster).await;
    for gateway in &gateways {
        until_served(gateway, &web).await;
    }
    until_cold(&cluster, &web).await;
    load::all(gateways.iter().map(|gateway| request(gateway, &web))).await.assert_all_served();

    // A pod of the gateway is killed, and says nothing: its node is waited for as long as its Pod exists.
    let mut killed = gateways.pop().expect("three gateways");
    killed.kill().await;
    load::once(&request(&gateways[0], &web)).await.served();
    until_blocked_by(&controllers[0], killed.name()).await;
    assert!(!web.pods(&cluster).await.is_empty(), "nobody knows what runs through it");
    killed.delete_object().await;
    until_cold(&cluster, &web).await;

    // One ends in good order: its node is no longer waited for, though its Pod still exists.
    load::once(&request(&gateways[0], &web)).await.served();
    let mut gone = gateways.pop().expect("two gateways");
    for (name, status) in gone.end().await {
        assert!(status.success(), "{name} ends well: {status}");
    }
    until_cold(&cluster, &web).await;
    gone.delete_object().await;

    // What operators look at says so.
    let nodes = controllers[0].exec(&["zenvoy", "node", "list"]).await;
    let listed = |name: &str| {
        let mut rows = nodes.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.any(|row| matches!(row[..], [node, _, "yes", ..] if node == name))
    };
    assert!(listed("zenvoy-gateway-a"), "{nodes}");
    assert!(!listed("zenvoy-gateway-b") && !listed("zenvoy-gateway-c"), "{nodes}");

    // Controllers go one after the other, as in a rolling update, the leader first: another one leads, and wakes.
    for _ in 0..2 {
        let leading = until::some("a leader", async || leader(&cluster, &controllers).await).await;
        for (name, status) in controllers.remove(leading).end().await {
            assert!(status.success(), "{name} ends well: {status}");
        }
        load::once(&request(&gateways[0], &web)).await.served();
        until_cold(&cluster, &web).await;
    }
}

#[test]
fn the_deployment_lives_as_its_manifests_have_it() {
    in_namespace(async || lives("complete").await);
}

#[test]
fn the_deployment_with_transparent_accepting_lives_too() {
    in_namespace(async || lives("tproxy").await);
}

#[test]
fn a_trial_lives_with_the_secrets_that_the_documentation_makes() {
    in_namespace(async || {
        let folder = Folder::new();
        let mut cluster = Cluster::start(&folder);
        cluster.until_ready().await;
        let _kubelet = Kubelet::start(&cluster, &folder).await;
        let pods = [&ETCD[..], &CONTROLLERS[..1], &GATEWAYS[..1]].concat();
        let mut deployed = Deployed::new(&folder, &cluster, "secrets", &pods).await;
        let _etcd = start(&mut deployed, &ETCD).await;
        let _controllers = start(&mut deployed, &CONTROLLERS[..1]).await;
        let gateways = start(&mut deployed, &GATEWAYS[..1]).await;
        let web = Backend::http("web");
        web.apply(&cluster).await;
        until_served(&gateways[0], &web).await;
    });
}
