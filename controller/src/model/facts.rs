//! Facts: what a source says exists. Each replaces what was said before of the same id.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zenvoy_shared::id::{Protocol, Uid, UpstreamId, WorkloadId};

/// One change of what exists, as a source reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// An upstream exists with this.
    Upstream(UpstreamId, UpstreamFacts),
    /// An upstream is gone, or no longer opted in.
    UpstreamGone(UpstreamId),
    /// The pods behind an upstream that are ready and not terminating, whole.
    Endpoints(UpstreamId, Vec<Endpoint>),
    /// A workload exists with this.
    Workload(WorkloadId, WorkloadFacts),
    /// A workload does not exist.
    WorkloadGone(WorkloadId),
    /// The first pod of a workload began to run; for the timeline of its wake.
    Started(WorkloadId),
    /// What keeps a workload that starts from being ready, and what it wrote, as far as the source knows: told if its wake is
    /// late. Lines after the first are its output.
    Unready(WorkloadId, String),
    /// Everything that exists has been said once: decisions may start.
    Complete,
}

/// What is known of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamFacts {
    /// The last good configuration.
    pub spec: UpstreamSpec,
    /// What is behind it.
    pub target: Target,
    /// Which claim on a host is older wins: seconds since the Unix epoch at which the object was created.
    pub created: i64,
}

/// An upstream's configuration, valid by construction of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSpec {
    /// What clients speak.
    pub protocol: Protocol,
    /// Further HTTP hosts (or TLS server names), lower case, beside `service.namespace` and its longer forms.
    pub hosts: Vec<String>,
    /// A TCP listener of its own on every Envoy.
    pub listen_port: Option<u16>,
    /// No activity for this long: drain.
    pub idle_after: Duration,
    /// How long a connection is held at most.
    pub wake_timeout: Duration,
    /// Replicas to wake with when no earlier count is known; at least 1.
    pub wake_replicas: u32,
    /// Connections held per node at most; beyond: refused.
    pub max_held: u32,
}

impl Default for UpstreamSpec {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http,
            hosts: Vec::new(),
            listen_port: None,
            idle_after: Duration::from_secs(300),
            wake_timeout: Duration::from_secs(60),
            wake_replicas: 1,
            max_held: 4096,
        }
    }
}

/// The workload an upstream stands on, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Exactly one.
    Workload(WorkloadId),
    /// None or several: held clients are failed with this.
    Unresolved(Problem),
}

/// A fault of the user's objects, for status, events and held clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable CamelCase word, as a Kubernetes condition's reason.
    pub reason: String,
    /// One sentence: what is wrong, on what, and what to do.
    pub message: String,
}

/// A ready, not terminating pod as seen behind one upstream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Pod address and container port.
    pub address: SocketAddr,
    /// The pod's UID, if the source knows one: condemned pods are told by it.
    pub pod: Option<Uid>,
}

/// What is known of one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadFacts {
    /// Which incarnation and which version of the object.
    pub version: WorkloadVersion,
    /// Replicas asked for.
    pub replicas: u32,
    /// Why its pods do not become ready, when the source can tell.
    pub problem: Option<Problem>,
    /// With a problem: how long after it the next try waits, when the source can tell. It grows with each try in vain.
    pub back_off: Option<Duration>,
}

/// Identity and versions of a workload object, as quorum-read or watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadVersion {
    /// A re-created object of the same name has another.
    pub uid: Uid,
    /// Changes with every write, status too.
    pub resource_version: String,
    /// Changes with every change of the spec.
    pub generation: i64,
    /// The generation that its own controller has acted on.
    pub observed_generation: i64,
}

/// What zenvoy says about an upstream or workload: shown in status, events, logs and metrics under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `Ready`, `Accepted`, ...
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Why.
    pub problem: Problem,
}
