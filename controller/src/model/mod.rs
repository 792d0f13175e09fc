//! What exists and what was decided, as values. Pure: no I/O, no clocks.

mod decisions;
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod inventory;
mod refusals;
mod view;
mod votes;

pub use decisions::{
    DrainAck, DrainRecord, DrainState, NodeRecord, PinnedWorkload, PodReference, PortState, Ready, ReadyPod,
    RecordedProblem, Replica, Revision, Term, WakeRecord, WakeState,
};
pub use facts::{
    Condition, Endpoint, Fact, Problem, Target, UpstreamFacts, UpstreamSpec, WorkloadFacts, WorkloadVersion,
};
pub use inventory::{Inventory, Touched};
pub use refusals::{Refusal, Refusals};
pub use view::{Phase, Route, UpstreamView, Versioned, WorkloadView};
pub use votes::{IdleVotes, NoShard, Shard, VoteNodes, VoteShard};
