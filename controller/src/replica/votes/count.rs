//! The count over all live replicas, kept while votes, replicas and nodes come and go: each change costs what it
//! changes, and not what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use zenvoy_shared::id::{ControllerId, NodeId, WorkloadId};

use super::Ballot;
use crate::model::{IdleVotes, Revision, Shard, Versioned, VoteNodes, VoteShard};
use crate::store::Key;

/// One record of a replica's votes.
#[derive(Debug)]
pub(in crate::replica) enum Cast {
    /// All in one.
    Whole(IdleVotes),
    /// Those on the workloads of a shard.
    Shard(Shard, VoteShard),
    /// Whom they speak for.
    Nodes(VoteNodes),
}

/// The votes of all.
#[derive(Debug, Default)]
pub(in crate::replica) struct Votes {
    live: BTreeSet<ControllerId>,
    nodes: BTreeMap<NodeId, Revision>,
    ballots: BTreeMap<ControllerId, Ballot>,
    /// Every live replica votes for these.
    unanimous: BTreeSet<WorkloadId>,
    /// No live replica speaks for these.
    unspoken: BTreeSet<NodeId>,
    news: News,
}

/// What has changed since it was asked for last.
#[derive(Debug, Default)]
pub(in crate::replica) struct News {
    /// Workloads that all vote for now, or no longer do.
    pub(in crate::replica) workloads: BTreeSet<WorkloadId>,
    /// Some node is spoken for now, or no longer is.
    pub(in crate::replica) spoken: bool,
}

impl Votes {
    pub(in crate::replica) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// The votes of one replica.
    pub(in crate::replica) fn of(&self, replica: &ControllerId) -> Option<&Ballot> {
        self.ballots.get(replica)
    }

    /// Whether every live replica votes that the workload is up and idle.
    pub(in crate::replica) fn all_vote_idle(&self, workload: &WorkloadId) -> bool {
        self.unanimous.contains(workload)
    }

