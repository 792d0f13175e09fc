//! What this replica does for drains, leader or not: asks its nodes for proofs, vouches for them, votes (rules D2-D4, V1-V3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Map;
use zenvoy_shared::id::{DrainId, NodeId, UpstreamId, WorkloadId};

use super::core::{Core, Later};
use super::event::{Cause, Effect, Switch, ToNode};
use super::sessions::{Served, put_leased};
use super::votes::{Ballot, Place};
use crate::execute::{Job, Subject};
use crate::model::{DrainAck, DrainState, Versioned};
use crate::store::{Compare, Key, Txn, Write, encode};

/// Votes are written at most this often: ten thousand services that fall idle at once are a few transactions.
const VOTE_PAUSE: Duration = Duration::from_millis(100);

/// Which nodes were asked for which proof.
#[derive(Debug, Default)]
pub(super) struct Proofs {
    by_workload: BTreeMap<WorkloadId, Asked>,
    by_drain: BTreeMap<DrainId, WorkloadId>,
}

#[derive(Debug)]
struct Asked {
    drain: DrainId,
    upstreams: Vec<UpstreamId>,
    /// Nodes that must apply the switch, or have been asked for proof.
    nodes: BTreeSet<NodeId>,
}

impl Proofs {
    pub(super) fn workload_of(&self, drain: &DrainId) -> Option<WorkloadId> {
        self.by_drain.get(drain).cloned()
    }

    /// The node begins anew: whatever it was asked for, it must be asked again.
    pub(super) fn forget_node(&mut self, node: &NodeId) {
        for asked in self.by_workload.values_mut() {
            asked.nodes.remove(node);
        }
    }

    /// No proof stands any more: every node must be asked again.
    pub(super) fn forget_all(&mut self) {
        self.by_workload.values_mut().for_each(|asked| asked.nodes.clear());
    }

    fn start(&mut self, workload: &WorkloadId, drain: &DrainId, upstreams: &[UpstreamId]) -> &mut Asked {
        if self.by_workload.get(workload).is_none_or(|asked| asked.drain != *drain) {
            self.end(workload);
            self.by_drain.insert(drain.clone(), workload.clone());
        }
        let fresh =
            || Asked { drain: drain.clone(), upstreams: upstreams.to_vec(), nodes: BTreeSet::default() };
        self.by_workload.entry(workload.clone()).or_insert_with(fresh)
    }

    fn end(&mut self, workload: &WorkloadId) -> Option<Asked> {
        let asked = self.by_workload.remove(workload)?;
        self.by_drain.remove(&asked.drain);
        Some(asked)
    }
}

impl Core {
    /// The drain of a workload that nodes must prove quiet for: offered, and not cancelled by a wake.
    fn offered(&self, workload: &WorkloadId) -> Option<DrainId> {
        let view = self.inventory.view(workload);
        if view.open_wake().is_some() || view.is_unreadable {
            return None;
        }
        let drain = view.drain()?;
        (drain.record.state == DrainState::Offered).then(|| drain.record.id.clone())
    }

    /// Asks every served node that was not asked yet, and says what this replica can vouch for now.
    pub(super) fn look_at_proofs(&mut self, workload: &WorkloadId) {
        match self.offered(workload) {
            Some(drain) => self.ask_nodes(workload, &drain),
            None => self.withdraw_proofs(workload),
        }
        self.look(&Subject::Ack(workload.clone()));
    }

    /// Of all drains on offer, and of those that this replica has given its word for.
    pub(super) fn look_at_all_proofs(&mut self) {
        let asked = self.proofs.by_workload.keys();
        let workloads: BTreeSet<WorkloadId> = asked.chain(self.records.acks.keys()).cloned().collect();
        for workload in workloads {
            self.look_at_proofs(&workload);
        }
    }

