//! What users get wrong is told where they look, costs nobody else anything, and leaves in effect what was good.

use std::process::Command;

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use zenvoy_e2e::cluster::NAMESPACE;
use zenvoy_e2e::http::get;
use zenvoy_e2e::load::{self, Steady};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::zenvoy::{Installation, Mode};
use zenvoy_e2e::{parts, until};

fn upstreams(zenvoy: &Installation) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("zenvoy.dev", "v1alpha1", "Upstream");
    Api::namespaced_with(zenvoy.cluster.client(), NAMESPACE, &ApiResource::from_gvk(&kind))
}

fn upstream(name: &str, spec: &Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "zenvoy.dev/v1alpha1", "kind": "Upstream", "metadata": { "name": name }, "spec": spec,
    });
    serde_json::from_value(object).expect("an object")
}

/// Waits until the node would hold a connection to a backend, and not fail it.
async fn until_held(zenvoy: &Installation, backend: &Backend) {
    until::so(&format!("{} is held", backend.name()), async || {
        zenvoy.node.upstream(backend).await.is_some_and(|upstream| upstream["verdict"] == "hold")
    })
    .await;
}

/// Waits until the Service of a backend says what is wrong, with these words, and an event does.
async fn told(zenvoy: &Installation, backend: &Backend, reason: &str, words: &[&str]) {
    shown(zenvoy, backend, reason, words).await;
    until::so(&format!("an event of {} tells it", backend.name()), async || {
        let notes = backend.events(&zenvoy.cluster).await;
        notes.iter().any(|note| words.iter().all(|word| note.contains(word)))
    })
    .await;
}

/// The same, of the status alone.
async fn shown(zenvoy: &Installation, backend: &Backend, reason: &str, words: &[&str]) {
    until::so(&format!("{} tells {reason}", backend.name()), async || {
        let Some(condition) = backend.condition(&zenvoy.cluster).await else { return false };
        condition.reason == reason && words.iter().all(|word| condition.message.contains(word))
    })
    .await;
}

#[test]
fn a_missing_or_ambiguous_target_is_told_on_the_service_and_to_its_clients_and_to_nobody_else() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let fine = Backend::http("fine");
        zenvoy.create(&fine).await;
        let load = Steady::start(&zenvoy.http(&fine, "/slow?ms=20"), 2);

        let (orphan, twins) = (Backend::http("orphan"), Backend::http("twins"));
        orphan.apply_service(&zenvoy.cluster).await;
        // Objects of two kinds are not seen in the order in which they were made, and a target that was found once stays: a
        // Service that has one before the second appears tells when both Deployments are known.
        let elder = twins.clone().named("elder");
        twins.apply_workload_as("twin-a", &zenvoy.cluster).await;
        elder.apply_service(&zenvoy.cluster).await;
        until_held(&zenvoy, &elder).await;
        twins.apply_workload_as("twin-b", &zenvoy.cluster).await;
        let kept = ["Deployment/twin-a", "Deployment/twin-b", "Deployment/twin-a stays the target"];
        told(&zenvoy, &elder, "TargetAmbiguous", &kept).await;
        until_held(&zenvoy, &elder).await;
        twins.apply_service(&zenvoy.cluster).await;
        for (backend, reason, words) in [
            (&orphan, "TargetNotFound", vec!["orphan"]),
            (&twins, "TargetAmbiguous", vec!["Deployment/twin-a", "Deployment/twin-b"]),
        ] {
            told(&zenvoy, backend, reason, &words).await;
            zenvoy.until_known(backend).await;
            let answer = get(zenvoy.node.http(), &backend.host(), "/").await.expect("an answer");
            assert!(
                answer.status == 503 && answer.body.contains(reason),
                "{}: {}",
                answer.status,
                answer.body
            );
        }
        // What was missing appears; what was ambiguous is named.
        orphan.apply_workload(&zenvoy.cluster).await;
        twins.set("target", "Deployment/twin-b").apply_service(&zenvoy.cluster).await;
        for host in ["orphan.shop", "twins.shop"] {
            let request = load::Request::Http { to: zenvoy.node.http(), host: host.into(), path: "/".into() };
            until::so(&format!("{host} is served"), async || load::once(&request).await.result.is_ok()).await;
        }
        load.stop().await.assert_all_served();
        zenvoy.audit().assert_effective("twin-a", &[]);
        zenvoy.audit().assert_one_wake("twin-b", 1);
        zenvoy.node.assert_nothing_refused().await;
    });
}

