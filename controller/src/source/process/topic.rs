//! What is to be said to the controller, in the order in which it is said.

use zenvoy_shared::id::{UpstreamId, WorkloadId};

/// A fact that is due; its content is read when it is said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// For the timeline: before what follows from it.
    Started(WorkloadId),
    /// What keeps a workload that starts from being ready.
    Unready(WorkloadId),
    /// A workload's object: before the upstreams that stand on it.
    Workload(WorkloadId),
    /// An upstream's configuration, or that it is gone.
    Upstream(UpstreamId),
    /// A workload's object is gone: after the upstreams that stood on it.
    Gone(WorkloadId),
    /// An upstream's ready instances.
    Endpoints(UpstreamId),
    /// After all the others of the first time.
    Complete,
}