    fn ask_nodes(&mut self, workload: &WorkloadId, drain: &DrainId) {
        let upstreams = self.upstreams_of(workload);
        let served: Vec<NodeId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.served == Served::Fully)
            .map(|(node, _)| node.clone())
            .collect();
        let asked = self.proofs.start(workload, drain, &upstreams);
        let new: Vec<NodeId> = served.into_iter().filter(|node| asked.nodes.insert(node.clone())).collect();
        for node in new {
            let cause = Cause::Drain(drain.clone());
            let switch = Switch { workload: workload.clone(), upstreams: upstreams.clone(), cause };
            self.effect(Effect::AwaitApplied(node, switch));
        }
    }

    /// Envoy and the proxy of the node have switched: now a proof means something (rule D3).
    pub(super) fn ask_for_proof(&mut self, node: &NodeId, workload: &WorkloadId, drain: &DrainId) {
        let Some(asked) = self.proofs.by_workload.get(workload) else { return };
        if asked.drain != *drain || !asked.nodes.contains(node) {
            return;
        }
        let upstreams = asked.upstreams.clone();
        if let Some(session) = self.sessions.get(node) {
            let message = ToNode::ProveQuiet { drain: drain.clone(), upstreams };
            self.effect(Effect::Tell(node.clone(), session.id, message));
        }
    }

    fn withdraw_proofs(&mut self, workload: &WorkloadId) {
        let Some(asked) = self.proofs.end(workload) else { return };
        self.nodes.forget_drain(&asked.drain);
        for node in asked.nodes {
            if let Some(session) = self.sessions.get(&node) {
                let message = ToNode::WithdrawProof { drain: asked.drain.clone() };
                self.effect(Effect::Tell(node, session.id, message));
            }
        }
    }

    /// Rule D4: this replica's word stands as long as all its nodes are proven quiet, and not a moment longer.
    pub(super) fn acknowledge(&mut self, workload: &WorkloadId) -> Option<Job> {
        let key = Key::DrainAck(workload.clone(), self.options.me.id.clone());
        let have = self.records.acks.get(workload).and_then(|acks| acks.get(&self.options.me.id));
        let drain = self.offered(workload);
        let vouched = drain.as_ref().and_then(|drain| self.nodes.vouched(drain));
        let want = match (drain, vouched) {
            (Some(drain), Some(nodes)) if !nodes.is_empty() => {
                Some(DrainAck { drain, nodes, unknown: Map::new() })
            }
            _ => None,
        };
        let txn = match (want, have) {
            (Some(want), have) if have.is_none_or(|have| have.record != want) => Txn {
                compares: vec![self.still_offered(workload)?],
                writes: vec![put_leased(key, encode(&want), self.lease?)],
            },
            // Until a commit the word can be taken back; after it, the acknowledgement is history.
            (None, Some(_)) => Txn { writes: vec![Write::Delete(key)], ..Txn::default() },
            _ => return None,
        };
        Self::job(Subject::Ack(workload.clone()), txn)
    }

    fn still_offered(&self, workload: &WorkloadId) -> Option<Compare> {
        let drain = self.inventory.view(workload).drain()?.revision;
        Some(Compare::WrittenAt(Key::Drain(workload.clone()), drain))
    }

    // === idleness ===

    pub(super) fn look_at_all_idleness(&mut self) {
        for workload in self.workloads() {
            self.look_at_idleness(&workload);
        }
    }

    pub(super) fn look_at_idleness_of(&mut self, upstreams: &BTreeSet<UpstreamId>) {
        for workload in self.workloads_of(upstreams) {
            self.look_at_idleness(&workload);
        }
    }

    /// A node came: what was idle may not be so on it, and these may be.
    pub(super) fn look_at_votes_and(&mut self, upstreams: &BTreeSet<UpstreamId>) {
        let mut workloads = self.workloads_of(upstreams);
        workloads.extend(self.idle.iter().cloned());
        for workload in workloads {
            self.look_at_idleness(&workload);
        }
    }

    /// Rule V2: votes only for workloads that are up, and idle on all nodes that have their session here. Those whose pods
    /// never became ready are up too: nobody waits for them any more.
    pub(super) fn look_at_idleness(&mut self, workload: &WorkloadId) {
        let view = self.inventory.view(workload);
        let now = self.now.moment;
        let up = view.facts.is_some_and(|facts| facts.replicas > 0);
        let mut idle = up && !view.upstreams.is_empty();
        let mut then = now;
        for upstream in &view.upstreams {
            let after = upstream.facts.spec.idle_after;
            match self.nodes.idle_at(upstream.id, after) {
                Some(at) => then = then.max(at),
                None => idle = false,
            }
            idle &= self.nodes.demanded(upstream.id).is_none();
        }
        if idle && then > now {
            self.later.by(Later::Idle(workload.clone()), then);
            idle = false;
        }
        if self.idle.set(workload, idle) {
            self.look(&Subject::Votes);
            self.report(workload);
        }
    }

    pub(super) fn vote(&mut self) -> Option<Job> {
        let level = self.common_level.filter(|_| self.is_registered())?;
        let place = Place { replica: self.options.me.id.clone(), lease: self.lease? };
        let (nothing, nodes) = (Ballot::default(), self.nodes.registrations());
        let have = self.records.votes.of(&place.replica).unwrap_or(&nothing);
        let writes = self.idle.writes(have, nodes, level, &place);
        if writes.is_empty() {
            return None;
        }
        Self::job(Subject::Votes, Txn { writes, ..Txn::default() })
    }

    pub(super) fn voted(&mut self) {
        self.pause(&Subject::Votes, VOTE_PAUSE);
    }
}

/// The same record in another state.
pub(super) fn with_state<T: Clone>(record: &Versioned<T>, change: impl FnOnce(&mut T)) -> T {
    let mut changed = record.record.clone();
    change(&mut changed);
    changed
}
