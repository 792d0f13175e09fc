//! The controller has the rights that it needs and no others. All end-to-end tests run it with the deployed ones.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use zenvoy_e2e::cluster::{NAMESPACE, User};
use zenvoy_e2e::deploy;
use zenvoy_e2e::deploy::rights::{granted, refused, unused, used};
use zenvoy_e2e::http::get;
use zenvoy_e2e::load;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::process::Process;
use zenvoy_e2e::zenvoy::{Installation, Mode};
use zenvoy_e2e::{parts, until};

/// No pod is let in any more, as the quota controller would have it counted.
async fn refuse_pods(zenvoy: &Installation) {
    let quotas = Api::<ResourceQuota>::namespaced(zenvoy.cluster.client(), NAMESPACE);
    let quota = json!({ "spec": { "hard": { "pods": "0" } } });
    zenvoy.cluster.apply(&quotas, "none", &quota).await;
    let counted = json!({ "status": { "hard": { "pods": "0" }, "used": { "pods": "0" } } });
    quotas.patch_status("none", &PatchParams::default(), &Patch::Merge(&counted)).await.expect("counted");
}

/// A ReplicaSet of the pods that a backend's workload would make.
async fn apply_replica_set(zenvoy: &Installation, backend: &Backend) {
    let mut set = backend.workload();
    set["spec"]["replicas"] = 0.into();
    let sets = Api::<ReplicaSet>::namespaced(zenvoy.cluster.client(), NAMESPACE);
    zenvoy.cluster.apply(&sets, backend.name(), &set).await;
}

/// Waits until the condition on a backend's Service has this reason.
async fn told(zenvoy: &Installation, backend: &Backend, reason: &str) {
    until::so(&format!("{} tells {reason}", backend.name()), async || {
        backend.condition(&zenvoy.cluster).await.is_some_and(|condition| condition.reason == reason)
    })
    .await;
}

/// An object that is configured by an `Upstream`.
async fn apply_upstream(zenvoy: &Installation, backend: &Backend) {
    let object = deploy::Object::from(json!({
        "apiVersion": "zenvoy.dev/v1alpha1", "kind": "Upstream",
        "metadata": { "name": backend.name(), "namespace": NAMESPACE },
        "spec": { "service": backend.name(), "idleAfter": "1s" },
    }));
    let applied = object.apply(&zenvoy.cluster.client()).await;
    assert!(applied.is_clean(), "{applied}");
}

/// A node in a Pod of its own comes, dies without a goodbye, and its Pod is deleted.
async fn silent_node_without_a_pod(zenvoy: &Installation) {
    let pods = Api::<Pod>::namespaced(zenvoy.cluster.client(), NAMESPACE);
    // Of another Kubernetes node: nobody runs it.
    let pod = json!({
        "metadata": { "name": "silent" },
        "spec": { "nodeName": "deployed", "containers": [{ "name": "envoy", "image": "envoy" }] },
    });
    let pod = serde_json::from_value(pod).expect("a Pod");
    let created = pods.create(&PostParams::default(), &pod).await.expect("a Pod");
    let flags = [
        "proxy".to_owned(),
        "--node=silent".into(),
        format!("--controllers=http://{}", zenvoy.controller.address()),
        "--mode=listen".into(),
        "--envoy-listen=127.0.0.1:18101".into(),
        "--admin=127.0.0.1:18181".into(),
        format!("--pod-namespace={NAMESPACE}"),
        "--pod-name=silent".into(),
        format!("--pod-uid={}", created.uid().expect("an object has a UID")),
    ];
    let mut proxy = Process::start(&parts::zenvoy(), flags, &[], &zenvoy.folder.log("silent-proxy"));
    until::so("the silent node is registered", async || {
        proxy.assert_running();
        get("127.0.0.1:18181".parse().expect("an address"), "admin", "/readyz")
            .await
            .is_ok_and(|answer| answer.status == 200)
    })
    .await;
    proxy.kill().await;
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete("silent", &at_once).await.expect("deleted");
}

#[test]
fn the_controller_uses_every_right_that_it_has_and_is_refused_nothing() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let [web, bare] = ["web", "bare"].map(|name| Backend::http(name).set("idle-after", "1s"));
        let database = Backend::echo("database", 5555).stateful().set("idle-after", "1s");
        let described = Backend::http("described").unannotated();
        let refused_pods = Backend::echo("refused", 6666).stateful().set("idle-after", "1s");
        apply_upstream(&zenvoy, &described).await;
        apply_replica_set(&zenvoy, &bare).await;
        bare.apply_service(&zenvoy.cluster).await;
        zenvoy.until_known(&bare).await;
        for backend in [&web, &database, &described, &refused_pods] {
            zenvoy.create(backend).await;
        }
        let all = [&web, &bare, &database, &described];
        // All kinds wake and fall asleep, twice, so that events repeat; then a successor takes over.
        for _ in 0..2 {
            let requests = [&web, &bare, &described].map(|backend| zenvoy.http(backend, "/"));
            load::all(requests.into_iter().chain([zenvoy.echo(5555)])).await.assert_all_served();
            for backend in all {
                zenvoy.until_cold(backend).await;
            }
        }
        // A node that is silent keeps nothing up once its Pod is gone.
        silent_node_without_a_pod(&zenvoy).await;
        load::once(&zenvoy.http(&web, "/")).await.served();
        zenvoy.until_cold(&web).await;
        // What was good stays when what is said is not; and is noted where a successor finds it.
        web.clone().set("idle-after", "soon").apply_service(&zenvoy.cluster).await;
        told(&zenvoy, &web, "InvalidConfiguration").await;
        zenvoy.controller.process().terminate().await;
        zenvoy.controller.start_again();
        zenvoy.controller.until_ready().await;
        load::once(&zenvoy.http(&web, "/")).await.served();
        // Why no pod of a StatefulSet is made, only its events say.
        refuse_pods(&zenvoy).await;
        assert!(load::once(&zenvoy.echo(6666)).await.result.is_err(), "no pod may start");
        told(&zenvoy, &refused_pods, "QuotaExceeded").await;

        let (log, user) = (zenvoy.cluster.audit().path(), User::Zenvoy.name());
        assert_eq!(refused(log, user), [].into(), "the controller was refused these");
        let (granted, used) = (granted(&deploy::controller_rights()), used(log, user));
        assert_eq!(unused(&granted, &used), [].into(), "rights that were not used; these were: {used:#?}");
    });
}
