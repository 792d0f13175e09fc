//! Nodes and this replica's own registration (rules N2-N5): what is written before a node is served, and what a node's
//! words lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Map;
use zenvoy_shared::id::{NodeId, UpstreamId, WorkloadId};

use super::core::{Core, Later};
use super::event::{Effect, Routes, Said, SessionId, ToNode};
use crate::execute::{Job, Subject};
use crate::model::{NodeRecord, PodReference, Revision};
use crate::session::{Activity, Demand, Judged, Refusal};
use crate::store::{Compare, Key, LeaseId, Txn, Write, encode};

/// A node's session with this replica.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The Pod that the node says it lives in.
    pod: Option<PodReference>,
    /// The write of its `nodes/` key, once answered.
    registered: Option<Revision>,
    pub(super) served: Served,
}

/// How far a node is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// It waits for its registration.
    NotYet,
    /// With activator routes only, since it cannot be registered (rule N2).
    Relayed,
    /// The watch has passed its registration: with direct routes (rule N3).
    Fully,
    /// The session is being ended, and another will come.
    Ending,
}

impl Core {
    pub(super) fn said(&mut self, node: NodeId, session: SessionId, said: Said) {
        let Said::Opened { epoch, demand, activity, pod } = said else {
            if self.is_session(&node, session) {
                self.said_in_session(node, session, said);
            }
            return;
        };
        self.begin_session(&node, session, pod);
        let judged = self.judge(&node, demand);
        let moved = self.nodes.open(node.clone(), epoch, judged.demand, activity);
        self.refuse(&node, session, judged.refused);
        self.proofs.forget_node(&node);
        self.look(&Subject::Node(node));
        self.relay_to_waiting();
        self.relay_ends();
        self.demand_changed(&moved.demanded);
        self.look_at_votes_and(&moved.idle);
    }

    /// In the place of the one that the node had here.
    fn begin_session(&mut self, node: &NodeId, id: SessionId, pod: Option<PodReference>) {
        self.leaving.remove(node);
        let begun = Session { id, pod, registered: None, served: Served::NotYet };
        if let Some(old) = self.sessions.insert(node.clone(), begun) {
            self.effect(Effect::Hang(node.clone(), old.id));
        }
    }

    fn said_in_session(&mut self, node: NodeId, session: SessionId, said: Said) {
        match said {
            Said::Demand(demand) => {
                let judged = self.judge(&node, demand);
                let changed = self.nodes.demand(&node, judged.demand);
                self.refuse(&node, session, judged.refused);
                self.demand_changed(&changed);
            }
            Said::Activity(changes) => self.activity_changed(&node, changes),
            Said::Quiet { drain, epoch } => {
                if let Some(workload) = self.proofs.workload_of(&drain) {
                    let upstreams = self.upstreams_of(&workload).into_iter().collect();
                    self.nodes.quiet(&node, &epoch, drain, upstreams);
                    self.look_at_proofs(&workload);
                }
            }
            Said::FirstByte { upstream, held_unix_nanos, first_byte_unix_nanos } => {
                let waited = Duration::from_nanos(first_byte_unix_nanos.saturating_sub(held_unix_nanos));
                for workload in self.workloads_of([&upstream]) {
                    let told = self.timelines.first_byte(&workload, waited);
                    self.tell_timeline(&workload, told);
                }
            }
            Said::Goodbye => {
                if let Some(said) = self.nodes.get(&node) {
                    self.leaving.insert(node.clone(), said.epoch.clone());
                }
                self.look(&Subject::Node(node));
            }
            Said::Closed => self.closed(&node),
            Said::Opened { .. } => {}
        }
    }

    fn activity_changed(&mut self, node: &NodeId, changes: Vec<(UpstreamId, Activity)>) {
        let workloads = self.workloads_of(changes.iter().map(|(upstream, _)| upstream));
        for (upstream, activity) in changes {
            self.nodes.activity(node, &upstream, activity);
        }
        for workload in workloads {
            self.look_at_proofs(&workload);
            self.look_at_idleness(&workload);
        }
    }