#[test]
fn a_malformed_setting_is_told_by_name_and_the_last_good_one_stays_even_over_a_restart() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let cart = Backend::http("cart").set("hosts", "cart.example");
        zenvoy.create(&cart).await;
        let load = Steady::start(&zenvoy.http(&cart, "/slow?ms=20"), 2);
        zenvoy.until_warm(&cart).await;
        let wrong = cart.clone().set("idle-after", "soon").set("hosts", "bad_host");
        wrong.apply_service(&zenvoy.cluster).await;
        told(&zenvoy, &cart, "InvalidConfiguration", &["zenvoy.dev/idle-after", "soon", "bad_host"]).await;

        zenvoy.controller.process().terminate().await;
        zenvoy.controller.start_again();
        zenvoy.controller.until_ready().await;
        let other = Backend::http("other");
        zenvoy.create(&other).await;
        load::once(&zenvoy.http(&other, "/")).await.served();
        let by_host =
            load::Request::Http { to: zenvoy.node.http(), host: "cart.example".into(), path: "/".into() };
        load::once(&by_host).await.served();
        load.stop().await.assert_all_served();

        cart.clone().set("hosts", "cart2.example").apply_service(&zenvoy.cluster).await;
        let by_host =
            load::Request::Http { to: zenvoy.node.http(), host: "cart2.example".into(), path: "/".into() };
        until::so("what is good again is in effect", async || load::once(&by_host).await.result.is_ok())
            .await;
        zenvoy.audit().assert_one_wake("cart", 1);
        zenvoy.node.assert_nothing_refused().await;
    });
}

#[test]
fn of_two_services_that_claim_a_host_the_older_keeps_it_and_the_other_is_told() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let older = Backend::http("older").set("hosts", "shop.example");
        zenvoy.create(&older).await;
        // Kubernetes tells the age in whole seconds.
        until::so("a younger one is younger", async || older.age_in_seconds(&zenvoy.cluster).await >= 1)
            .await;
        let newer = Backend::http("newer").set("hosts", "shop.example,own.example");
        zenvoy.create(&newer).await;
        told(&zenvoy, &newer, "HostConflict", &["shop.example", "older"]).await;
        for (host, pod) in [
            ("shop.example", "older-"),
            ("own.example", "newer-"),
            ("newer.shop", "newer-"),
            ("newer.shop.svc.cluster.local", "newer-"),
        ] {
            let request = load::Request::Http { to: zenvoy.node.http(), host: host.into(), path: "/".into() };
            let answer = load::once(&request).await;
            assert!(answer.served().contains(pod), "{host}: {}", answer.served());
        }
        zenvoy.node.assert_nothing_refused().await;
    });
}

#[test]
fn an_upstream_object_configures_a_service_shows_how_it_stands_and_is_checked_on_entry() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let api = upstreams(&zenvoy);
        let refused = api
            .create(
                &PostParams::default(),
                &upstream("cart", &json!({ "service": "cart", "idleAfter": "soon" })),
            )
            .await
            .expect_err("the API server checks it");
        assert!(refused.to_string().contains("idleAfter"), "{refused}");

        let plain = Backend::http("cart").unannotated();
        let spec = json!({ "service": "cart", "idleAfter": "1s", "hosts": ["cart.example"] });
        api.create(&PostParams::default(), &upstream("cart", &spec)).await.expect("a valid one");
        let status = async |pointer: &str| {
            let object = api.get("cart").await.expect("the object").data;
            object.pointer(pointer).and_then(|value| value.as_str().map(ToOwned::to_owned))
        };
        until::so("it tells that there is no Service", async || {
            status("/status/reason").await.is_some_and(|reason| reason != "Ready")
        })
        .await;
        plain.apply(&zenvoy.cluster).await;
        zenvoy.until_known(&plain).await;
        until::so("it is cold", async || status("/status/phase").await.as_deref() == Some("Cold")).await;
        assert!(status("/status/address").await.is_some_and(|address| address.starts_with("127.0.0.1:")));
        let by_host =
            load::Request::Http { to: zenvoy.node.http(), host: "cart.example".into(), path: "/".into() };
        load::once(&by_host).await.served();
        until::so("it is active", async || status("/status/phase").await.as_deref() == Some("Active")).await;
        assert!(status("/status/lastWake").await.is_some());
        zenvoy.until_cold(&plain).await;
        until::so("it is cold again", async || status("/status/phase").await.as_deref() == Some("Cold"))
            .await;
        until::so("its events tell both", async || {
            let reasons = plain.event_reasons(&zenvoy.cluster).await;
            ["Waking", "Woken", "Slept"].iter().all(|reason| reasons.iter().any(|known| known == reason))
        })
        .await;
        zenvoy.audit().assert_effective("cart", &[(0, 1), (1, 0)]);
    });
}

#[test]
fn bad_flags_end_the_start_with_one_clear_message() {
    let zenvoy = parts::zenvoy();
    for (arguments, words) in [
        (
            vec!["controller", "--store=memory", "--port-pool=127.0.0.1:5-4"],
            vec!["--port-pool", "127.0.0.1:5-4"],
        ),
        (vec!["controller"], vec!["--etcd-endpoints"]),
        (vec!["proxy", "--controllers=controller:18000"], vec!["--controllers", "http://"]),
        (
            vec!["proxy", "--controllers=http://127.0.0.1:1", "--mode=magic"],
            vec!["--mode", "tproxy", "listen"],
        ),
        (
            vec!["controller", "--store=memory", "--plaintext", "--kubeconfig=/nowhere"],
            vec!["--kubeconfig", "/nowhere"],
        ),
        (vec!["controller", "--store=memory"], vec!["beyond this machine", "--tls-dir", "--plaintext"]),
    ] {
        let output = Command::new(&zenvoy).args(&arguments).output().expect("run zenvoy");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
    }
}
