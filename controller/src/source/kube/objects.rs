//! The parts of API objects that are read: the rest is dropped while parsing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ServiceSpec, ServiceStatus};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use kube::api::{ApiResource, DynamicObject};
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Deserializer};

/// A Deployment, StatefulSet or ReplicaSet.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct WorkloadObject {
    #[serde(deserialize_with = "lean")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: WorkloadSpec,
    pub(super) status: Option<WorkloadStatus>,
}

/// Which of the three it is, the request says.
impl kube::Resource for WorkloadObject {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A Service.
#[derive(kube::Resource, Debug, Clone, Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Service")]
pub(super) struct ServiceObject {
    #[serde(deserialize_with = "lean")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Option<ServiceSpec>,
    pub(super) status: Option<ServiceStatus>,
}

/// An EndpointSlice.
#[derive(kube::Resource, Debug, Clone, Deserialize)]
#[resource(inherit = "k8s_openapi::api::discovery::v1::EndpointSlice")]
#[serde(rename_all = "camelCase")]
pub(super) struct SliceObject {
    #[serde(deserialize_with = "lean")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) address_type: String,
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) ports: Option<Vec<EndpointPort>>,
}

/// Metadata without what is never read: the managed fields alone are larger than all the rest of an object, and come with
/// each of its changes.
fn lean<'de, D: Deserializer<'de>>(object: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lean {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        generation: Option<i64>,
        creation_timestamp: Option<Time>,
        deletion_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        owner_references: Option<Vec<OwnerReference>>,
    }
    let lean = Lean::deserialize(object)?;
    Ok(ObjectMeta {
        name: lean.name,
        namespace: lean.namespace,
        uid: lean.uid,
        resource_version: lean.resource_version,
        generation: lean.generation,
        creation_timestamp: lean.creation_timestamp,
        deletion_timestamp: lean.deletion_timestamp,
        labels: lean.labels,
        annotations: lean.annotations,
        owner_references: lean.owner_references,
        ..ObjectMeta::default()
    })
}

/// An `Upstream` before its spec is read: one that cannot be read must not hide the others.
pub(super) type UpstreamObject = DynamicObject;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct WorkloadSpec {
    pub(super) replicas: Option<i32>,
    pub(super) selector: Option<LabelSelector>,
    pub(super) template: Template,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    pub(super) metadata: TemplateMeta,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct TemplateMeta {
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WorkloadStatus {
    pub(super) observed_generation: Option<i64>,
    pub(super) conditions: Vec<PartialCondition>,
}

/// A condition of a workload or pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PartialCondition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// A pod, as far as its readiness is judged.
#[derive(kube::Resource, Debug, Clone, Deserialize)]
#[resource(inherit = "k8s_openapi::api::core::v1::Pod")]
pub(super) struct PodObject {
    #[serde(deserialize_with = "lean")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) status: Option<PodStatus>,
}

impl PodObject {
    /// All its containers have ended for good; its object may stay for long.
    pub(super) fn is_over(&self) -> bool {
        self.status.as_ref().is_some_and(|status| matches!(status.phase.as_str(), "Succeeded" | "Failed"))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: String,
    pub(super) conditions: Vec<PartialCondition>,
    pub(super) container_statuses: Vec<ContainerStatus>,
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    pub(super) state: Option<ContainerState>,
    pub(super) last_state: Option<ContainerState>,
}

impl ContainerStatus {
    pub(super) fn last_exit_code(&self) -> Option<i32> {
        Some(self.last_state.as_ref()?.terminated.as_ref()?.exit_code)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) waiting: Option<Waiting>,
    pub(super) terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated {
    pub(super) exit_code: i32,
}

/// The three kinds that are watched as a whole.
pub(super) fn built_in() -> [ApiResource; 3] {
    use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
    [
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<ReplicaSet>(&()),
    ]
}

/// `Kind.group`, or `Kind` in the core group: the form of a workload's kind.
pub(super) fn kind_of(resource: &ApiResource) -> String {
    if resource.group.is_empty() {
        resource.kind.clone()
    } else {
        format!("{}.{}", resource.kind, resource.group)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_its_metadata_an_object_keeps_what_is_read_and_drops_the_managed_fields() {
        let metadata = json!({
            "name": "cart", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2024-01-01T00:00:00Z", "deletionTimestamp": "2024-01-02T00:00:00Z",
            "labels": { "app": "cart" }, "annotations": { "zenvoy.dev/enabled": "true" },
            "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "Deployment", "name": "cart", "uid": "o", "controller": true }
            ],
        });
        let mut sent = metadata.clone();
        sent["managedFields"] =
            json!([{ "manager": "kubectl", "fieldsV1": { "f:spec": { "f:replicas": {} } } }]);
        let object: WorkloadObject = serde_json::from_value(json!({ "metadata": sent })).expect("an object");
        let expected: ObjectMeta = serde_json::from_value(metadata).expect("metadata");
        assert_eq!(object.metadata, expected);
    }
}