    /// What of a node's demand is within its quota.
    fn judge(&mut self, node: &NodeId, said: BTreeMap<UpstreamId, Demand>) -> Judged {
        let (nodes, inventory) = (&self.nodes, &self.inventory);
        let wakes = |upstream: &UpstreamId| {
            let view = inventory.workload_of(upstream).map(|workload| inventory.view(workload));
            view.is_some_and(|view| view.open_wake().is_none() && !view.has_usable())
        };
        self.quotas.judge(node, said, |upstream| nodes.demands(node, upstream), wakes, self.now.moment)
    }

    fn refuse(&mut self, node: &NodeId, session: SessionId, refused: BTreeMap<UpstreamId, Refusal>) {
        self.nodes.over_quota(node, refused.keys().cloned().collect());
        if let Some(refusal) = refused.values().next() {
            tracing::warn!(%node, count = refused.len(), reason = refusal.reason(), "demand is refused: {refusal}");
            self.effect(Effect::Tell(node.clone(), session, ToNode::Refuse(refused)));
        }
    }

    fn closed(&mut self, node: &NodeId) {
        if let Some(session) = self.sessions.remove(node) {
            self.effect(Effect::Hang(node.clone(), session.id));
        }
        self.relay_ends();
        self.refuses(node.clone(), BTreeMap::new());
        let moved = self.nodes.close(node);
        self.proofs.forget_node(node);
        self.look(&Subject::Votes);
        self.demand_changed(&moved.demanded);
        self.look_at_all_proofs();
        if self.nodes.is_empty() {
            // Nobody keeps anything up here any more.
            self.look_at_all_idleness();
        } else {
            self.look_at_idleness_of(&moved.idle);
        }
    }

