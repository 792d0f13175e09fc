//! Idle votes (rules V2, V3). In: what this replica believes idle, and the vote records of all; out: the writes that make its own
//! votes known, a few small records at a time, and which workloads every live replica believes idle. Pure.

mod count;
mod own;
#[cfg(test)]
mod tests;

pub(super) use count::{Cast, Votes};
pub(super) use own::{OwnVotes, Place};

use std::collections::{BTreeMap, BTreeSet};

use zenvoy_shared::id::WorkloadId;

use crate::model::{IdleVotes, Revision, Shard, Versioned, VoteNodes, VoteShard};

/// Replicas of this protocol level read votes in shards (rule L4).
pub(super) const SHARDED_LEVEL: u32 = 2;

/// The votes of one replica, as the store has them.
#[derive(Debug, Default)]
pub(super) struct Ballot {
    whole: Option<Versioned<IdleVotes>>,
    shards: BTreeMap<Shard, Versioned<VoteShard>>,
    nodes: Option<Versioned<VoteNodes>>,
}

impl Ballot {
    /// The replica's votes in shards are whole once the record of its nodes is there; what lies beside it in one
    /// record is older then.
    fn is_idle(&self, workload: &WorkloadId, shard: Shard) -> bool {
        match (&self.nodes, &self.whole) {
            (Some(_), _) => self.shard(shard).is_some_and(|workloads| workloads.contains(workload)),
            (None, Some(whole)) => whole.record.workloads.contains(workload),
            (None, None) => false,
        }
    }

    /// The nodes that the votes speak for, each with the `mod_revision` of its key.
    fn nodes(&self) -> Option<&BTreeMap<String, Revision>> {
        let sharded = self.nodes.as_ref().map(|nodes| &nodes.record.nodes);
        sharded.or(self.whole.as_ref().map(|whole| &whole.record.nodes))
    }

    fn shard(&self, shard: Shard) -> Option<&BTreeSet<WorkloadId>> {
        self.shards.get(&shard).map(|votes| &votes.record.workloads)
    }

    /// Everything voted for, in either form.
    fn workloads(&self) -> impl Iterator<Item = &WorkloadId> {
        let shards = self.shards.values().flat_map(|shard| &shard.record.workloads);
        shards.chain(self.whole.iter().flat_map(|whole| &whole.record.workloads))
    }

    fn is_empty(&self) -> bool {
        self.whole.is_none() && self.shards.is_empty() && self.nodes.is_none()
    }
}
