//! Annotations and `Upstream` objects: what is refused, what stays, and what users see.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::time::Duration;
use zenvoy_controller::model::{self, Phase, Problem};
use zenvoy_controller::report::{Happening, Occasion, Reporter, Status, WakeTimeline};
use zenvoy_controller::source::kube::crd::{self, Upstream};
use zenvoy_e2e::cluster::NAMESPACE;
use zenvoy_e2e::{net, until};

use crate::world::{World, deployment, upstream};

async fn install(world: &World) {
    let definition = serde_json::to_value(crd::definition()).expect("JSON");
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client());
    world.cluster.apply(&definitions, "upstreams.zenvoy.dev", &definition).await;
    let api: Api<Upstream> = world.api();
    until::so("its kind is served", async || api.list(&ListParams::default()).await.is_ok()).await;
}

#[allow(clippy::needless_pass_by_value)] // JSON in place
fn object(spec: Value) -> Upstream {
    let object = json!({ "apiVersion": "zenvoy.dev/v1alpha1", "kind": "Upstream", "metadata": { "name": "mine" }, "spec": spec });
    serde_json::from_value(object).expect("an Upstream")
}

fn untyped(world: &World) -> Api<DynamicObject> {
    Api::namespaced_with(world.client(), NAMESPACE, &ApiResource::erase::<Upstream>(&()))
}

/// Asks the API server whether it would take such an `Upstream`.
async fn try_it(world: &World, spec: &Value) -> Result<DynamicObject, kube::Error> {
    let object = json!({
        "apiVersion": "zenvoy.dev/v1alpha1", "kind": "Upstream", "metadata": { "name": "x" }, "spec": spec,
    });
    let params = PostParams { dry_run: true, ..PostParams::default() };
    untyped(world).create(&params, &serde_json::from_value(object).expect("an object")).await
}

async fn condition(world: &World) -> Option<Condition> {
    let conditions = world.api::<Service>().get("cart").await.ok()?.status?.conditions?;
    conditions.into_iter().find(|condition| condition.type_ == "zenvoy.dev/Ready")
}

async fn keeps_last_good(world: &World) -> bool {
    let service = world.api::<Service>().get("cart").await.expect("a Service");
    service.metadata.annotations.is_some_and(|all| all.contains_key("zenvoy.dev/last-good"))
}

async fn events(world: &World, kind: &str, name: &str) -> Vec<(String, String)> {
    let api: Api<Event> = world.api();
    let events = api.list(&ListParams::default()).await.expect("events").items;
    let about = events.into_iter().filter(|event| {
        let regarding = event.regarding.clone().unwrap_or_default();
        regarding.kind.as_deref() == Some(kind) && regarding.name.as_deref() == Some(name)
    });
    about.map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect()
}

