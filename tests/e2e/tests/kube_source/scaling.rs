//! Scale writes on the real API server: what PROTOCOL.md rests on.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use zenvoy_controller::model::Target;
use zenvoy_controller::source::{ScaleError, ScaleWrite, Scaler};
use zenvoy_e2e::cluster::NAMESPACE;
use zenvoy_e2e::{net, until};
use zenvoy_shared::id::WorkloadId;

use crate::world::{World, Zenvoy, deployment, stateful_set, upstream};

async fn race(zenvoy: &Zenvoy, id: &WorkloadId) -> (usize, usize) {
    let now = zenvoy.scaler.read(id).await.expect("an answer").expect("a workload");
    let write = ScaleWrite { replicas: 1, resource_version: now.version.resource_version };
    let mut writes = JoinSet::new();
    for _ in 0..20 {
        let (scaler, id, write) = (zenvoy.scaler.clone(), id.clone(), write.clone());
        writes.spawn(async move { scaler.scale(&id, &write).await });
    }
    let answers = writes.join_all().await;
    let conflicts = answers.iter().filter(|answer| matches!(answer, Err(ScaleError::Conflict(_)))).count();
    (answers.iter().filter(|answer| answer.is_ok()).count(), conflicts)
}

#[test]
fn of_twenty_racing_scale_writes_exactly_one_succeeds_for_any_kind() {
    net::in_namespace(async || {
        let world = World::start().await;
        world.deployment("cart", 0).await;
        world.stateful_set("db", 0).await;
        let napper = napper(&world, "nap", 0).await;
        let zenvoy = world.zenvoy().await;
        for id in [deployment("cart"), stateful_set("db"), napper] {
            assert_eq!(race(&zenvoy, &id).await, (1, 19), "{id}");
            assert_eq!(zenvoy.scaler.read(&id).await.expect("an answer").expect("there").replicas, 1, "{id}");
        }
        zenvoy.stop().await;
    });
}

#[test]
fn a_scale_write_on_an_older_version_is_a_conflict_even_if_its_generation_is_the_same() {
    net::in_namespace(async || {
        let world = World::start().await;
        world.deployment("cart", 0).await;
        let (zenvoy, id) = (world.zenvoy().await, deployment("cart"));
        let seen = until::some("observed", async || {
            let now = zenvoy.scaler.read(&id).await.ok()??;
            (now.version.observed_generation == now.version.generation).then_some(now)
        })
        .await;
        let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = world.api();
        let noise = Patch::Merge(json!({ "metadata": { "labels": { "noise": "1" } } }));
        deployments.patch("cart", &PatchParams::default(), &noise).await.expect("patched");
        let write = ScaleWrite { replicas: 1, resource_version: seen.version.resource_version };
        assert_eq!(zenvoy.scaler.scale(&id, &write).await, Err(ScaleError::Conflict(id.clone())));
        let again = zenvoy.scaler.read(&id).await.expect("an answer").expect("there");
        assert_eq!((again.replicas, again.version.generation), (0, seen.version.generation));
        zenvoy.stop().await;
    });
}

#[test]
fn what_cannot_be_scaled_has_an_error_of_its_own_class() {
    net::in_namespace(async || {
        let world = World::start().await;
        world.deployment("cart", 0).await;
        let zenvoy = world.zenvoy().await;
        let write = ScaleWrite { replicas: 1, resource_version: "1".into() };
        let missing = deployment("missing");
        assert_eq!(zenvoy.scaler.read(&missing).await, Ok(None));
        assert_eq!(zenvoy.scaler.scale(&missing, &write).await, Err(ScaleError::Missing(missing.clone())));
        assert_eq!(zenvoy.scaler.pods(&missing).await, Err(ScaleError::Missing(missing.clone())));
        let reason = |answer: Result<String, ScaleError>| match answer {
            Err(ScaleError::Refused { problem, .. }) => problem.reason,
            other => panic!("{other:?}"),
        };
        let daemon = WorkloadId::new(NAMESPACE, "DaemonSet.apps", "x");
        assert_eq!(reason(zenvoy.scaler.scale(&daemon, &write).await), "TargetNotScalable");
        let unknown = WorkloadId::new(NAMESPACE, "Rollout.argoproj.io", "x");
        assert_eq!(reason(zenvoy.scaler.scale(&unknown, &write).await), "TargetKindUnknown");
        let refused = world.scaler_without_rights().await.scale(&deployment("cart"), &write).await;
        assert_eq!(reason(refused), "Forbidden");
        zenvoy.stop().await;
    });
}

