//! Idle votes as they lie in the store (rule V2). A replica's votes are spread over a fixed number of small records, so that a
//! single change rewrites one of them, and none comes near the size that etcd refuses. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_64;
use zenvoy_shared::id::WorkloadId;

use super::Revision;

/// One part of all workloads, the same for everybody and for ever: of 100,000 workloads with ids of 100 bytes each has
/// about 160 KB, and etcd takes 1.5 MB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(u8);

impl Shard {
    /// How many there are.
    pub const COUNT: u8 = 64;

    /// The one that `workload` belongs to.
    pub fn of(workload: &WorkloadId) -> Self {
        let hash = xxh3_64(workload.to_string().as_bytes()) % u64::from(Self::COUNT);
        Self(u8::try_from(hash).unwrap_or_default())
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// Not the number of a shard: a later version may have more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of {} shards, as 00", Shard::COUNT)]
pub struct NoShard;

impl FromStr for Shard {
    type Err = NoShard;

    fn from_str(text: &str) -> Result<Self, NoShard> {
        let shard = text.parse().map(Self).map_err(|_| NoShard)?;
        if shard.0 < Self::COUNT && text.len() == 2 { Ok(shard) } else { Err(NoShard) }
    }
}

/// The workloads of one shard that a replica believes up and idle past `idleAfter` on all its nodes: value of
/// `idle-votes/<controller>/<shard>`. Protocol level 2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteShard {
    /// Which.
    pub workloads: BTreeSet<WorkloadId>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// The nodes that all votes of a replica speak for: value of `idle-votes/<controller>/nodes`. While it is not there, the
/// replica's shards do not count. Protocol level 2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteNodes {
    /// Each with the `mod_revision` of its `nodes/` key.
    pub nodes: BTreeMap<String, Revision>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// All votes of a replica in one record: value of `idle-votes/<controller>`. Protocol level 1: written as long as a replica
/// lives that cannot read shards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleVotes {
    /// Which.
    pub workloads: BTreeSet<WorkloadId>,
    /// The nodes it speaks for, each with the `mod_revision` of its `nodes/` key.
    #[serde(default)]
    pub nodes: BTreeMap<String, Revision>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_belongs_to_the_same_shard_for_ever() {
        let shards = ["cart", "orders", "payments"]
            .map(|name| Shard::of(&WorkloadId::new("shop", "Deployment.apps", name)).to_string());
        assert_eq!(shards, ["28", "36", "42"], "replicas of two versions must agree");
    }

    #[test]
    fn workloads_are_spread_evenly() {
        let mut sizes = BTreeMap::<Shard, usize>::new();
        for number in 0..6_400 {
            let workload = WorkloadId::new("shop", "Deployment.apps", format!("service-{number}"));
            *sizes.entry(Shard::of(&workload)).or_default() += 1;
        }
        assert_eq!(sizes.len(), usize::from(Shard::COUNT));
        assert!(sizes.values().all(|size| (50..200).contains(size)), "{sizes:?}");
    }

    #[test]
    fn what_is_no_shard_is_not_read_as_one() {
        for text in ["", "0", "64", "007", "-1", "nodes"] {
            assert_eq!(text.parse::<Shard>(), Err(NoShard), "{text}");
        }
        for shard in Shard::all() {
            assert_eq!(shard.to_string().parse(), Ok(shard));
        }
    }
}
