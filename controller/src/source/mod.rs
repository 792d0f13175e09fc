//! What exists, and how to scale it. In: the Kubernetes API, or a file of local commands; out: facts, and the few
//! reads and writes of the protocols that must not rest on a cached view (rule G1).

pub mod kube;
pub mod process;
pub mod spec;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zenvoy_shared::id::{Uid, WorkloadId};

use crate::model::{Fact, PodReference, Problem, WorkloadFacts};

/// Where facts come from.
#[async_trait]
pub trait Source: Send + 'static {
    /// Where facts come from, as a person knows it.
    fn describe(&self) -> String;

    /// Says what exists, then [`Fact::Complete`], then every change, until `stop`. Faults on the way are mended inside;
    /// an error is final.
    async fn run(
        self: Box<Self>,
        facts: mpsc::Sender<Fact>,
        stop: CancellationToken,
    ) -> Result<(), SourceError>;
}

/// A source cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// A pod that a workload owns and that is not gone yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Which.
    pub uid: Uid,
    /// It was told to end.
    pub terminating: bool,
}

/// One scale write: it succeeds only on exactly the object that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleWrite {
    /// What `spec.replicas` becomes.
    pub replicas: u32,
    /// Of the object as it was read; any other version refuses the write.
    pub resource_version: String,
}

/// A scale write or a quorum read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// The object has changed since it was read: read again and decide again.
    #[error("{0} has changed since it was read")]
    Conflict(WorkloadId),
    /// There is no such object.
    #[error("{0} does not exist")]
    Missing(WorkloadId),
    /// Refused for good until something changes: quota, admission, missing right.
    #[error("{workload}: {}", .problem.message)]
    Refused {
        /// Which.
        workload: WorkloadId,
        /// Why, and what to do.
        problem: Problem,
    },
    /// No answer: a write may have happened or not (rule G2).
    #[error("{workload}: no answer: {reason}")]
    Unavailable {
        /// Which.
        workload: WorkloadId,
        /// Why.
        reason: String,
    },
}

/// Nobody can tell whether a Pod exists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read Pod {pod}: {reason}")]
pub struct PodUnknown {
    /// Which.
    pub pod: PodReference,
    /// Why.
    pub reason: String,
}

/// Reads by quorum, and writes. Every call has a deadline of its own.
#[async_trait]
pub trait Scaler: Send + Sync + 'static {
    /// The object as it is now; `None` when it does not exist.
    async fn read(&self, workload: &WorkloadId) -> Result<Option<WorkloadFacts>, ScaleError>;

    /// Sets its replicas. Returns the object's `resourceVersion` after the write.
    async fn scale(&self, workload: &WorkloadId, write: &ScaleWrite) -> Result<String, ScaleError>;

    /// Whether the API server would take such a write now; nothing is changed. A source without rules of its own takes all.
    async fn rehearse(&self, _workload: &WorkloadId, _write: &ScaleWrite) -> Result<(), ScaleError> {
        Ok(())
    }

    /// All pods of it that are not gone, terminating ones too.
    async fn pods(&self, workload: &WorkloadId) -> Result<Vec<Pod>, ScaleError>;

    /// Whether this very object exists, terminating or not. A source without such objects cannot tell.
    async fn pod_exists(&self, pod: &PodReference) -> Result<bool, PodUnknown> {
        Err(PodUnknown { pod: pod.clone(), reason: "this source has no Pods".into() })
    }
}
