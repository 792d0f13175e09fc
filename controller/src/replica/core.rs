//! A replica's mind: facts, records and the words of nodes in; resources, jobs and messages out. No I/O, no clock, no lock:
//! what it does follows from what it was told and `now`.
//!
//! Each [`Subject`] is looked at whenever something it rests on changes, and at most one job runs for it at a time; looking
//! twice at the same state does nothing the second time. So nothing is lost by a job that failed, and a replica that
//! just started does what is left to do.

use std::collections::{BTreeMap, BTreeSet};

use zenvoy_shared::id::{NodeId, UpstreamId, WorkloadId};

use super::due::Due;
use super::event::{Cause, Effect, Event, Now, Resource, SessionId};
use super::publish::Published;
use super::records::Records;
use super::timeline::Timelines;
use super::{CoreOptions, alone, drains, failing, jobs, lead, refused, sessions, unreachable};
use crate::admin::Lacks;
use crate::execute::Subject;
use crate::model::{Fact, Inventory, Revision, Term, Touched};
use crate::session::{Moment, Nodes, Quotas};
use crate::store::{Key, LeaseId, Room};

/// What is to be looked at again later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Later {
    /// What a subject's job should do now.
    Subject(Subject),
    /// Whether a workload has become idle.
    Idle(WorkloadId),
    /// Whether a workload's wake is late.
    Deadline(WorkloadId),
    /// Workloads that wait for their turn to be offered.
    Led,
    /// What nodes refuse may be taken now.
    Refused(Resource),
    /// Structural resources wait to be published together.
    Structure,
}

/// The state of a replica.
#[derive(Debug)]
pub struct Core {
    pub(super) options: CoreOptions,
    pub(super) inventory: Inventory,
    pub(super) records: Records,
    pub(super) watched: Revision,
    pub(super) loaded: bool,
    pub(super) nodes: Nodes,
    pub(super) quotas: Quotas,
    pub(super) sessions: BTreeMap<NodeId, sessions::Session>,
    /// Nodes whose registration the watch has not passed yet.
    pub(super) registering: BTreeSet<(Revision, NodeId)>,
    /// Nodes that said goodbye, each with the start of it that did; this outlives their session.
    pub(super) leaving: BTreeMap<NodeId, zenvoy_shared::id::NodeEpoch>,
    pub(super) term: Option<Term>,
    pub(super) lease: Option<LeaseId>,
    /// The own registration was seen once: this replica may serve, from then on (rule N2).
    pub(super) was_registered: bool,
    pub(super) alone: alone::Alone,
    pub(super) unreachable: unreachable::Unreachable,
    pub(super) idle: super::votes::OwnVotes,
    pub(super) proofs: drains::Proofs,
    pub(super) led: lead::Led,
    pub(super) others: super::others::Others,
    pub(super) mappings: super::ports::Mappings,
    /// Which record forms all live replicas can read.
    pub(super) common_level: Option<u32>,
    pub(super) published: Published,
    pub(super) refused: refused::Refused,
    pub(super) failing: failing::Failing,
    pub(super) timelines: Timelines,
    pub(super) opened: super::opened::Opened,
    pub(super) later: Due<Later>,
    pub(super) now: Now,
    pub(super) work: BTreeMap<Subject, jobs::Work>,
    /// Subjects that wait until the watch has passed a revision.
    pub(super) awaited: BTreeSet<(Revision, Subject)>,
    effects: Vec<Effect>,
}

impl Core {
    /// Knows nothing yet.
    pub fn new(options: CoreOptions) -> Self {
        Self {
            quotas: Quotas::new(options.quota),
            options,
            inventory: Inventory::default(),
            records: Records::default(),
            watched: Revision::default(),
            loaded: false,
            nodes: Nodes::default(),
            sessions: BTreeMap::new(),
            registering: BTreeSet::new(),
            leaving: BTreeMap::new(),
            term: None,
            lease: None,
            was_registered: false,
            alone: alone::Alone::default(),
            unreachable: unreachable::Unreachable::default(),
            idle: super::votes::OwnVotes::default(),
            proofs: drains::Proofs::default(),
            led: lead::Led::default(),
            others: super::others::Others::default(),
            mappings: super::ports::Mappings::default(),
            common_level: None,
            published: Published::default(),
            refused: refused::Refused::default(),
            failing: failing::Failing::default(),
            timelines: Timelines::default(),
            opened: super::opened::Opened::default(),
            later: Due::default(),
            now: Now::default(),
            work: BTreeMap::new(),
            awaited: BTreeSet::new(),
            effects: Vec::new(),
        }
    }

