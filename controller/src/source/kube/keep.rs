//! What is kept of each object: 10,000 services must fit in little memory. In: API objects; out: the few fields that
//! facts are made of. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as KubeCondition, ObjectMeta};
use kube::core::Selector;
use serde_json::Value;
use zenvoy_shared::id::Uid;

use super::config::{self, Configured, LAST_GOOD, Port};
use super::crd;
use super::good::LastGood;
use super::objects::{ServiceObject, SliceObject, UpstreamObject, WorkloadObject};
use super::trouble;
use crate::model::{Problem, WorkloadVersion};

/// The condition on a Service that opts in by annotations: there only while something is wrong.
pub(super) const SERVICE_CONDITION: &str = "zenvoy.dev/Ready";

/// An object of a kind that is known from the context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub(super) fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Family {
    #[default]
    V4,
    V6,
}

/// A Service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Service {
    pub(super) uid: Uid,
    /// Seconds since the Unix epoch.
    pub(super) created: i64,
    /// TCP only.
    pub(super) ports: Vec<Port>,
    pub(super) selector: BTreeMap<String, String>,
    pub(super) family: Family,
    /// An `ExternalName` has no pods.
    pub(super) external: bool,
    /// Of its annotations; `None` when it does not opt in.
    pub(super) config: Option<Result<Configured, Problem>>,
    pub(super) last_good: Option<LastGood>,
    /// The condition of ours that it carries.
    pub(super) condition: Option<KubeCondition>,
}

/// An `Upstream` object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Upstream {
    pub(super) uid: Uid,
    /// Seconds since the Unix epoch.
    pub(super) created: i64,
    pub(super) generation: i64,
    /// In its namespace; empty if that cannot be read.
    pub(super) service: String,
    /// Empty: all.
    pub(super) ports: Vec<u16>,
    pub(super) config: Result<Configured, Problem>,
    pub(super) last_good: Option<LastGood>,
    /// As it stands there.
    pub(super) status: Value,
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) service: Key,
    /// TCP only: the Service port's name, and where the pods listen.
    pub(super) ports: Vec<(String, u16)>,
    pub(super) endpoints: Vec<KeptEndpoint>,
}

/// A pod behind a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptEndpoint {
    pub(super) address: IpAddr,
    pub(super) pod: Option<Uid>,
    /// And not terminating.
    pub(super) ready: bool,
    pub(super) terminating: bool,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) version: WorkloadVersion,
    pub(super) replicas: u32,
    /// Of its pod template.
    pub(super) labels: BTreeMap<String, String>,
    /// Who scales it, when that is another object: `Kind.group/name`.
    pub(super) controller: Option<String>,
    /// Which pods are its own, in the form of a list call.
    pub(super) selector: String,
    /// Its pods cannot be created.
    pub(super) refusal: Option<Problem>,
}

impl Service {
    pub(super) fn read(object: ServiceObject) -> Self {
        let (meta, spec) = (object.metadata, object.spec.unwrap_or_default());
        let annotations = meta.annotations.clone().unwrap_or_default();
        let tcp = |protocol: Option<&str>| protocol.is_none_or(|protocol| protocol == "TCP");
        let ports = spec.ports.unwrap_or_default().into_iter();
        let ports = ports.filter(|port| tcp(port.protocol.as_deref())).filter_map(|port| {
            Some(Port {
                number: port.port.try_into().ok()?,
                protocol: config::protocol(port.app_protocol.as_deref(), port.name.as_deref()),
                name: port.name.unwrap_or_default(),
            })
        });
        let families = spec.ip_families.unwrap_or_default();
        let conditions = object.status.and_then(|status| status.conditions).unwrap_or_default();
        Self {
            uid: uid(&meta),
            created: created(&meta),
            ports: ports.collect(),
            selector: spec.selector.unwrap_or_default(),
            family: if families.first().is_some_and(|first| first == "IPv6") {
                Family::V6
            } else {
                Family::V4
            },
            external: spec.type_.as_deref() == Some("ExternalName"),
            config: config::annotated(&annotations),
            last_good: annotations.get(LAST_GOOD).and_then(|text| LastGood::parse(text)),
            condition: conditions.into_iter().find(|condition| condition.type_ == SERVICE_CONDITION),
        }
    }
}

impl Service {
    /// Whether its pods include those with these labels. Without a selector it has none of its own.
    pub(super) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.selector.is_empty()
            && self.selector.iter().all(|(label, value)| labels.get(label) == Some(value))
    }
}

