//! What a replica does while the store does not answer (rules W4, N2): cold services that its nodes demand wake by the object's
//! version alone, and nodes that arrive get activator routes only. Allocation and drains pause, and go on by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zenvoy_shared::id::{DrainId, NodeId, UpstreamId, WorkloadId};

use super::core::Core;
use super::event::{Effect, Routes, ToNode};
use super::lead::SCALE_PATIENCE;
use super::sessions::Served;
use crate::execute::{Job, Outcome, Subject};
use crate::model::Problem;
use crate::plan::wake::{AloneStep, without_store};
use crate::session::Moment;
use crate::source::ScaleWrite;
use crate::store::LeaseId;

/// A node that no replica could register, and whose proxy relays, finds within this the first that can again.
const NODES_COME: Duration = Duration::from_secs(10);

/// A store that left an intent unanswered is not waited for again within this, unless it answers something.
const SILENCE: Duration = Duration::from_secs(5);

/// Wakes of this replica's own demand that go on without a record. Bounded by what is demanded.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// The store left the intent unanswered, though the own lease still lives.
    unanswered: BTreeSet<WorkloadId>,
    /// Nor would it answer others: until then they do not wait for it.
    silent_until: Moment,
    /// The API server refuses the scale write.
    refused: BTreeMap<WorkloadId, Problem>,
    /// Whose wake waits for the end of a drain, which is told once.
    waiting: BTreeMap<WorkloadId, DrainId>,
    /// The store was away, and there may be nodes that nobody knows until then.
    nodes_come_until: Moment,
}

impl Alone {
    /// Nobody demands the workload any more, or its wake has a record. True when clients were told of a refusal.
    fn forget(&mut self, workload: &WorkloadId) -> bool {
        self.unanswered.remove(workload);
        self.waiting.remove(workload);
        self.refused.remove(workload).is_some()
    }

    /// Nothing is offered before: what runs through a node that came during the outage is not known.
    pub(super) fn no_offer_before(&self) -> Moment {
        self.nodes_come_until
    }

    /// The store has answered.
    pub(super) fn hears(&mut self) {
        self.silent_until = Moment::default();
    }

    pub(super) fn refused(&self, workload: &WorkloadId) -> Option<&Problem> {
        self.refused.get(workload)
    }
}

impl Core {
    /// Whether the store can be written: the own lease lives, and no write was left unanswered of late.
    pub(super) fn has_store(&self) -> bool {
        self.lease.is_some() && self.alone.unanswered.is_empty() && !self.is_silent()
    }

    fn is_silent(&self) -> bool {
        self.alone.silent_until > self.now.moment
    }

    /// The own lease begins or has ended.
    pub(super) fn set_lease(&mut self, lease: Option<LeaseId>) {
        let returns = lease.is_some() && self.lease.is_none() && self.was_registered;
        if returns {
            self.alone.nodes_come_until = self.now.moment.after(NODES_COME);
        }
        if lease.is_some() {
            self.alone.hears();
        }
        self.lease = lease;
        self.look_at_registrations();
        self.look_at_demand();
        self.look_at_all_proofs();
        self.relay_to_waiting();
    }

    /// The store can be written from now on, or no longer.
    fn look_at_demand(&mut self) {
        let demanded: Vec<UpstreamId> = self.nodes.all_demanded().cloned().collect();
        for workload in self.workloads_of(&demanded) {
            self.look(&Subject::Demand(workload.clone()));
            self.report(&workload);
        }
    }

    fn acts_alone(&self, workload: &WorkloadId) -> bool {
        self.lease.is_none() || self.is_silent() || self.alone.unanswered.contains(workload)
    }

