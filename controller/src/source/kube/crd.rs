//! The `Upstream` object: its fields, what the API server checks of them, and its status. `zenvoy crd` prints it.
#![allow(unreachable_pub)] // `KubeSchema` makes a twin of each type inside a function

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[allow(clippy::duplicated_attributes)] // two columns may be of one type
/// Makes one Service, or some of its ports, sleep at zero replicas and wake on the first connection.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "zenvoy.dev",
    version = "v1alpha1",
    kind = "Upstream",
    namespaced,
    status = "Status",
    shortname = "ups",
    category = "zenvoy",
    derive = "PartialEq",
    doc = "A Service that sleeps at zero replicas and wakes on its first connection.",
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.service"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Last wake", type_ = "date", json_path = ".status.lastWake"),
    printcolumn(name = "Idle since", type_ = "date", json_path = ".status.idleSince"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".status.workload", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.listenPort) || !has(self.ports) || size(self.ports) <= 1",
        "listenPort is for one port: name one in ports")
)]
#[x_kube(
    validation = ("!has(self.hosts) || size(self.hosts) == 0 || !has(self.protocol) || self.protocol != 'tcp'",
        "protocol tcp has no host to tell by: leave hosts empty, or set another protocol")
)]
#[x_kube(
    validation = ("!has(self.idleAfter) || (duration(self.idleAfter) >= duration('1s') && duration(self.idleAfter) <= duration('168h'))",
        "idleAfter must be from 1s to 168h")
)]
#[x_kube(
    validation = ("!has(self.wakeTimeout) || (duration(self.wakeTimeout) >= duration('1s') && duration(self.wakeTimeout) <= duration('1h'))",
        "wakeTimeout must be from 1s to 1h")
)]
pub struct Spec {
    /// The Service in the same namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub service: String,
    /// Which of its ports, by number; all TCP ports when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(range(min = 1, max = 65535)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ports: Vec<u16>,
    /// The workload to scale; by default the one named like the Service, else the one whose pods it selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetReference>,
    /// What clients speak; by default what the port's appProtocol or name says, else http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolName>,
    /// Further hosts (or TLS server names), as shop.example.com or *.example.com.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^(\*\.[a-zA-Z0-9-]+\.)?[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub hosts: Vec<String>,
    /// A TCP listener of its own on every Envoy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub listen_port: Option<u16>,
    /// Scale to zero after this long without activity, as 90s, 5m or 1h30m; 5m when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    pub idle_after: Option<String>,
    /// Hold a connection for this long at most; 60s when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(ms|s|m|h))+$"))]
    pub wake_timeout: Option<String>,
    /// Replicas to wake with when no earlier count is known; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub wake_replicas: Option<u32>,
    /// Connections held per node at most; 4096 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_held: Option<u32>,
}

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolName {
    /// HTTP/1.1 to the pods.
    Http,
    /// HTTP/2 without TLS to the pods (gRPC too).
    Http2,
    /// Bytes; either side may speak first.
    Tcp,
    /// TLS passed through by server name.
    Tls,
}

impl ProtocolName {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// A workload in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.apiVersion) || self.kind in ['Deployment', 'StatefulSet', 'ReplicaSet']",
        "apiVersion is needed for a kind other than Deployment, StatefulSet and ReplicaSet")
)]
pub struct TargetReference {
    /// As apps/v1; only the group counts. May be left out for Deployment, StatefulSet and ReplicaSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub api_version: Option<String>,
    /// Deployment, StatefulSet, or any kind with a scale subresource.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z][A-Za-z0-9]*$"))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How it stands; written by the leader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Cold, Waking, Active or Draining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What stands in for the first port while it is cold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Each port on its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortStatus>,
    /// What is scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// When the last wake began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_wake: Option<String>,
    /// Since when there is no activity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub idle_since: Option<String>,
    /// What is wrong, in one word; empty when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The configuration that stays in effect while the spec is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<String>,
    /// What holds and what does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionStatus>,
}

/// One port's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortStatus {
    /// The Service's port.
    pub port: u16,
    /// Cold, Waking, Active or Draining.
    pub phase: String,
    /// What stands in for it while it is cold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A condition in the form that Kubernetes tools know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionStatus {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// True or False.
    pub status: String,
    /// One CamelCase word.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// When the status became what it is.
    #[schemars(schema_with = "date_time")]
    pub last_transition_time: String,
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

fn date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}

/// The definition to install.
pub fn definition() -> CustomResourceDefinition {
    let mut definition = Upstream::crd();
    let schemas = definition.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()).for_each(without_unsigned_formats);
    definition
}

/// The API server warns of number formats without a sign, which it does not know; the minimum says the same.
fn without_unsigned_formats(schema: &mut JSONSchemaProps) {
    schema.format.take_if(|format| format.starts_with("uint"));
    schema.properties.iter_mut().flat_map(BTreeMap::values_mut).for_each(without_unsigned_formats);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        without_unsigned_formats(items);
    }
}

/// The definition as YAML, for `zenvoy crd | kubectl apply -f -`.
///
/// # Errors
/// When it cannot be written as YAML, which its own test rules out.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(&definition())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_what_users_install() {
        insta::assert_snapshot!(yaml().expect("YAML"));
    }
}
