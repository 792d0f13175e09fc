use serde_json::json;

use super::*;

#[test]
fn a_service_keeps_its_tcp_ports_its_first_family_and_what_it_opts_into() {
    let service = Service::read(
        serde_json::from_value(json!({
            "metadata": { "annotations": { "zenvoy.dev/enabled": "true", "kubectl.kubernetes.io/x": "long" } },
            "spec": {
                "ipFamilies": ["IPv6", "IPv4"],
                "ports": [
                    { "name": "dns", "port": 53, "protocol": "UDP" },
                    { "name": "grpc", "port": 9000, "targetPort": "api" },
                ],
            },
        }))
        .expect("a Service"),
    );
    assert_eq!(service.ports.iter().map(|port| port.number).collect::<Vec<_>>(), [9000]);
    assert_eq!(service.family, Family::V6);
    assert!(service.config.expect("opted in").is_ok());
}

#[test]
fn an_upstream_whose_spec_cannot_be_read_still_names_its_service() {
    let broken = fixture::upstream("broken", json!({ "maxHeld": "many", "ports": [80] }));
    assert_eq!((broken.service.as_str(), broken.ports.as_slice()), ("cart", [80].as_slice()));
    let problem = broken.config.expect_err("a problem");
    assert_eq!(problem.reason, "InvalidConfiguration");
}

#[test]
fn an_upstream_is_validated_like_annotations_are() {
    let invalid = fixture::upstream("bad", json!({ "idleAfter": "soon", "wakeReplicas": 0 }));
    let problem = invalid.config.expect_err("a problem");
    assert!(problem.message.contains("spec.idleAfter") && problem.message.contains("spec.wakeReplicas"));
}

#[test]
fn a_slice_keeps_pods_with_readiness_and_uid() {
    let slice = Slice::read(
        serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": "cart-x", "labels": { "kubernetes.io/service-name": "cart" } },
            "addressType": "IPv4",
            "ports": [{ "name": "", "port": 8080, "protocol": "TCP" }, { "name": "dns", "port": 53, "protocol": "UDP" }],
            "endpoints": [
                { "addresses": ["10.0.0.1"], "conditions": {}, "targetRef": { "kind": "Pod", "uid": "a" } },
                { "addresses": ["10.0.0.2"], "conditions": { "ready": true, "terminating": true } },
                { "addresses": ["10.0.0.3"], "conditions": { "ready": false } },
            ],
        }))
        .expect("a slice"),
    )
    .expect("of a Service");
    assert_eq!(slice.ports, [(String::new(), 8080)]);
    assert_eq!(slice.endpoints.iter().map(|kept| kept.ready).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(slice.endpoints[0].pod, Some(Uid("a".into())));
}

#[test]
fn a_slice_of_no_service_or_of_names_is_left_out() {
    let read = |object| Slice::read(serde_json::from_value(object).expect("a slice"));
    assert_eq!(read(json!({ "metadata": {}, "addressType": "IPv4", "endpoints": [] })), None);
    let named = json!({ "metadata": { "labels": { "kubernetes.io/service-name": "x" } },
        "addressType": "FQDN", "endpoints": [] });
    assert_eq!(read(named), None);
}

#[test]
fn conditions_of_an_older_generation_are_not_believed() {
    let read = |observed: i64| {
        let object = json!({
            "metadata": { "generation": 2 },
            "spec": { "replicas": 3, "selector": { "matchLabels": { "app": "cart" } } },
            "status": { "observedGeneration": observed, "conditions": [
                { "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota" }] },
        });
        Workload::read(serde_json::from_value(object).expect("a workload"))
    };
    assert_eq!(read(1).refusal, None);
    let current = read(2);
    assert!(current.refusal.is_some());
    assert_eq!((current.replicas, current.selector.as_str()), (3, "app=cart"));
}

#[test]
fn the_controller_of_a_replica_set_is_named_with_its_group() {
    let meta: ObjectMeta = serde_json::from_value(json!({ "ownerReferences": [
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "no", "uid": "1" },
        { "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "2", "controller": true },
    ] }))
    .expect("metadata");
    assert_eq!(controller(&meta).as_deref(), Some("Rollout.argoproj.io/web"));
}
