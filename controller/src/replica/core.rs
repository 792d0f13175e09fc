//! A replica's mind: facts, records and the words of nodes in; resources, jobs and messages out. No I/O, no clock, no lock:
//! what it does follows from what it was told and `now`.
//!
//! Each [`Subject`] is looked at whenever something it rests on changes, and at most one job runs for it at a time; looking
//! twice at the same state does nothing the second time. So nothing is lost by a job that failed, and a replica that
//! just started does what is left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zenvoy_shared::id::{NodeId, UpstreamId, WorkloadId};

use super::due::Due;
use super::event::{Cause, Effect, Event, Now, SessionId};
use super::publish::Published;
use super::records::Records;
use super::timeline::Timelines;
use super::{CoreOptions, drains, lead, sessions};
use crate::admin::Lacks;
use crate::execute::{Job, JobDone, Outcome, Subject};
use crate::model::{Fact, Inventory, Revision, Term, Touched};
use crate::plan::wake::retry_after;
use crate::session::{Moment, Nodes, Quotas};
use crate::store::{Key, LeaseId, Room, Txn, WatchEvent};

/// How long a subject waits for the watch to show why a comparison failed.
const WATCH_PATIENCE: Duration = Duration::from_millis(250);

/// From one episode of a workload to the next, as this replica opens them.
const EPISODE_PAUSE: Duration = Duration::from_secs(1);

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
    /// Structural resources wait to be published together.
    Structure,
}

