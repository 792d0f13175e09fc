//! Jobs and how they end.

use std::fmt;

use zenvoy_shared::id::{NodeId, Uid, WorkloadId};

use crate::model::{DrainRecord, NodeRecord, PinnedWorkload, PodReference, Problem, Revision, Versioned};
use crate::source::ScaleWrite;
use crate::store::{Compare, Txn, WatchEvent};

/// Something to carry out.
#[derive(Debug, Clone, PartialEq)]
pub enum Job {
    /// One transaction.
    Write {
        /// What it is about.
        subject: Subject,
        /// Whole, with its comparisons.
        txn: Txn,
    },
    /// Write a node's record, once its Pod was seen.
    Register {
        /// Which.
        node: NodeId,
        /// With the Pod that it says it lives in.
        record: NodeRecord,
    },
    /// Remove a node's record if its Pod is gone (leader).
    ProveGone(Gone),
    /// Patch 0 -> n for this replica's own demand, without a record and without leading (rule W4).
    WakeAlone {
        /// Which.
        workload: WorkloadId,
        /// Carries the version seen at zero.
        write: ScaleWrite,
    },
    /// The leader's decision on a workload that needs more than the store.
    Decide {
        /// Which.
        workload: WorkloadId,
        /// What.
        decided: Decided,
    },
}

/// What a job is about: at most one runs for each at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A node's registration.
    Node(NodeId),
    /// Whether a node that nobody hears of is gone (leader).
    Gone(NodeId),
    /// This replica's own registration.
    Registration,
    /// A wake that this replica's nodes demand.
    Demand(WorkloadId),
    /// This replica's word for a drain.
    Ack(WorkloadId),
    /// This replica's idle votes.
    Votes,
    /// What this replica's nodes refuse.
    Refusals,
    /// Port mappings (leader).
    Ports,
    /// A wake or drain (leader).
    Workload(WorkloadId),
}

/// As it stands in a log line.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "the registration of node {node}"),
            Self::Gone(node) => write!(f, "whether node {node} is gone"),
            Self::Registration => f.write_str("this replica's registration"),
            Self::Demand(workload) => write!(f, "the demand for {workload}"),
            Self::Ack(workload) => write!(f, "this replica's word for the drain of {workload}"),
            Self::Votes => f.write_str("this replica's idle votes"),
            Self::Refusals => f.write_str("what this replica's nodes refuse"),
            Self::Ports => f.write_str("the port mappings"),
            Self::Workload(workload) => write!(f, "the wake or drain of {workload}"),
        }
    }
}

/// A leader's step with effects beyond the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Decided {
    /// Wake: patch 0 -> n (rule W3).
    ScaleUp(ScaleWrite),
    /// Pin, condemn and commit (rules D5, D6).
    Commit(Commit),
    /// Patch to zero with exactly the pinned version (rule D7).
    ScaleDown(Commit),
    /// Write `done` if nothing lives any more (rules D7, D8).
    Finish(Commit),
}

/// A node whose Pod may be gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Gone {
    /// Which.
    pub node: NodeId,
    /// The Pod that it lived in.
    pub pod: PodReference,
    /// Term and record, as the leader decided on them.
    pub compares: Vec<Compare>,
}

/// What an irrevocable step of a drain rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The record as the leader decided on it.
    pub drain: Versioned<DrainRecord>,
    /// What must hold beside the record: term, wake, acknowledgements, nodes and replicas.
    pub compares: Vec<Compare>,
}

impl Commit {
    /// The object's UID that the drain is about.
    pub fn uid(&self) -> &Uid {
        &self.drain.record.uid
    }

    /// What the commit pinned, if it did.
    pub fn pinned(&self) -> Option<&PinnedWorkload> {
        match &self.drain.record.state {
            crate::model::DrainState::Committed { pinned, .. } => Some(pinned),
            _ => None,
        }
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub struct JobDone {
    /// What it was about.
    pub subject: Subject,
    /// How.
    pub outcome: Outcome,
    /// What it wrote, as the watch will bring it too.
    pub written: Vec<WatchEvent>,
}

/// How.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The store has it, since this revision.
    Written(Revision),
    /// A comparison failed at this revision: what was decided on has changed.
    Refused(Revision),
    /// The own lease has ended.
    LeaseEnded,
    /// The store did not answer: a write may have happened or not (rule G2).
    StoreFailed(String),
    /// The API server took a scale write; the object has this `resourceVersion` now.
    Scaled(String),
    /// The object has changed since it was read: decide again when the change is seen.
    Conflict,
    /// Refused for good until something changes.
    ScaleRefused(Problem),
    /// The API server did not answer: unknown (rule G2).
    ScaleFailed(String),
    /// Not yet: pods still live, or the workload's own controller has not caught up.
    NotYet,
}