impl Upstream {
    pub(super) fn read(object: UpstreamObject) -> Self {
        let (meta, mut data) = (object.metadata, object.data);
        let spec = data.get_mut("spec").map(Value::take).unwrap_or_default();
        let status = data.get_mut("status").map(Value::take).unwrap_or_default();
        let service = spec.get("service").and_then(Value::as_str).unwrap_or_default().to_owned();
        let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
        let ports = ports.filter_map(|port| port.as_u64()?.try_into().ok()).collect();
        let config = serde_json::from_value::<crd::Spec>(spec)
            .map_err(|error| Problem {
                reason: "InvalidConfiguration".into(),
                message: format!("the spec cannot be read: {error}"),
            })
            .and_then(|spec| config::specified(&spec));
        let last_good = status.get("lastGood").and_then(Value::as_str).and_then(LastGood::parse);
        Self {
            uid: uid(&meta),
            created: created(&meta),
            generation: meta.generation.unwrap_or_default(),
            service,
            ports,
            config,
            last_good,
            status,
        }
    }

    /// Whether it speaks of this port of its Service.
    pub(super) fn covers(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }
}

/// The label by which a slice names its Service.
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

impl Slice {
    /// `None` for one of no Service, or of DNS names.
    pub(super) fn read(object: SliceObject) -> Option<Self> {
        let service = object.metadata.labels.as_ref()?.get(SERVICE_LABEL)?.clone();
        if object.address_type == "FQDN" {
            return None;
        }
        let ports = object.ports.into_iter().flatten();
        let ports = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
        let ports =
            ports.filter_map(|port| Some((port.name.unwrap_or_default(), port.port?.try_into().ok()?)));
        let endpoints = object.endpoints.into_iter().flatten().filter_map(|endpoint| {
            let conditions = endpoint.conditions.unwrap_or_default();
            let terminating = conditions.terminating.unwrap_or(false);
            let pod = endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"));
            Some(KeptEndpoint {
                // Only the first counts: the others are the same pod.
                address: endpoint.addresses.first()?.parse().ok()?,
                pod: pod.and_then(|pod| pod.uid).map(Uid),
                // Unknown means ready (EndpointConditions of discovery.k8s.io/v1).
                ready: conditions.ready.unwrap_or(true) && !terminating,
                terminating,
            })
        });
        Some(Self {
            service: Key::new(object.metadata.namespace.unwrap_or_default(), service),
            ports: ports.collect(),
            endpoints: endpoints.collect(),
        })
    }
}

impl Workload {
    pub(super) fn read(object: WorkloadObject) -> Self {
        let status = object.status.unwrap_or_default();
        let version = version(&object.metadata, status.observed_generation);
        // Conditions of an older generation speak of what was asked for before.
        let current = version.observed_generation >= version.generation;
        let selector = object.spec.selector.and_then(|selector| Selector::try_from(selector).ok());
        Self {
            replicas: object.spec.replicas.unwrap_or(1).try_into().unwrap_or(0),
            labels: object.spec.template.metadata.labels,
            controller: controller(&object.metadata),
            selector: selector.map(|selector| selector.to_string()).unwrap_or_default(),
            refusal: current.then(|| trouble::of_conditions(&status.conditions)).flatten(),
            version,
        }
    }
}

/// Of any object. One that does not say what it has observed counts as having observed everything.
pub(super) fn version(meta: &ObjectMeta, observed: Option<i64>) -> WorkloadVersion {
    let generation = meta.generation.unwrap_or_default();
    WorkloadVersion {
        uid: uid(meta),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        generation,
        observed_generation: observed.unwrap_or(generation),
    }
}

/// The object that controls it, as `Kind.group/name`.
pub(super) fn controller(meta: &ObjectMeta) -> Option<String> {
    let owners = meta.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    Some(match owner.api_version.split_once('/') {
        Some((group, _)) => format!("{}.{group}/{}", owner.kind, owner.name),
        None => format!("{}/{}", owner.kind, owner.name),
    })
}

pub(super) fn uid(meta: &ObjectMeta) -> Uid {
    Uid(meta.uid.clone().unwrap_or_default())
}

fn created(meta: &ObjectMeta) -> i64 {
    meta.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
}

#[cfg(test)]
pub(super) mod fixture;

#[cfg(test)]
mod tests;
