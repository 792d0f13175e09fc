//! What a valid file of local commands says: upstreams, and the processes behind them. In: the file's form; out: values
//! that hold by construction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zenvoy_shared::id::{UpstreamId, WorkloadId};

use crate::model::{Target, UpstreamFacts, UpstreamSpec};

/// Everything a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// What clients reach.
    pub upstreams: BTreeMap<UpstreamId, ProcessUpstream>,
    /// What runs; each stands behind at least one upstream.
    pub processes: BTreeMap<WorkloadId, Arc<ProcessSpec>>,
}

/// One upstream that stands on a local process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessUpstream {
    /// As on Kubernetes.
    pub spec: UpstreamSpec,
    /// The process behind it.
    pub workload: WorkloadId,
    /// The environment variable that tells an instance on which port to serve it.
    pub variable: String,
    /// Place in the file: the earlier claim on a host wins.
    pub position: i64,
}

/// How to run one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// Program and arguments; `{port}` stands for the value of `$PORT`, and so on for each of `variables`, and no other
    /// placeholder is in it. Never empty.
    pub command: Vec<String>,
    /// Beside the environment of zenvoy itself; values may hold `{port}` too.
    pub env: BTreeMap<String, String>,
    /// Where it runs; absolute.
    pub directory: PathBuf,
    /// From SIGTERM to SIGKILL.
    pub stop_grace: Duration,
    /// When it counts as ready.
    pub readiness: Readiness,
    /// Names of the variables that hold a port of its own for each instance. Never empty.
    pub variables: BTreeSet<String>,
}

/// When an instance may take traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Readiness {
    /// All its ports accept connections.
    #[default]
    Connect,
    /// And `$PORT`, or its only port, answers a GET of this path with a status below 400.
    Http {
        /// With the leading slash.
        path: String,
    },
}

impl ProcessUpstream {
    /// As the controller knows it.
    pub(super) fn facts(&self) -> UpstreamFacts {
        UpstreamFacts {
            spec: self.spec.clone(),
            target: Target::Workload(self.workload.clone()),
            created: self.position,
        }
    }
}