    /// The next workload after `last` that all vote for.
    pub(in crate::replica) fn next_idle(&self, last: Option<&WorkloadId>) -> Option<&WorkloadId> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.unanimous.range((after, Bound::Unbounded)).next()
    }

    /// Whether the votes of live replicas speak for every node that counts, as it is registered now. Of a node whose
    /// session no replica has (it moves, or the replica was just restarted) nothing is known, and unknown is not idle.
    pub(in crate::replica) fn speak_for_all_nodes(&self) -> bool {
        self.unspoken.is_empty()
    }

    /// The nodes that count and that no live replica speaks for as they are registered now.
    pub(in crate::replica) fn unspoken_for(&self) -> &BTreeSet<NodeId> {
        &self.unspoken
    }

    /// Every node that counts, with its registration.
    pub(in crate::replica) fn nodes(&self) -> &BTreeMap<NodeId, Revision> {
        &self.nodes
    }

    /// The keys of all vote records.
    pub(in crate::replica) fn keys(&self) -> impl Iterator<Item = Key> {
        self.ballots.iter().flat_map(|(id, ballot)| {
            let whole = ballot.whole.iter().map(|_| Key::IdleVotes(id.clone()));
            let nodes = ballot.nodes.iter().map(|_| Key::VoteNodes(id.clone()));
            let shards = ballot.shards.keys().map(|shard| Key::VoteShard(id.clone(), *shard));
            whole.chain(nodes).chain(shards)
        })
    }

    // === replicas and nodes ===

    /// A replica lives.
    pub(in crate::replica) fn joins(&mut self, replica: &ControllerId) {
        if !self.live.insert(replica.clone()) {
            return;
        }
        let before: Vec<WorkloadId> = match self.live.len() {
            1 => self.voted_by(replica),
            _ => self.unanimous.iter().cloned().collect(),
        };
        self.count(before);
        self.listen(self.spoken_by(replica));
    }

    /// A replica is gone.
    pub(in crate::replica) fn leaves(&mut self, replica: &ControllerId) {
        if !self.live.remove(replica) {
            return;
        }
        let any = self.live.first().map(|other| self.voted_by(other));
        self.count(any.unwrap_or_else(|| self.unanimous.iter().cloned().collect()));
        self.listen(self.spoken_by(replica));
    }

    /// A node is registered at this revision, or counts no more.
    pub(in crate::replica) fn node(&mut self, node: &NodeId, at: Option<Revision>) {
        match at {
            Some(at) => drop(self.nodes.insert(node.clone(), at)),
            None => drop(self.nodes.remove(node)),
        }
        self.listen([node.clone()]);
    }

    fn voted_by(&self, replica: &ControllerId) -> Vec<WorkloadId> {
        self.ballots.get(replica).into_iter().flat_map(Ballot::workloads).cloned().collect()
    }

    fn spoken_by(&self, replica: &ControllerId) -> Vec<NodeId> {
        let nodes = self.ballots.get(replica).and_then(Ballot::nodes);
        nodes.into_iter().flatten().map(|(node, _)| NodeId(node.clone())).collect()
    }

    // === votes ===

    /// A replica wrote one of its vote records; true if that is news.
    pub(in crate::replica) fn cast(
        &mut self,
        replica: &ControllerId,
        cast: Cast,
        revision: Revision,
    ) -> bool {
        let ballot = self.ballots.entry(replica.clone()).or_default();
        let (workloads, nodes): (Vec<WorkloadId>, Vec<NodeId>) = match cast {
            Cast::Whole(record) if newer(ballot.whole.as_ref(), revision) => {
                let old = ballot.whole.take().map(|known| known.record).unwrap_or_default();
                let changed = (unlike(&old.workloads, &record.workloads), moved(&old.nodes, &record.nodes));
                ballot.whole = Some(Versioned { record, revision });
                changed
            }
            Cast::Shard(shard, record) if newer(ballot.shards.get(&shard), revision) => {
                let old = ballot.shards.get(&shard).map(|known| known.record.workloads.clone());
                let changed = unlike(&old.unwrap_or_default(), &record.workloads);
                ballot.shards.insert(shard, Versioned { record, revision });
                (changed, Vec::new())
            }
            Cast::Nodes(record) if newer(ballot.nodes.as_ref(), revision) => {
                let old = ballot.nodes().cloned().unwrap_or_default();
                // The first says that the votes in shards are whole.
                let first = ballot.nodes.is_none();
                let workloads = ballot.workloads().filter(|_| first).cloned().collect();
                let changed = moved(&old, &record.nodes);
                ballot.nodes = Some(Versioned { record, revision });
                (workloads, changed)
            }
            Cast::Whole(_) | Cast::Shard(..) | Cast::Nodes(_) => return false,
        };
        self.count(workloads);
        self.listen(nodes);
        true
    }

    /// A vote record is gone, unless it was written after `revision`; true if that is news.
    pub(in crate::replica) fn withdraw(&mut self, key: &Key, revision: Revision) -> bool {
        let (Key::IdleVotes(replica) | Key::VoteShard(replica, _) | Key::VoteNodes(replica)) = key else {
            return false;
        };
        let Some(ballot) = self.ballots.get_mut(replica) else { return false };
        let (mut workloads, mut nodes) = (Vec::new(), Vec::new());
        let gone = match key {
            Key::VoteShard(_, shard) => {
                let known = ballot.shards.get(shard).is_some_and(|known| known.revision <= revision);
                let gone = known.then(|| ballot.shards.remove(shard)).flatten();
                workloads.extend(gone.iter().flat_map(|gone| &gone.record.workloads).cloned());
                gone.is_some()
            }
            _ => {
                let before = ballot.nodes().cloned().unwrap_or_default();
                workloads.extend(ballot.workloads().cloned());
                let gone = match key {
                    Key::VoteNodes(_) => ballot.nodes.take_if(|known| known.revision <= revision).is_some(),
                    _ => ballot.whole.take_if(|known| known.revision <= revision).is_some(),
                };
                nodes = moved(&before, ballot.nodes().unwrap_or(&BTreeMap::new()));
                gone
            }
        };
        if ballot.is_empty() {
            self.ballots.remove(replica);
        }
        if gone {
            self.count(workloads);
            self.listen(nodes);
        }
        gone
    }

    // === the count ===

    fn count(&mut self, workloads: impl IntoIterator<Item = WorkloadId>) {
        for workload in workloads {
            let shard = Shard::of(&workload);
            let votes = |id| self.ballots.get(id).is_some_and(|ballot| ballot.is_idle(&workload, shard));
            let all = !self.live.is_empty() && self.live.iter().all(votes);
            let known = self.unanimous.contains(&workload);
            if all == known {
                continue;
            }
            if all {
                self.unanimous.insert(workload.clone());
            } else {
                self.unanimous.remove(&workload);
            }
            self.news.workloads.insert(workload);
        }
    }

    /// Whether these nodes are spoken for.
    fn listen(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        for node in nodes {
            let silent = self.nodes.get(&node).is_some_and(|at| {
                let speaks = |id| {
                    let spoken = self.ballots.get(id).and_then(Ballot::nodes);
                    spoken.is_some_and(|nodes| nodes.get(&node.0) == Some(at))
                };
                !self.live.iter().any(speaks)
            });
            self.news.spoken |= if silent { self.unspoken.insert(node) } else { self.unspoken.remove(&node) };
        }
    }
}

fn newer<T>(known: Option<&Versioned<T>>, revision: Revision) -> bool {
    known.is_none_or(|known| known.revision < revision)
}

/// What is in one of the two only.
fn unlike(old: &BTreeSet<WorkloadId>, new: &BTreeSet<WorkloadId>) -> Vec<WorkloadId> {
    old.symmetric_difference(new).cloned().collect()
}

/// The nodes that only one of the two speaks for, or as registered at another time.
fn moved(old: &BTreeMap<String, Revision>, new: &BTreeMap<String, Revision>) -> Vec<NodeId> {
    let left = old.iter().filter(|(node, at)| new.get(*node) != Some(at));
    let came = new.iter().filter(|(node, at)| old.get(*node) != Some(at));
    let nodes: BTreeSet<&String> = left.chain(came).map(|(node, _)| node).collect();
    nodes.into_iter().map(|node| NodeId(node.clone())).collect()
}
