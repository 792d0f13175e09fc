//! Reads of single workloads by quorum: no `resourceVersion` is given, so that etcd answers, not a cache (rule G1).

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, ResourceExt};
use serde_json::Value;
use zenvoy_shared::id::WorkloadId;

use super::keep::{self, Workload};
use super::objects::WorkloadObject;
use super::target::BUILT_IN;

/// Tries to see object and scale in one version.
const TRIES: usize = 3;

/// The workload as it is now; `None` when it does not exist.
pub(super) async fn workload(
    client: &Client,
    resource: &ApiResource,
    id: &WorkloadId,
) -> Result<Option<Workload>, kube::Error> {
    if BUILT_IN.contains(&id.kind.as_str()) {
        let api: Api<WorkloadObject> = Api::namespaced_with(client.clone(), &id.namespace, resource);
        return Ok(api.get_opt(&id.name).await?.map(Workload::read));
    }
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &id.namespace, resource);
    let mut tries = 0;
    loop {
        tries += 1;
        let Some(object) = api.get_opt(&id.name).await? else { return Ok(None) };
        let scale = match api.get_scale(&id.name).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
            scale => scale?,
        };
        if scale.resource_version() == object.resource_version() || tries == TRIES {
            return Ok(Some(further(&object, &scale)));
        }
    }
}

/// From an object of a kind that is not built in: replicas and selector are what its scale says.
fn further(object: &DynamicObject, scale: &Scale) -> Workload {
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    Workload {
        version: keep::version(&object.metadata, observed_generation(&object.data)),
        replicas: replicas.try_into().unwrap_or(0),
        labels: BTreeMap::new(),
        controller: None,
        selector: scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default(),
        refusal: None,
    }
}

/// A number by convention; some kinds write it as text.
fn observed_generation(data: &Value) -> Option<i64> {
    match data.get("status")?.get("observedGeneration")? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_further_kind_is_read_through_its_scale() {
        let object = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": { "name": "web", "uid": "u", "resourceVersion": "9", "generation": 4 },
            "status": { "observedGeneration": "3" },
        });
        let scale = json!({ "spec": { "replicas": 2 }, "status": { "replicas": 1, "selector": "app=web" } });
        let workload = further(
            &serde_json::from_value(object).expect("an object"),
            &serde_json::from_value(scale).expect("a scale"),
        );
        assert_eq!((workload.replicas, workload.selector.as_str()), (2, "app=web"));
        assert_eq!((workload.version.generation, workload.version.observed_generation), (4, 3));
    }

    #[test]
    fn a_kind_that_says_no_observed_generation_has_observed_all() {
        let object: DynamicObject =
            serde_json::from_value(json!({ "metadata": { "generation": 4 }, "status": {} }))
                .expect("an object");
        let scale = Scale::default();
        assert_eq!(further(&object, &scale).version.observed_generation, 4);
        assert_eq!(further(&object, &scale).replicas, 0);
    }
}