    pub(super) fn workloads_of<'a>(
        &self,
        upstreams: impl IntoIterator<Item = &'a UpstreamId>,
    ) -> BTreeSet<WorkloadId> {
        upstreams.into_iter().filter_map(|upstream| self.inventory.workload_of(upstream).cloned()).collect()
    }

    fn demand_changed(&mut self, upstreams: &BTreeSet<UpstreamId>) {
        for workload in self.workloads_of(upstreams) {
            self.look(&Subject::Demand(workload.clone()));
            self.look_at_proofs(&workload);
            self.look_at_idleness(&workload);
        }
    }

    /// What can be registered or voted for has changed: this replica, and the nodes with a session here.
    pub(super) fn look_at_registrations(&mut self) {
        self.look(&Subject::Registration);
        let nodes: Vec<NodeId> = self.sessions.keys().cloned().collect();
        for node in nodes {
            self.look(&Subject::Node(node));
        }
        self.look(&Subject::Votes);
    }

    /// This replica is known to the others and may serve (rule N2).
    pub(super) fn is_registered(&self) -> bool {
        self.records.controllers.contains_key(&self.options.me.id)
    }

    /// The own registration, on the own lease.
    pub(super) fn register(&mut self) -> Option<Job> {
        let lease = self.lease?;
        if self.is_registered() {
            return None;
        }
        let key = Key::Controller(self.options.me.id.clone());
        let writes = vec![put_leased(key, encode(&self.options.me), lease)];
        Self::job(Subject::Registration, Txn { writes, ..Txn::default() })
    }

    /// A node's record: written anew at each session, so that no acknowledgement given for an earlier one counts.
    pub(super) fn register_node(&mut self, node: &NodeId) -> Option<Job> {
        let key = Key::Node(node.clone());
        if let Some(gone) = self.leaving.get(node) {
            // Rule N4: its own word is proof that it is gone, unless it came back meanwhile.
            if let Some(record) = self.records.nodes.get(node).filter(|record| record.record.epoch == *gone) {
                let compares = vec![Compare::WrittenAt(key.clone(), record.revision)];
                let txn = Txn { compares, writes: vec![Write::Delete(key)] };
                return Self::job(Subject::Node(node.clone()), txn);
            }
            self.leaving.remove(node);
            if let Some(session) = self.sessions.get(node).map(|session| session.id) {
                self.effect(Effect::Hang(node.clone(), session));
            }
            return None;
        }
        let session = self.sessions.get(node)?;
        if session.registered.is_some() || !self.is_ready() || self.lease.is_none() {
            return None;
        }
        let epoch = self.nodes.get(node)?.epoch.clone();
        let (controller, pod) = (self.options.me.id.clone(), session.pod.clone());
        let record = NodeRecord { epoch, controller, pod, unknown: Map::new() };
        Some(Job::Register { node: node.clone(), record })
    }

    /// A node's record was written; it counts only if it says what the session of now says.
    pub(super) fn registered(&mut self, node: &NodeId, revision: Revision) {
        if self.leaving.contains_key(node) {
            return;
        }
        let Some(session) = self.sessions.get_mut(node) else { return };
        let (Some(record), Some(said)) = (self.records.nodes.get(node), self.nodes.get(node)) else { return };
        if record.revision == revision && record.record.epoch == said.epoch {
            session.registered = Some(revision);
            self.registering.insert((revision, node.clone()));
            self.nodes.register(node, revision);
            self.look(&Subject::Votes);
            self.welcome();
        }
    }

    /// Serves the nodes whose registration the watch has passed (rule N3). One that was served without direct routes
    /// begins anew: its streams are of another group.
    pub(super) fn welcome(&mut self) {
        while let Some((revision, node)) = self.registering.pop_first() {
            if revision > self.watched {
                self.registering.insert((revision, node));
                return;
            }
            let Some(session) = self.sessions.get_mut(&node) else { continue };
            if session.registered != Some(revision) {
                continue;
            }
            session.served = match session.served {
                Served::NotYet => Served::Fully,
                Served::Relayed => Served::Ending,
                Served::Fully | Served::Ending => continue,
            };
            let (session, served) = (session.id, session.served);
            if served == Served::Fully {
                tracing::info!(%node, "the node is registered and served");
                self.effect(Effect::Tell(node, session, ToNode::Welcome(Routes::Direct)));
                self.look_at_all_proofs();
            } else {
                tracing::info!(%node, "the store answers again: the node begins anew, with direct routes");
                self.effect(Effect::Hang(node, session));
            }
        }
    }

    /// What was published for nodes without direct routes goes with the last of them.
    fn relay_ends(&mut self) {
        let relays = |session: &Session| matches!(session.served, Served::Relayed | Served::Ending);
        if self.published.relays && !self.sessions.values().any(relays) {
            self.end_relay();
        }
    }

    /// A replica or node came or went, or a replica voted.
    pub(super) fn membership_changed(&mut self, key: &Key) {
        let level = self.records.common_level();
        if std::mem::replace(&mut self.common_level, level) != level {
            tracing::info!(level, "this is the protocol level of all live replicas");
            self.idle.look_at_all();
            self.look(&Subject::Votes);
            self.later.by(Later::Structure, self.now.moment);
        }
        match key {
            Key::Controller(id) if *id == self.options.me.id => {
                self.was_registered |= self.is_registered();
                self.look_at_registrations();
            }
            Key::VoteShard(id, shard) if *id == self.options.me.id => {
                self.idle.look_at(*shard);
                self.look(&Subject::Votes);
            }
            Key::IdleVotes(id) | Key::VoteNodes(id) if *id == self.options.me.id => {
                self.look(&Subject::Votes);
            }
            Key::Node(_) => self.look_at_own_node(key),
            _ => {}
        }
        self.look_at_count(key);
    }

    /// What follows from another count of the votes, and from other nodes or replicas.
    fn look_at_count(&mut self, key: &Key) {
        let news = self.records.votes.take_news();
        if news.spoken {
            self.look_at_unreachable();
        }
        if self.term.is_none() {
            return;
        }
        if news.spoken || matches!(key, Key::Controller(_) | Key::Node(_)) {
            self.look_at_led();
        }
        for workload in news.workloads {
            self.look(&Subject::Workload(workload));
        }
    }

    /// Someone else removed or took over the record of a node that has its session here: it is written again.
    fn look_at_own_node(&mut self, key: &Key) {
        let Key::Node(node) = key else { return };
        let mine =
            self.records.nodes.get(node).is_some_and(|record| record.record.controller == self.options.me.id);
        let leaving = self.leaving.contains_key(node);
        if let Some(session) = self.sessions.get(node)
            && session.registered.is_some()
            && !mine
            && !leaving
        {
            let id = session.id;
            self.effect(Effect::Hang(node.clone(), id));
        }
    }
}

/// A record that ends with the lease.
pub(super) fn put_leased(key: Key, value: bytes::Bytes, lease: LeaseId) -> Write {
    Write::Put(key, value, Some(lease))
}