    /// Rule W4: the scale write of a demanded workload, when its intent cannot be recorded.
    pub(super) fn wake_alone(&mut self, workload: &WorkloadId) -> Option<Job> {
        if !self.acts_alone(workload) {
            return None;
        }
        match without_store(&self.inventory.view(workload)) {
            AloneStep::Nothing => None,
            AloneStep::AwaitDrain(drain) => {
                if self.alone.waiting.insert(workload.clone(), drain.clone()).as_ref() != Some(&drain) {
                    tracing::warn!(%workload, %drain, "{}", awaits_drain(workload).message);
                    self.report(workload);
                }
                None
            }
            AloneStep::ScaleUp { replicas, resource_version } => {
                tracing::info!(%workload, replicas, "the store does not answer: woken without a record");
                let write = ScaleWrite { replicas, resource_version };
                Some(Job::WakeAlone { workload: workload.clone(), write })
            }
        }
    }

    /// How a job of a demand ended, in what concerns wakes without a record.
    pub(super) fn demanded_on(&mut self, workload: &WorkloadId, outcome: &Outcome) {
        let subject = Subject::Demand(workload.clone());
        match outcome {
            Outcome::StoreFailed(_) => {
                self.alone.unanswered.insert(workload.clone());
                self.alone.silent_until = self.now.moment.after(SILENCE);
                if matches!(without_store(&self.inventory.view(workload)), AloneStep::ScaleUp { .. }) {
                    // Somebody waits: the scale write needs no store.
                    self.pause(&subject, Duration::ZERO);
                }
            }
            Outcome::Scaled(_) => {
                self.timelines.scaled(workload, self.now);
                self.alone_is_refused(workload, None);
                // The watch shows the object soon; before that a second write would be refused by its version.
                self.pause(&subject, SCALE_PATIENCE);
            }
            Outcome::ScaleRefused(problem) => self.alone_is_refused(workload, Some(problem)),
            Outcome::Written(_) => self.end_alone(workload),
            _ => {}
        }
    }

    /// The wake has a record now, or nobody demands it any more.
    pub(super) fn end_alone(&mut self, workload: &WorkloadId) {
        if self.alone.forget(workload) {
            self.publish_endpoints(workload);
        }
    }

    fn alone_is_refused(&mut self, workload: &WorkloadId, problem: Option<&Problem>) {
        let before = match problem {
            Some(problem) => self.alone.refused.insert(workload.clone(), problem.clone()),
            None => self.alone.refused.remove(workload),
        };
        if before.as_ref() != problem {
            self.publish_endpoints(workload);
            self.report(workload);
        }
    }

    /// What keeps demanded connections of a workload waiting though it could be woken, if something does.
    pub(super) fn awaited_drain(&self, workload: &WorkloadId) -> Option<Problem> {
        self.alone.waiting.get(workload).filter(|_| self.acts_alone(workload))?;
        Some(awaits_drain(workload))
    }

    // === nodes (rule N2) ===

    /// Nodes that wait to be registered and cannot be are served all the same, by way of their proxies.
    pub(super) fn relay_to_waiting(&mut self) {
        if self.lease.is_some() || !self.was_registered || !self.published.whole {
            return;
        }
        let waiting = self.sessions.iter().filter(|(_, session)| session.served == Served::NotYet);
        let waiting: Vec<NodeId> = waiting.map(|(node, _)| node.clone()).collect();
        waiting.iter().for_each(|node| self.relay_to(node));
    }

    /// The node gets activator routes only, and the proxy beside its Envoy relays.
    pub(super) fn relay_to(&mut self, node: &NodeId) {
        let may = self.was_registered && self.published.whole;
        let Some(session) = self.sessions.get_mut(node) else { return };
        if !may || session.served != Served::NotYet {
            return;
        }
        session.served = Served::Relayed;
        let id = session.id;
        tracing::warn!(%node, "the store does not answer: the node is served without direct routes until it does");
        self.begin_relay();
        self.effect(Effect::Tell(node.clone(), id, ToNode::Welcome(Routes::Activator)));
    }
}

fn awaits_drain(workload: &WorkloadId) -> Problem {
    Problem {
        reason: "StoreUnavailable".into(),
        message: format!(
            "{workload} was on its way to zero when etcd ceased to answer: it wakes when etcd is back and the drain has \
             ended; bring etcd back"
        ),
    }
}
