//! An API server takes every overlay to the last field, and lets in the pods that it makes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use serde_json::{Value, json};
use zenvoy_e2e::cluster::Cluster;
use zenvoy_e2e::deploy::{self, Object};
use zenvoy_e2e::folder::Folder;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until;

/// cert-manager's kinds, of which the API server checks no field: cert-manager's own code does, in
/// `certificates_are_what_cert_manager_takes`.
const ISSUING: [(&str, &str, &str); 3] = [
    ("Certificate", "certificates", "Namespaced"),
    ("Issuer", "issuers", "Namespaced"),
    ("ClusterIssuer", "clusterissuers", "Cluster"),
];

async fn install_cert_manager(cluster: &Cluster) {
    let definitions = Api::<CustomResourceDefinition>::all(cluster.client());
    for (kind, plural, scope) in ISSUING {
        let any = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        let definition = json!({ "spec": {
            "group": "cert-manager.io", "scope": scope,
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": any } }],
        }});
        cluster.apply(&definitions, &format!("{plural}.cert-manager.io"), &definition).await;
    }
    for (kind, plural, _) in ISSUING {
        until::so(&format!("{kind} is served"), async || {
            let definition = definitions.get(&format!("{plural}.cert-manager.io")).await.expect("ours");
            let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
            conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
        })
        .await;
    }
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "cert-manager" } });
    assert!(Object::from(namespace).apply(&cluster.client()).await.is_clean());
}

async fn start(folder: &Folder) -> Cluster {
    let mut cluster = Cluster::start(folder);
    cluster.until_ready().await;
    install_cert_manager(&cluster).await;
    cluster
}

/// Applies everything in the order in which it is rendered, as kubectl does. Returns what the API server objected to.
async fn objections(cluster: &Cluster, objects: &[Object]) -> Vec<String> {
    let mut objections = Vec::new();
    for object in objects {
        let applied = object.apply(&cluster.client()).await;
        if !applied.is_clean() {
            objections.push(format!("{} {}: {applied}", object.kind(), object.name()));
        }
    }
    objections
}

#[test]
fn every_overlay_is_taken_to_the_last_field_and_its_pods_are_let_in() {
    in_namespace(async || {
        let folder = Folder::new();
        let cluster = start(&folder).await;
        for overlay in deploy::overlays() {
            let objects = deploy::render(&format!("overlays/{overlay}"));
            assert_eq!(objections(&cluster, &objects).await, [""; 0], "{overlay}");
            for workload in objects.iter().filter(|object| object.is_workload()) {
                let made = workload.as_pod().dry_run(&cluster.client()).await;
                assert!(made.is_clean(), "{overlay}, a pod of {}: {made}", workload.name());
            }
        }
    });
}

#[test]
fn a_field_that_does_not_exist_and_a_pod_that_takes_too_much_would_be_refused() {
    in_namespace(async || {
        let folder = Folder::new();
        let cluster = start(&folder).await;
        let complete = deploy::render("overlays/complete");
        assert_eq!(objections(&cluster, &complete).await, [""; 0]);
        for object in complete.iter().filter(|object| object.at("/spec").is_object()) {
            if ISSUING.iter().any(|(kind, ..)| *kind == object.kind()) {
                continue;
            }
            let mut wrong = object.value().clone();
            wrong["spec"]["noSuchField"] = json!(1);
            let refused = Object::from(wrong).apply(&cluster.client()).await;
            let said = refused.status >= 400 && refused.body.contains("noSuchField");
            assert!(said, "{} {}: {refused}", object.kind(), object.name());
        }
        // The namespace is the one of the overlay that needs no privilege.
        let tproxy = deploy::render("overlays/tproxy");
        let gateway = tproxy.iter().find(|object| object.is_workload() && object.name() == "zenvoy-gateway");
        let refused = gateway.expect("a gateway").as_pod().dry_run(&cluster.client()).await;
        assert!(refused.status == 403 && refused.body.contains("NET_ADMIN"), "{refused}");
    });
}

/// Every container of every overlay, with its pod's spec, and whether it is the one that may do something.
fn containers() -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    for overlay in deploy::overlays() {
        for workload in deploy::render(&format!("overlays/{overlay}")) {
            let pod = workload.pod();
            let lists = ["initContainers", "containers"].into_iter().filter_map(|list| pod[list].as_array());
            for container in lists.flatten() {
                let name = container["name"].as_str().expect("a name");
                let place = format!("{overlay}: {} {} {name}", workload.kind(), workload.name());
                found.push((place, pod.clone(), container.clone()));
            }
        }
    }
    found
}

#[test]
fn every_container_has_no_right_but_the_proxy_in_transparent_mode_which_has_one() {
    let containers = containers();
    assert!(containers.len() > 20, "{}", containers.len());
    for (place, pod, container) in containers {
        let (of_pod, own) = (&pod["securityContext"], &container["securityContext"]);
        assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault", "{place}");
        assert_eq!(own["allowPrivilegeEscalation"], false, "{place}");
        assert_eq!(own["readOnlyRootFilesystem"], true, "{place}");
        assert_eq!(own["capabilities"]["drop"], json!(["ALL"]), "{place}");
        let transparent =
            container["args"].as_array().is_some_and(|args| args.contains(&json!("--mode=tproxy")));
        if transparent {
            assert_eq!(own["capabilities"]["add"], json!(["NET_ADMIN"]), "{place}");
        } else {
            assert_eq!(own["capabilities"]["add"], Value::Null, "{place}");
            assert_eq!(own["runAsUser"], Value::Null, "{place}");
        }
        assert_eq!(of_pod["runAsNonRoot"], true, "{place}");
        assert_ne!(of_pod["runAsUser"], 0, "{place}");
        assert!(container["resources"]["requests"].is_object(), "{place}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{place}");
    }
}

#[test]
fn every_workload_spreads_and_allows_one_disruption_at_a_time() {
    for overlay in deploy::overlays() {
        let objects = deploy::render(&format!("overlays/{overlay}"));
        for workload in objects.iter().filter(|object| object.is_workload()) {
            let place = format!("{overlay}: {}", workload.name());
            let labels = workload.at("/spec/selector/matchLabels");
            let budget = objects.iter().find(|object| {
                object.kind() == "PodDisruptionBudget" && object.at("/spec/selector/matchLabels") == labels
            });
            assert_eq!(budget.expect(&place).at("/spec/maxUnavailable"), 1, "{place}");
            if workload.kind() != "DaemonSet" {
                assert!(workload.pod()["affinity"]["podAntiAffinity"].is_object(), "{place}");
                assert!(workload.pod()["topologySpreadConstraints"].is_array(), "{place}");
            }
            assert_eq!(workload.pod()["enableServiceLinks"], false, "{place}");
            let policies = objects.iter().filter(|object| object.kind() == "NetworkPolicy");
            let covered =
                policies.filter(|policy| policy.at("/spec/podSelector/matchLabels") == labels).count();
            assert_eq!(covered, 1, "{place} has a network policy");
        }
    }
}
