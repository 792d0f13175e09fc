//! The harness itself: what the other tests stand on is as they believe.

use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use zenvoy_e2e::cluster::{Cluster, NAMESPACE};
use zenvoy_e2e::folder::Folder;
use zenvoy_e2e::http::get;
use zenvoy_e2e::kubelet::Kubelet;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::process::Process;
use zenvoy_e2e::until;

/// A cluster that is ready, and its kubelet.
async fn cluster(folder: &Folder) -> (Cluster, Kubelet) {
    let mut cluster = Cluster::start(folder);
    cluster.until_ready().await;
    let kubelet = Kubelet::start(&cluster, folder).await;
    (cluster, kubelet)
}

/// The addresses that the Service's EndpointSlices call ready.
async fn ready(client: &Client, service: &str) -> Vec<SocketAddr> {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let slices = slices.list(&of_service).await.expect("list slices").items;
    let endpoints = slices.into_iter().flat_map(|slice| slice.endpoints.unwrap_or_default());
    endpoints
        .filter(|endpoint| {
            endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true))
        })
        .map(|endpoint| format!("{}:8080", endpoint.addresses[0]).parse().expect("an address"))
        .collect()
}

async fn waiting_reason(client: &Client, app: &str) -> Option<String> {
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    let pods = pods.list(&ListParams::default().labels(&format!("app={app}"))).await.expect("list pods");
    let statuses = pods.items.first()?.status.clone()?.container_statuses?;
    statuses.first()?.state.clone()?.waiting?.reason
}

#[test]
fn a_process_ends_with_the_thread_that_started_it_even_if_nobody_ends_it() {
    let folder = Folder::new();
    let log = folder.log("sleep");
    let start = move || {
        let process = Process::start(Path::new("sleep"), ["1000"], &[], &log);
        let pid = process.pid();
        let name = format!("/proc/{pid}/comm");
        // Until then the leash is not on.
        while std::fs::read_to_string(&name).expect("it runs") != "sleep\n" {
            std::thread::yield_now();
        }
        std::mem::forget(process);
        pid
    };
    let pid = std::thread::spawn(start).join().expect("a pid");
    let status = waitpid(pid, None).expect("it is our child");
    assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{status:?}");
}

#[test]
fn pods_become_processes_behind_their_service_and_end_with_their_workload() {
    in_namespace(async || {
        let folder = Folder::new();
        let (cluster, _kubelet) = cluster(&folder).await;
        let client = cluster.client();

        let cart = Backend::http("cart");
        cart.apply(&cluster).await;
        cart.scale(&cluster, 2).await;
        let pods = until::some("two ready endpoints", async || {
            Some(ready(&client, "cart").await).filter(|ready| ready.len() == 2)
        })
        .await;
        for pod in &pods {
            let answer = get(*pod, "cart.shop", "/hello").await.expect("an answer");
            assert!(
                answer.body.contains("\"pod\":\"cart-") && answer.body.contains("/hello"),
                "{}",
                answer.body
            );
        }
        cart.scale(&cluster, 0).await;
        until::so("no endpoint is left", async || ready(&client, "cart").await.is_empty()).await;
        until::so("nothing listens any more", async || get(pods[0], "cart.shop", "/").await.is_err()).await;
        until::so("no pod is left", async || {
            let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
            pods.list(&ListParams::default()).await.expect("list pods").items.is_empty()
        })
        .await;
    });
}

#[test]
fn pods_misbehave_as_they_are_told_and_survive_a_restart_of_the_api_server() {
    in_namespace(async || {
        let folder = Folder::new();
        let (mut cluster, _kubelet) = cluster(&folder).await;
        let client = cluster.client();

        Backend::http("broken").behaving("crash-loop").replicas(1).apply(&cluster).await;
        Backend::http("absent").behaving("image-pull-error").replicas(1).apply(&cluster).await;
        let late = Backend::http("late").behaving("slow-start=300").replicas(1);
        late.apply(&cluster).await;
        Backend::http("set").stateful().replicas(1).apply(&cluster).await;
        for (app, reason) in [("broken", "CrashLoopBackOff"), ("absent", "ImagePullBackOff")] {
            until::so(reason, async || waiting_reason(&client, app).await.as_deref() == Some(reason)).await;
        }
        until::so("the late one is ready", async || !ready(&client, "late").await.is_empty()).await;
        until::so("the stateful one is ready", async || !ready(&client, "set").await.is_empty()).await;

        let before = ready(&client, "late").await;
        cluster.restart_api().await;
        assert_eq!(ready(&client, "late").await, before, "its process has gone on");
        Api::<StatefulSet>::namespaced(client.clone(), NAMESPACE)
            .get("set")
            .await
            .expect("it is still there");
        late.scale(&cluster, 0).await;
        until::so("it ends after the restart", async || ready(&client, "late").await.is_empty()).await;
    });
}