    /// Takes in an event; returns what follows, in order.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Fact(Fact::Started(workload)) => self.timelines.started(&workload, now),
            Event::Fact(Fact::Unready(workload, said)) => self.unready(&workload, said),
            Event::Fact(fact) => {
                let completes = fact == Fact::Complete && !self.inventory.is_complete();
                self.look_at_others(&fact);
                let touched = self.inventory.apply(fact);
                self.settle(touched);
                if completes && self.loaded {
                    self.publish_structure();
                }
            }
            Event::Store(step) => self.store_step(step),
            Event::Said(node, session, said) => self.said(node, session, said),
            Event::Applied(node, switch) => self.applied(&node, &switch),
            Event::Refuses(node, refused) => self.refuses(node, refused),
            Event::Done(done) => self.done(done),
            Event::Leads(term) => self.leads(term),
            Event::Lease(lease) => self.set_lease(lease),
            Event::Tick => {}
        }
        while let Some(later) = self.later.next(now.moment) {
            match later {
                Later::Subject(subject) => self.look(&subject),
                Later::Idle(workload) => {
                    self.look_at_idleness(&workload);
                    self.look(&Subject::Workload(workload.clone()));
                    self.report(&workload);
                }
                Later::Deadline(workload) => {
                    self.look_at_failure(&workload);
                    self.report(&workload);
                }
                Later::Led => self.look_at_led(),
                Later::Refused(resource) => self.offer_again(resource),
                Later::Structure => self.publish_structure(),
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// When [`Event::Tick`] is wanted, if nothing happens before.
    pub fn next_due(&self) -> Option<Moment> {
        self.later.first()
    }

    /// Whether facts and records are loaded, and this replica is registered: it may serve.
    pub fn is_ready(&self) -> bool {
        self.published.whole && self.is_registered()
    }

    /// What keeps this replica from serving.
    pub fn lacks(&self) -> Lacks {
        Lacks {
            facts: !self.inventory.is_complete(),
            records: !self.loaded,
            registration: self.lease.is_none() || !self.is_registered(),
            resources: !self.published.whole,
        }
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// What follows from changed views.
    pub(super) fn settle(&mut self, touched: Touched) {
        if !touched.structure.is_empty() {
            self.structure_changed(&touched.structure);
        }
        for workload in touched.workloads {
            self.look_at_workload(&workload);
        }
    }

    /// Everything that rests on a workload's view, its traffic first.
    pub(super) fn look_at_workload(&mut self, workload: &WorkloadId) {
        self.publish_endpoints(workload);
        self.look_at_timeline(workload);
        self.look_at_opened(workload);
        self.look_at_failure(workload);
        self.look(&Subject::Demand(workload.clone()));
        self.look_at_proofs(workload);
        self.look_at_idleness(workload);
        self.look(&Subject::Workload(workload.clone()));
        self.report(workload);
    }

    /// All that there is: once, when this replica knows enough to act.
    pub(super) fn look_at_everything(&mut self) {
        self.look_at_registrations();
        for workload in self.workloads() {
            self.look_at_workload(&workload);
        }
        self.look(&Subject::Refusals);
        self.look(&Subject::Ports);
    }

    pub(super) fn workloads(&self) -> Vec<WorkloadId> {
        self.inventory.workloads().into_iter().cloned().collect()
    }

    /// The workload of a switch that still stands: a node may answer late.
    fn applied(&mut self, node: &NodeId, switch: &super::event::Switch) {
        match &switch.cause {
            Cause::Drain(drain) => self.ask_for_proof(node, &switch.workload, drain),
            Cause::Wake(episode) => {
                let told = self.timelines.switched(&switch.workload, episode, self.now);
                self.tell_timeline(&switch.workload, told);
            }
        }
    }

    /// The session of a node, if it is this one.
    pub(super) fn is_session(&self, node: &NodeId, id: SessionId) -> bool {
        self.sessions.get(node).is_some_and(|session| session.id == id)
    }

    /// The upstreams on a workload.
    pub(super) fn upstreams_of(&self, workload: &WorkloadId) -> Vec<UpstreamId> {
        self.inventory.view(workload).upstreams.iter().map(|upstream| upstream.id.clone()).collect()
    }

    /// The comparison that every write of the leader carries.
    pub(super) fn guard(term: Term) -> crate::store::Compare {
        crate::store::Compare::WrittenAt(Key::Leader, term.0)
    }

    /// Nothing was registered or removed in these rooms since what this replica has seen.
    pub(super) fn membership_unchanged(&self) -> [crate::store::Compare; 2] {
        [Room::Controllers, Room::Nodes].map(|room| crate::store::Compare::UnchangedSince(room, self.watched))
    }
}
