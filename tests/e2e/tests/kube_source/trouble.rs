//! Why pods do not become ready, as the cluster says it.

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use zenvoy_e2e::net;
use zenvoy_shared::id::WorkloadId;

use crate::world::{World, Zenvoy, deployment, stateful_set};

async fn until_problem(zenvoy: &mut Zenvoy, id: &WorkloadId, reason: Option<&str>) {
    let problem = |facts: &zenvoy_controller::model::WorkloadFacts| {
        facts.problem.as_ref().map(|problem| problem.reason.clone())
    };
    zenvoy
        .until(reason.unwrap_or("no problem"), |now| {
            now.view(id).facts.is_some_and(|facts| problem(facts).as_deref() == reason)
        })
        .await;
}

#[test]
fn an_image_that_cannot_be_pulled_is_a_problem_until_a_pod_is_ready() {
    net::in_namespace(async || {
        let world = World::start().await;
        world.service("cart", &[("enabled", "true")]).await;
        world.deployment("cart", 0).await;
        let (mut zenvoy, id) = (world.zenvoy().await, deployment("cart"));
        zenvoy.until_complete().await;
        zenvoy.scale(&id, 1).await;
        let pod = world.pod("cart").await;
        let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image \"none\"" } });
        let status = json!({ "phase": "Pending", "containerStatuses": [{
            "name": "main", "state": waiting, "ready": false, "restartCount": 0, "image": "none", "imageID": "" }] });
        world.pod_status(&pod, &status).await;
        until_problem(&mut zenvoy, &id, Some("ImagePullFailed")).await;
        let message = zenvoy.facts(&id).problem.expect("a problem").message;
        assert!(message.contains("Back-off pulling image"), "{message}");
        world.pod_runs(&pod, "10.42.0.1", true).await;
        zenvoy.until_ready_pods(&id, 1).await;
        assert_eq!(zenvoy.facts(&id).problem, None);
        zenvoy.stop().await;
    });
}

#[test]
fn a_quota_that_refuses_pods_is_a_problem_of_deployments_and_stateful_sets() {
    net::in_namespace(async || {
        let world = World::start().await;
        let quota = json!({ "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } } });
        world.cluster.apply::<ResourceQuota>(&world.api(), "none", &quota).await;
        // What the quota controller would write.
        let counted = json!({ "status": { "hard": { "pods": "0" }, "used": { "pods": "0" } } });
        let quotas: kube::Api<ResourceQuota> = world.api();
        quotas.patch_status("none", &PatchParams::default(), &Patch::Merge(&counted)).await.expect("counted");
        for name in ["cart", "db"] {
            world.service(name, &[("enabled", "true")]).await;
        }
        world.deployment("cart", 0).await;
        world.stateful_set("db", 0).await;
        let mut zenvoy = world.zenvoy().await;
        zenvoy.until_complete().await;
        for id in [deployment("cart"), stateful_set("db")] {
            zenvoy.scale(&id, 1).await;
            until_problem(&mut zenvoy, &id, Some("QuotaExceeded")).await;
            zenvoy.scale(&id, 0).await;
            until_problem(&mut zenvoy, &id, None).await;
        }
        zenvoy.stop().await;
    });
}