#[test]
fn an_invalid_annotation_keeps_what_was_good_for_a_restarted_replica_too() {
    net::in_namespace(async || {
        let world = World::start().await;
        world.service("cart", &[("enabled", "true"), ("idle-after", "10m")]).await;
        world.service("other", &[("enabled", "true")]).await;
        world.deployment("cart", 0).await;
        world.deployment("other", 0).await;
        let mut zenvoy = world.zenvoy().await;
        zenvoy.until_complete().await;
        let good = zenvoy.inventory.upstreams().clone();
        world.service("cart", &[("enabled", "true"), ("idle-after", "soon")]).await;
        let shown = until::some("the condition", async || condition(&world).await).await;
        assert_eq!((shown.status.as_str(), shown.reason.as_str()), ("False", "InvalidConfiguration"));
        assert!(shown.message.contains(r#"zenvoy.dev/idle-after is "soon""#), "{}", shown.message);
        until::so("the event", async || {
            let events = events(&world, "Service", "cart").await;
            events.iter().any(|(reason, note)| reason == "InvalidConfiguration" && note.contains("soon"))
        })
        .await;
        until::so("what stays is kept", async || keeps_last_good(&world).await).await;
        zenvoy.stop().await;

        let mut fresh = world.zenvoy().await;
        fresh.until_complete().await;
        assert_eq!(*fresh.inventory.upstreams(), good);
        world.service("cart", &[("enabled", "true"), ("idle-after", "20m")]).await;
        fresh
            .until("the cure", |now| now.upstreams()[&upstream("cart")].spec.idle_after.as_secs() == 1200)
            .await;
        until::so("the condition is gone", async || condition(&world).await.is_none()).await;
        until::so("what stayed is gone", async || !keeps_last_good(&world).await).await;
        fresh.stop().await;
    });
}

#[test]
fn the_api_server_refuses_upstreams_that_cannot_be_meant() {
    net::in_namespace(async || {
        let world = World::start().await;
        install(&world).await;
        for (spec, named) in [
            (json!({}), "service"),
            (json!({ "service": "Cart" }), "spec.service"),
            (json!({ "service": "cart", "ports": [0] }), "spec.ports[0]"),
            (json!({ "service": "cart", "ports": [80, 80] }), "Duplicate value"),
            (json!({ "service": "cart", "protocol": "htpp" }), "spec.protocol"),
            (json!({ "service": "cart", "hosts": ["a.b:80"] }), "spec.hosts[0]"),
            (json!({ "service": "cart", "hosts": ["a.b"], "protocol": "tcp" }), "no host to tell by"),
            (json!({ "service": "cart", "listenPort": 70000 }), "spec.listenPort"),
            (json!({ "service": "cart", "listenPort": 5432, "ports": [1, 2] }), "name one in ports"),
            (json!({ "service": "cart", "idleAfter": "soon" }), "spec.idleAfter"),
            (json!({ "service": "cart", "idleAfter": "500ms" }), "from 1s to 168h"),
            (json!({ "service": "cart", "wakeTimeout": "2h" }), "from 1s to 1h"),
            (json!({ "service": "cart", "wakeReplicas": 0 }), "spec.wakeReplicas"),
            (json!({ "service": "cart", "maxHeld": 0 }), "spec.maxHeld"),
            (
                json!({ "service": "cart", "target": { "kind": "Rollout", "name": "x" } }),
                "apiVersion is needed",
            ),
        ] {
            let error = try_it(&world, &spec).await.expect_err(&spec.to_string()).to_string();
            assert!(error.contains(named), "{spec}: {error}");
        }
        let whole = json!({ "service": "cart", "ports": [80], "protocol": "http2", "hosts": ["*.a.example.com", "b.example.com"],
            "listenPort": 5432, "idleAfter": "1h30m", "wakeTimeout": "30s", "wakeReplicas": 2, "maxHeld": 10,
            "target": { "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "x" } });
        try_it(&world, &whole).await.expect("valid");
        try_it(&world, &json!({ "service": "cart" })).await.expect("valid");
    });
}

#[test]
fn an_upstream_shows_how_it_stands_and_what_happened() {
    net::in_namespace(async || {
        let world = World::start().await;
        world.service("cart", &[]).await;
        world.deployment("cart", 0).await;
        // The kind is installed while zenvoy runs.
        let mut zenvoy = world.zenvoy().await;
        zenvoy.until_complete().await;
        install(&world).await;
        let api: Api<Upstream> = world.api();
        api.create(&PostParams::default(), &object(json!({ "service": "cart", "wakeReplicas": 2 })))
            .await
            .expect("created");
        zenvoy.until("the upstream", |now| now.upstreams().contains_key(&upstream("cart"))).await;
        assert_eq!(zenvoy.inventory.upstreams()[&upstream("cart")].spec.wake_replicas, 2);

        let id = deployment("cart");
        let ready = model::Condition {
            kind: "Ready",
            holds: true,
            problem: Problem { reason: "Ready".into(), message: "connections are served".into() },
        };
        let cold = Status {
            phase: Phase::Cold,
            workload: Some(id.clone()),
            address: "127.0.0.1:20000".parse().ok(),
            conditions: vec![ready],
            last_wake_unix_ms: Some(1_700_000_000_000),
            idle_since_unix_ms: Some(1_700_000_300_000),
        };
        zenvoy.reporter.status(&upstream("cart"), cold.clone());
        let status = until::some("the status", async || {
            let status = api.get("mine").await.ok()?.status?;
            (status.phase.as_deref() == Some("Cold")).then_some(status)
        })
        .await;
        assert_eq!(status.address.as_deref(), Some("127.0.0.1:20000"));
        let kinds: Vec<&str> = status.conditions.iter().map(|condition| condition.kind.as_str()).collect();
        assert_eq!(kinds, ["Accepted", "TargetResolved", "Ready"]);
        assert_eq!(
            columns(&world).await,
            [json!("mine"), json!("cart"), json!("Cold"), json!("127.0.0.1:20000"),]
        );

        let timeline =
            WakeTimeline { first_byte: Some(Duration::from_millis(312)), ..WakeTimeline::default() };
        for what in [
            Happening::Waking,
            Happening::Woken(timeline),
            Happening::WakeFailed(Problem { reason: "CrashLoop".into(), message: "it ends at once".into() }),
            Happening::Slept,
            Happening::DrainCancelled { reason: "a connection came".into() },
        ] {
            zenvoy.reporter.happened(Occasion { workload: id.clone(), upstream: upstream("cart"), what });
        }
        until::so("all events", async || {
            let events = events(&world, "Upstream", "mine").await;
            let has = |wanted: &str| events.iter().any(|(reason, _)| reason == wanted);
            ["Waking", "Woken", "WakeFailed", "Slept", "DrainCancelled"].into_iter().all(has)
                && events.iter().any(|(_, note)| note.contains("312 ms"))
        })
        .await;
        let version = api.get("mine").await.expect("there").metadata.resource_version;
        zenvoy.reporter.status(&upstream("cart"), cold);
        zenvoy.reporter.leading(false);
        zenvoy.reporter.leading(true);
        world.service("cart", &[("enabled", "true")]).await;
        until::so("it is told that the Upstream wins", async || {
            events(&world, "Service", "cart").await.iter().any(|(reason, _)| reason == "Overridden")
        })
        .await;
        assert_eq!(
            api.get("mine").await.expect("there").metadata.resource_version,
            version,
            "nothing was written twice"
        );
        zenvoy.stop().await;
    });
}

/// What `kubectl get upstreams` prints, as far as it does not depend on the time.
async fn columns(world: &World) -> Vec<Value> {
    let request = http::Request::get(format!("/apis/zenvoy.dev/v1alpha1/namespaces/{NAMESPACE}/upstreams"))
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .expect("a request");
    let table: Value = world.client().request(request).await.expect("a table");
    let cells = table["rows"][0]["cells"].as_array().expect("cells").clone();
    cells.into_iter().take(4).collect()
}

#[test]
fn a_schema_that_lets_nonsense_in_costs_only_the_object_with_nonsense() {
    net::in_namespace(async || {
        let world = World::start().await;
        install(&world).await;
        for name in ["cart", "other"] {
            world.service(name, &[]).await;
            world.deployment(name, 0).await;
        }
        let api: Api<Upstream> = world.api();
        for name in ["cart", "other"] {
            let mut good = object(json!({ "service": name, "idleAfter": "10m" }));
            good.metadata.name = Some(name.into());
            api.create(&PostParams::default(), &good).await.expect("created");
        }
        let mut zenvoy = world.zenvoy().await;
        zenvoy.until("both", |now| now.upstreams().len() == 2 && now.is_complete()).await;

        let loose = json!({ "spec": { "versions": [{ "name": "v1alpha1", "served": true, "storage": true,
            "subresources": { "status": {} },
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] } });
        let definitions: Api<CustomResourceDefinition> = Api::all(world.client());
        definitions
            .patch("upstreams.zenvoy.dev", &PatchParams::default(), &Patch::Merge(&loose))
            .await
            .expect("loosened");
        let nonsense = Patch::Merge(json!({ "spec": { "maxHeld": "many" } }));
        let dynamic = untyped(&world);
        until::some("the loose schema is in effect", async || {
            dynamic.patch("cart", &PatchParams::default(), &nonsense).await.ok()
        })
        .await;
        let change = Patch::Merge(json!({ "spec": { "idleAfter": "20m" } }));
        dynamic.patch("other", &PatchParams::default(), &change).await.expect("changed");
        let idle = |now: &zenvoy_controller::model::Inventory, name| {
            now.upstreams()[&upstream(name)].spec.idle_after.as_secs()
        };
        zenvoy.until("the other's change", |now| idle(now, "other") == 1200).await;
        assert_eq!(idle(&zenvoy.inventory, "cart"), 600);
        until::so("the condition", async || {
            let object = dynamic.get("cart").await.expect("there");
            let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions
                .iter()
                .any(|condition| condition["type"] == "Accepted" && condition["status"] == "False")
        })
        .await;
        zenvoy.stop().await;
    });
}
