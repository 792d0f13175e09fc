//! Objects as tests want them.

use serde_json::{Value, json};

use super::*;

pub(in super::super) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A Service as JSON: `shop/cart`, port 80, selects `app: cart`, with these annotations of ours.
pub(in super::super) fn service_json(annotations: &[(&str, &str)]) -> Value {
    let annotations: BTreeMap<String, &str> =
        annotations.iter().map(|(name, value)| (format!("zenvoy.dev/{name}"), *value)).collect();
    json!({
        "metadata": {
            "namespace": "shop", "name": "cart", "uid": "service-uid", "annotations": annotations,
            "creationTimestamp": "2024-01-01T00:00:00Z",
        },
        "spec": { "selector": { "app": "cart" }, "ports": [{ "port": 80, "protocol": "TCP" }] },
    })
}

pub(in super::super) fn annotated(annotations: &[(&str, &str)]) -> Service {
    Service::read(serde_json::from_value(service_json(annotations)).expect("a Service"))
}

/// A Service that does not opt in.
pub(in super::super) fn service() -> Service {
    annotated(&[])
}

/// An `Upstream` as JSON, of Service `cart`, with this further spec.
pub(in super::super) fn upstream_json(name: &str, spec: Value) -> Value {
    let mut whole = json!({ "service": "cart" });
    if let (Some(whole), Value::Object(spec)) = (whole.as_object_mut(), spec) {
        whole.extend(spec);
    }
    json!({
        "apiVersion": "zenvoy.dev/v1alpha1", "kind": "Upstream",
        "metadata": {
            "namespace": "shop", "name": name, "uid": format!("{name}-uid"), "generation": 1,
            "creationTimestamp": "2024-01-02T00:00:00Z",
        },
        "spec": whole,
    })
}

pub(in super::super) fn upstream(name: &str, spec: Value) -> Upstream {
    Upstream::read(serde_json::from_value(upstream_json(name, spec)).expect("an Upstream"))
}

/// A Deployment whose pods have `app: cart`.
pub(in super::super) fn workload(replicas: u32) -> Workload {
    Workload {
        version: WorkloadVersion {
            uid: Uid("workload-uid".into()),
            resource_version: "7".into(),
            generation: 1,
            observed_generation: 1,
        },
        replicas,
        labels: labels(&[("app", "cart")]),
        controller: None,
        selector: "app=cart".into(),
        refusal: None,
    }
}

/// A slice of `shop/cart` with these pods: address, UID, ready.
pub(in super::super) fn slice(pods: &[(&str, &str, bool)]) -> Slice {
    let endpoints = pods.iter().map(|(address, pod, ready)| KeptEndpoint {
        address: address.parse().expect("an address"),
        pod: Some(Uid((*pod).into())),
        ready: *ready,
        terminating: false,
    });
    Slice {
        service: Key::new("shop", "cart"),
        ports: vec![(String::new(), 8080)],
        endpoints: endpoints.collect(),
    }
}