/// Not a benchmark: it shows that nothing on the client's side breaks under 200 writes at once.
#[test]
fn two_hundred_workloads_scale_at_once() {
    net::in_namespace(async || {
        let world = World::start().await;
        let ids: Vec<WorkloadId> = (0..200).map(|n| deployment(&format!("w{n}"))).collect();
        for id in &ids {
            world.deployment(&id.name, 0).await;
        }
        let zenvoy = world.zenvoy().await;
        let writes = ids.iter().map(|id| zenvoy.scale(id, 1));
        until::done("all answers", futures::future::join_all(writes)).await;
        for id in &ids {
            assert_eq!(zenvoy.scaler.read(id).await.expect("an answer").expect("there").replicas, 1, "{id}");
        }
        zenvoy.stop().await;
    });
}

#[test]
fn an_api_server_that_does_not_answer_leaves_the_outcome_open_and_is_asked_again() {
    net::in_namespace(async || {
        let mut world = World::start().await;
        world.deployment("cart", 0).await;
        let (zenvoy, id) = (world.zenvoy().await, deployment("cart"));
        let now = zenvoy.scaler.read(&id).await.expect("an answer").expect("there");
        world.cluster.api().signal(Signal::SIGSTOP);
        let write = ScaleWrite { replicas: 1, resource_version: now.version.resource_version };
        let answer = until::done("the deadline", zenvoy.scaler.scale(&id, &write)).await;
        assert!(matches!(answer, Err(ScaleError::Unavailable { .. })), "{answer:?}");
        world.cluster.api().signal(Signal::SIGCONT);
        until::so("an answer again", async || zenvoy.scaler.read(&id).await.is_ok()).await;
        zenvoy.scale(&id, 2).await;
        zenvoy.stop().await;
    });
}

#[test]
fn a_further_kind_is_a_target_like_any_other() {
    net::in_namespace(async || {
        let world = World::start().await;
        world.service("cart", &[("enabled", "true"), ("target", "Napper.test.zenvoy.dev/cart")]).await;
        let mut zenvoy = world.zenvoy().await;
        zenvoy.until_complete().await;
        let target =
            |now: &zenvoy_controller::model::Inventory| now.upstreams()[&upstream("cart")].target.clone();
        let Target::Unresolved(problem) = target(&zenvoy.inventory) else { panic!("it is not installed") };
        assert_eq!(problem.reason, "TargetKindUnknown");

        let id = napper(&world, "cart", 0).await;
        zenvoy.until("the kind", |now| target(now) == Target::Workload(id.clone())).await;
        zenvoy.until("the object", |now| now.view(&id).facts.is_some_and(|facts| facts.replicas == 0)).await;
        let version = zenvoy.scale(&id, 3).await;
        zenvoy
            .until("its replicas", |now| {
                let facts = now.view(&id).facts;
                facts.is_some_and(|facts| facts.replicas == 3 && facts.version.resource_version == version)
            })
            .await;
        assert_eq!(zenvoy.scaler.pods(&id).await, Ok(Vec::new()));
        zenvoy.stop().await;
    });
}

/// A kind with a scale subresource whose replicas are not where others have them.
async fn napper(world: &World, name: &str, size: u32) -> WorkloadId {
    let definition = json!({
        "metadata": { "name": "nappers.test.zenvoy.dev" },
        "spec": {
            "group": "test.zenvoy.dev", "scope": "Namespaced",
            "names": { "kind": "Napper", "plural": "nappers", "singular": "napper" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                "subresources": { "scale": {
                    "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size",
                    "labelSelectorPath": ".status.selector",
                } },
            }],
        },
    });
    let name_of_definition = "nappers.test.zenvoy.dev";
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client());
    world.cluster.apply(&definitions, name_of_definition, &definition).await;
    let kind = GroupVersionKind::gvk("test.zenvoy.dev", "v1", "Napper");
    let api: Api<DynamicObject> =
        Api::namespaced_with(world.client(), NAMESPACE, &ApiResource::from_gvk(&kind));
    let object: Value = json!({
        "apiVersion": "test.zenvoy.dev/v1", "kind": "Napper", "metadata": { "name": name },
        "spec": { "size": size }, "status": { "size": 0, "selector": format!("app={name}") },
    });
    let how = PatchParams::apply("test").force();
    until::some("its kind is served", async || api.patch(name, &how, &Patch::Apply(&object)).await.ok())
        .await;
    WorkloadId::new(NAMESPACE, "Napper.test.zenvoy.dev", name)
}
