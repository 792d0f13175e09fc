//! What the source says of a life from zero to ready and back.

use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use zenvoy_controller::model::{Fact, Target};
use zenvoy_controller::source::{Pod, Scaler};
use zenvoy_e2e::{net, until};
use zenvoy_shared::id::Uid;

use crate::world::{World, deployment, stateful_set, upstream};

#[test]
fn a_deployment_is_followed_from_zero_to_ready_and_back() {
    net::in_namespace(async || {
        let world = World::start().await;
        world.service("cart", &[("enabled", "true"), ("idle-after", "10m")]).await;
        world.deployment("cart", 0).await;
        let mut zenvoy = world.zenvoy().await;
        zenvoy.until_complete().await;
        let id = deployment("cart");
        let facts = &zenvoy.inventory.upstreams()[&upstream("cart")];
        assert_eq!((&facts.target, facts.spec.idle_after.as_secs()), (&Target::Workload(id.clone()), 600));
        assert_eq!(zenvoy.facts(&id).replicas, 0);

        let version = zenvoy.scale(&id, 1).await;
        zenvoy
            .until("its replicas", |inventory| {
                inventory.view(&id).facts.is_some_and(|facts| facts.replicas == 1)
            })
            .await;
        assert!(
            zenvoy.said.iter().any(|fact| matches!(fact,
            Fact::Workload(_, facts) if facts.version.resource_version == version)),
            "the scale's answer is the object's version"
        );

        let pod = world.pod("cart").await;
        world.pod_runs(&pod, "10.42.0.1", false).await;
        let uid = Uid(pod.metadata.uid.clone().expect("a UID"));
        assert_eq!(zenvoy.scaler.pods(&id).await, Ok(vec![Pod { uid: uid.clone(), terminating: false }]));
        world.pod_runs(&pod, "10.42.0.1", true).await;
        zenvoy.until_ready_pods(&id, 1).await;
        let started = zenvoy.said.iter().position(|fact| *fact == Fact::Started(id.clone()));
        let ready = zenvoy.said.iter().position(|fact| matches!(fact, Fact::Endpoints(..)));
        assert!(started.is_some() && started < ready, "{:?}", zenvoy.said);
        let endpoint = zenvoy.inventory.view(&id).upstreams[0].endpoints[0].clone();
        assert_eq!((endpoint.address.to_string().as_str(), endpoint.pod), ("10.42.0.1:8080", Some(uid)));

        zenvoy.scale(&id, 0).await;
        zenvoy.until_ready_pods(&id, 0).await;
        until::so("no pod is left", async || zenvoy.scaler.pods(&id).await == Ok(Vec::new())).await;
        zenvoy.stop().await;
    });
}

#[test]
fn objects_that_come_change_and_go_are_followed() {
    net::in_namespace(async || {
        let world = World::start().await;
        let mut zenvoy = world.zenvoy().await;
        zenvoy.until_complete().await;
        world.service("db", &[("enabled", "true"), ("protocol", "tcp"), ("listen-port", "5432")]).await;
        let id = upstream("db");
        let target = |zenvoy: &zenvoy_controller::model::Inventory| {
            zenvoy.upstreams().get(&upstream("db")).map(|facts| facts.target.clone())
        };
        zenvoy
            .until("an unresolved upstream", |now| matches!(target(now), Some(Target::Unresolved(_))))
            .await;
        world.stateful_set("db", 0).await;
        let set = stateful_set("db");
        zenvoy.until("its target", |now| target(now) == Some(Target::Workload(set.clone()))).await;
        world.service("db", &[("enabled", "true"), ("protocol", "tcp"), ("listen-port", "5433")]).await;
        zenvoy.until("the change", |now| now.upstreams()[&id].spec.listen_port == Some(5433)).await;
        let services: Api<Service> = world.api();
        services.delete("db", &DeleteParams::default()).await.expect("deleted");
        zenvoy.until("its end", |now| now.upstreams().is_empty()).await;
        zenvoy.stop().await;
    });
}

#[test]
fn the_source_goes_on_when_the_api_server_restarts() {
    net::in_namespace(async || {
        let mut world = World::start().await;
        world.service("cart", &[("enabled", "true")]).await;
        world.deployment("cart", 0).await;
        let mut zenvoy = world.zenvoy().await;
        zenvoy.until_complete().await;
        world.cluster.restart_api().await;
        world.deployment("cart", 2).await;
        let id = deployment("cart");
        zenvoy.until("the change", |now| now.view(&id).facts.is_some_and(|facts| facts.replicas == 2)).await;
        until::so("the scaler's own connection is back", async || zenvoy.scaler.read(&id).await.is_ok())
            .await;
        zenvoy.stop().await;
    });
}

#[test]
fn a_dual_stack_pod_is_one_endpoint() {
    net::in_namespace(async || {
        let world = World::start().await;
        let service = json!({
            "metadata": { "name": "cart", "annotations": { "zenvoy.dev/enabled": "true" } },
            "spec": {
                "selector": { "app": "cart" }, "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"],
                "ports": [{ "port": 80, "targetPort": "web" }],
            },
        });
        world.cluster.apply::<Service>(&world.api(), "cart", &service).await;
        world.deployment_with_port("cart", "web", 9090).await;
        let mut zenvoy = world.zenvoy().await;
        zenvoy.until_complete().await;
        let pod = world.pod("cart").await;
        let status = json!({
            "phase": "Running", "podIP": "fd00::7", "podIPs": [{ "ip": "fd00::7" }, { "ip": "10.42.0.7" }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        });
        world.pod_status(&pod, &status).await;
        let id = deployment("cart");
        zenvoy
            .until("the address of the first family, at the named port", |now| {
                let view = now.view(&id);
                let endpoints = view.upstreams.first().map_or(&[] as &[_], |upstream| upstream.endpoints);
                matches!(endpoints, [one] if one.address.to_string() == "[fd00::7]:9090")
            })
            .await;
        zenvoy.stop().await;
    });
}