/// A subject that has run, runs, or must not run yet.
#[derive(Debug, Default)]
pub(super) struct Work {
    running: bool,
    failures: u32,
    pub(super) not_before: Moment,
    /// The watch must have passed this before it is worth looking again; `not_before` ends the wait all the same.
    pub(super) after: Option<Revision>,
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
    /// Nodes that said goodbye, each with the start of it that did; this outlives their session.
    pub(super) leaving: BTreeMap<NodeId, zenvoy_shared::id::NodeEpoch>,
    pub(super) term: Option<Term>,
    pub(super) lease: Option<LeaseId>,
    pub(super) idle: BTreeSet<WorkloadId>,
    pub(super) proofs: drains::Proofs,
    pub(super) led: lead::Led,
    pub(super) others: super::others::Others,
    pub(super) rests: super::ports::Rests,
    /// Which record forms all live replicas can read.
    pub(super) common_level: Option<u32>,
    pub(super) published: Published,
    pub(super) timelines: Timelines,
    pub(super) later: Due<Later>,
    pub(super) now: Now,
    pub(super) work: BTreeMap<Subject, Work>,
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
            leaving: BTreeMap::new(),
            term: None,
            lease: None,
            idle: BTreeSet::new(),
            proofs: drains::Proofs::default(),
            led: lead::Led::default(),
            others: super::others::Others::default(),
            rests: super::ports::Rests::default(),
            common_level: None,
            published: Published::default(),
            timelines: Timelines::default(),
            later: Due::default(),
            now: Now::default(),
            work: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// Takes in an event; returns what follows, in order.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Fact(Fact::Started(workload)) => self.timelines.started(&workload, now),
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
            Event::Done(done) => self.done(done),
            Event::Leads(term) => self.leads(term),
            Event::Lease(lease) => {
                self.lease = lease;
                self.look_at_everything();
            }
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
            registration: !self.is_registered(),
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
        self.look_at_failure(workload);
        self.look(&Subject::Demand(workload.clone()));
        self.look_at_proofs(workload);
        self.look_at_idleness(workload);
        self.look(&Subject::Workload(workload.clone()));
        self.report(workload);
    }

    pub(super) fn look_at_everything(&mut self) {
        self.look(&Subject::Registration);
        let nodes: Vec<NodeId> = self.sessions.keys().cloned().collect();
        for node in nodes {
            self.look(&Subject::Node(node));
        }
        let workloads: Vec<WorkloadId> = self.inventory.workloads().into_iter().cloned().collect();
        for workload in workloads {
            self.look_at_workload(&workload);
        }
        self.look(&Subject::Votes);
        self.look(&Subject::Ports);
    }

    // === jobs ===

    /// What should a subject's job do now? Nothing while one runs, or while it waits after a failure.
    pub(super) fn look(&mut self, subject: &Subject) {
        if let Some(work) = self.work.get(subject) {
            if work.running {
                return;
            }
            if work.not_before > self.now.moment {
                self.later.by(Later::Subject(subject.clone()), work.not_before);
                return;
            }
        }
        if !self.loaded {
            return;
        }
        let job = match subject {
            Subject::Node(node) => self.register_node(node),
            Subject::Registration => self.register(),
            Subject::Demand(workload) => self.open_wake(workload),
            Subject::Ack(workload) => self.acknowledge(workload),
            Subject::Votes => self.vote(),
            Subject::Ports => self.map_ports(),
            Subject::Workload(workload) => self.lead(workload),
        };
        match job {
            Some(job) => {
                self.work.entry(subject.clone()).or_default().running = true;
                self.effect(Effect::Start(job));
            }
            None => {
                // Nothing left to do: nothing is kept of it either.
                self.work.remove(subject);
            }
        }
    }

    pub(super) fn is_running(&self, subject: &Subject) -> bool {
        self.work.get(subject).is_some_and(|work| work.running)
    }

    /// A job about `subject` that is one transaction.
    pub(super) fn job(subject: Subject, txn: Txn) -> Option<Job> {
        Some(Job::Write { subject, txn })
    }

    fn done(&mut self, done: JobDone) {
        let JobDone { subject, outcome, written } = done;
        let now = self.now.moment;
        let work = self.work.entry(subject.clone()).or_default();
        work.running = false;
        work.after = None;
        match &outcome {
            Outcome::Written(_) | Outcome::Scaled(_) => {
                work.failures = 0;
                work.not_before = Moment::default();
            }
            Outcome::Refused(revision) => {
                work.after = (*revision > self.watched).then_some(*revision);
                work.not_before = now.after(WATCH_PATIENCE);
                if work.after.is_none() {
                    work.failures = work.failures.saturating_add(1);
                    work.not_before = now.after(retry_after(work.failures));
                }
            }
            // The watch will show the change; a conflict is no reason to hurry.
            Outcome::Conflict => work.not_before = now.after(WATCH_PATIENCE),
            Outcome::NotYet => {
                work.failures = work.failures.saturating_add(1);
                work.not_before = now.after(retry_after(work.failures.min(4)));
            }
            Outcome::LeaseEnded
            | Outcome::StoreFailed(_)
            | Outcome::ScaleRefused(_)
            | Outcome::ScaleFailed(_) => {
                work.failures = work.failures.saturating_add(1);
                work.not_before = now.after(retry_after(work.failures.saturating_sub(1)));
            }
        }
        self.log(&subject, &outcome);
        let watched = self.watched;
        let mut touched = Touched::default();
        // What the watch has passed already is older than what it brought.
        for step in written.into_iter().filter(|step| step.revision() > watched) {
            touched.merge(match step {
                WatchEvent::Put(entry) => self.put(entry),
                WatchEvent::Deleted(key, revision) => self.deleted(&key, revision),
                WatchEvent::Resync(_) => Touched::default(),
            });
        }
        self.follow_up(&subject, &outcome);
        self.settle(touched);
        self.look(&subject);
    }

    /// What a job's end means beyond what it wrote.
    fn follow_up(&mut self, subject: &Subject, outcome: &Outcome) {
        match (subject, outcome) {
            (Subject::Node(node), Outcome::Written(revision)) => self.registered(node, *revision),
            (Subject::Votes, Outcome::Written(_)) => self.voted(),
            // A view that lags behind a retired wake must not open the next at the speed of light.
            (Subject::Demand(_), Outcome::Written(_)) => self.pause(subject, EPISODE_PAUSE),
            (Subject::Workload(workload), outcome) => self.led_on(workload, outcome),
            _ => {}
        }
    }

    pub(super) fn pause(&mut self, subject: &Subject, pause: Duration) {
        let until = self.now.moment.after(pause);
        self.work.entry(subject.clone()).or_default().not_before = until;
    }

    fn log(&self, subject: &Subject, outcome: &Outcome) {
        match outcome {
            Outcome::StoreFailed(error) | Outcome::ScaleFailed(error) => {
                tracing::warn!(?subject, error, "it is tried again");
            }
            Outcome::ScaleRefused(problem) => {
                tracing::warn!(?subject, reason = problem.reason, "refused: {}", problem.message);
            }
            outcome => tracing::debug!(?subject, ?outcome, "done"),
        }
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
