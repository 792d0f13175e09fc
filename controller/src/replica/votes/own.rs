//! This replica's own votes, and what must be written to make them known.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Map;
use zenvoy_shared::id::{ControllerId, WorkloadId};

use super::{Ballot, SHARDED_LEVEL};
use crate::model::{IdleVotes, Revision, Shard, VoteNodes, VoteShard};
use crate::store::{Key, LeaseId, Write, encode};

/// Records in one transaction: etcd takes 128 operations at most by default...
const MOST_WRITES: usize = 32;
/// ...and 1.5 MB.
const MOST_BYTES: usize = 512 * 1024;

/// What this replica believes up and idle.
#[derive(Debug, Default)]
pub(in crate::replica) struct OwnVotes {
    idle: BTreeMap<Shard, BTreeSet<WorkloadId>>,
    /// Shards whose record may say something else.
    unwritten: BTreeSet<Shard>,
}

impl OwnVotes {
    /// Whether it is believed idle from now on; true if that is news.
    pub(in crate::replica) fn set(&mut self, workload: &WorkloadId, idle: bool) -> bool {
        let shard = Shard::of(workload);
        let voted = self.idle.entry(shard).or_default();
        let changed = if idle { voted.insert(workload.clone()) } else { voted.remove(workload) };
        if voted.is_empty() {
            self.idle.remove(&shard);
        }
        if changed {
            self.unwritten.insert(shard);
        }
        changed
    }

    pub(in crate::replica) fn contains(&self, workload: &WorkloadId) -> bool {
        self.idle.get(&Shard::of(workload)).is_some_and(|voted| voted.contains(workload))
    }

    pub(in crate::replica) fn iter(&self) -> impl Iterator<Item = &WorkloadId> {
        self.idle.values().flatten()
    }

    /// The record of a shard has changed.
    pub(in crate::replica) fn look_at(&mut self, shard: Shard) {
        self.unwritten.insert(shard);
    }

    /// Any record may have changed, or is wanted in another form.
    pub(in crate::replica) fn look_at_all(&mut self) {
        self.unwritten.extend(Shard::all());
    }

    /// The next transaction's writes, on `have`, the own votes as the store has them; none when it has all. `nodes` are
    /// those with a session here. `level` is what all live replicas can read: only then are votes written in shards.
    ///
    /// Watchers see the writes one by one. So that no vote ever counts for a node that it was given without, nodes that are
    /// no longer spoken for are taken back before the votes that this allows, and others are named after the votes
    /// that they forbid.
    pub(in crate::replica) fn writes(
        &mut self,
        have: &Ballot,
        nodes: BTreeMap<String, Revision>,
        level: u32,
        place: &Place,
    ) -> Vec<Write> {
        if level < SHARDED_LEVEL {
            return self.in_one(have, nodes, place);
        }
        let mut writes = Vec::new();
        let known = have.nodes.as_ref().map(|known| &known.record.nodes);
        let kept = known.map(|known| still(known, &nodes));
        let takes_back = known != kept.as_ref();
        if let Some(nodes) = kept.filter(|_| takes_back) {
            writes.push(place.nodes(nodes));
        }
        let whole = self.changed_shards(have, place, &mut writes);
        if whole && !takes_back {
            if known != Some(&nodes) {
                writes.push(place.nodes(nodes));
            }
            writes.extend(have.whole.as_ref().map(|_| Write::Delete(place.whole_key())));
        }
        writes
    }

    /// As many changed shards as a transaction holds; false when some are left.
    fn changed_shards(&mut self, have: &Ballot, place: &Place, writes: &mut Vec<Write>) -> bool {
        let mut bytes = 0;
        let (idle, mut whole) = (&self.idle, true);
        self.unwritten.retain(|shard| {
            let votes = idle.get(shard);
            if votes == have.shard(*shard) {
                return false;
            }
            let write = place.shard(*shard, votes);
            let size = if let Write::Put(_, value, _) = &write { value.len() } else { 0 };
            if writes.len() < MOST_WRITES && (bytes == 0 || bytes + size <= MOST_BYTES) {
                bytes += size;
                writes.push(write);
            } else {
                whole = false;
            }
            true
        });
        whole
    }

    /// The form that every version reads, all at once.
    fn in_one(&self, have: &Ballot, nodes: BTreeMap<String, Revision>, place: &Place) -> Vec<Write> {
        let votes = IdleVotes { workloads: self.iter().cloned().collect(), nodes, unknown: Map::new() };
        let mut writes = Vec::new();
        writes.extend(have.nodes.as_ref().map(|_| Write::Delete(Key::VoteNodes(place.replica.clone()))));
        writes.extend(have.shards.keys().map(|shard| place.shard(*shard, None)));
        if have.whole.as_ref().is_none_or(|known| known.record != votes) {
            writes.push(place.put(place.whole_key(), encode(&votes)));
        }
        writes
    }
}

/// Whose votes they are, and the lease they hang on.
#[derive(Debug)]
pub(in crate::replica) struct Place {
    pub(in crate::replica) replica: ControllerId,
    pub(in crate::replica) lease: LeaseId,
}

impl Place {
    fn put(&self, key: Key, value: Bytes) -> Write {
        Write::Put(key, value, Some(self.lease))
    }

    fn whole_key(&self) -> Key {
        Key::IdleVotes(self.replica.clone())
    }

    fn nodes(&self, nodes: BTreeMap<String, Revision>) -> Write {
        self.put(Key::VoteNodes(self.replica.clone()), encode(&VoteNodes { nodes, unknown: Map::new() }))
    }

    fn shard(&self, shard: Shard, votes: Option<&BTreeSet<WorkloadId>>) -> Write {
        let key = Key::VoteShard(self.replica.clone(), shard);
        match votes.cloned() {
            Some(workloads) => self.put(key, encode(&VoteShard { workloads, unknown: Map::new() })),
            None => Write::Delete(key),
        }
    }
}

/// What of `known` holds still.
fn still(
    known: &BTreeMap<String, Revision>,
    nodes: &BTreeMap<String, Revision>,
) -> BTreeMap<String, Revision> {
    let holds = |(node, at): &(&String, &Revision)| nodes.get(*node) == Some(at);
    known.iter().filter(holds).map(|(node, at)| (node.clone(), *at)).collect()
}
