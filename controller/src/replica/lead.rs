//! What the leader does for one workload: the plan's next step becomes a job. In: the plan; out: at most one job at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zenvoy_shared::id::{DrainId, NodeId, UpstreamId, WorkloadId};

use super::core::{Core, Later};
use super::drains::with_state;
use super::event::Effect;
use crate::execute::{Commit, Decided, Job, Outcome, Subject};
use crate::model::{
    DrainRecord, DrainState, Problem, Revision, Term, Versioned, WakeRecord, WakeState, WorkloadView,
};
use crate::plan::drain::{DrainStep, OFFER_DEADLINE, Surroundings};
use crate::plan::wake::WakeStep;
use crate::plan::{drain, wake};
use crate::session::Moment;
use crate::source::ScaleWrite;
use crate::store::{Compare, Key, Txn, Write, encode};

/// How long the watch may take to show what a scale write did before the object is looked at again.
const SCALE_PATIENCE: Duration = Duration::from_secs(2);
/// The first pause after an offer that failed for another reason than traffic; it doubles up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_secs(5);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// What the leader remembers of workloads beside their records.
#[derive(Debug, Default)]
pub(super) struct Led {
    workloads: BTreeMap<WorkloadId, Memory>,
    /// Workloads with a drain on offer: only a few at once (rule D1).
    offered: BTreeSet<WorkloadId>,
    /// Workloads with a drain on offer or committed.
    draining: BTreeSet<WorkloadId>,
    /// Workloads whose open wake does not go on, with the reason that was told last.
    pub(super) failing: BTreeMap<WorkloadId, String>,
    /// Upstreams whose configuration asks for what is not there, with what was told last.
    pub(super) unserved: BTreeMap<UpstreamId, Problem>,
}

#[derive(Debug, Default)]
struct Memory {
    /// A scale write was answered for this version of the object; nothing is scaled before another is seen.
    scaled_from: Option<(String, Moment)>,
    /// A refusal that must be recorded, and when the next try is worth it.
    refusal: Option<Problem>,
    no_scale_before: Moment,
    /// The offer that is known, and since when.
    offer: Option<(DrainId, Moment)>,
    /// Offers that failed in a row, and when the next may be made.
    failed_offers: u32,
    no_offer_before: Moment,
}

impl Core {
    /// This replica leads, or does not any more.
    pub(super) fn leads(&mut self, term: Option<Term>) {
        self.term = term;
        self.led = Led::default();
        self.effect(Effect::Leading(term.is_some()));
        if let Some(term) = term {
            tracing::info!(term = term.0.0, "leading");
            // On taking over, the whole plan runs once over everything.
            self.look_at_everything();
        } else {
            tracing::info!("not leading");
        }
    }

    /// Someone took the term over: every write of ours would be refused (section 6).
    pub(super) fn leader_changed(&mut self) {
        let current = self.records.leader.as_ref().map(|leader| leader.revision);
        if let Some(term) = self.term
            && current.is_none_or(|current| current > term.0)
            && self.records.leader.as_ref().is_none_or(|leader| leader.record.id != self.options.me.id)
        {
            tracing::warn!(term = term.0.0, "another replica leads now");
            self.term = None;
            self.led = Led::default();
            self.effect(Effect::Leading(false));
        }
    }

    /// Workloads whose drain depends on votes, nodes and replicas.
    pub(super) fn look_at_led(&mut self) {
        if self.term.is_none() {
            return;
        }
        let votes = self.records.votes.values();
        let voted = votes.flat_map(|votes| votes.record.workloads.iter().cloned());
        let mut workloads: BTreeSet<WorkloadId> = voted.collect();
        workloads.extend(self.led.offered.iter().cloned());
        for workload in workloads {
            self.look(&Subject::Workload(workload));
        }
    }

    /// The next step of a workload's wake, else of its drain: wakes have priority.
    pub(super) fn lead(&mut self, workload: &WorkloadId) -> Option<Job> {
        let term = self.term?;
        if !self.inventory.is_complete() {
            return None;
        }
        let view = self.inventory.view(workload);
        if view.is_unreadable {
            return None;
        }
        if view.facts.is_none() {
            return self.forget(workload, term);
        }
        let abandoned = view.open_wake().is_some() && self.is_idle_everywhere(workload);
        let wake = wake::next(&view, abandoned, self.now.unix_ms());
        if wake != WakeStep::Nothing {
            return self.lead_wake(workload, wake, term);
        }
        self.lead_drain(workload, term)
    }

    /// Rule G5: the records of a workload that exists no more, and that nothing refers to, go.
    fn forget(&mut self, workload: &WorkloadId, term: Term) -> Option<Job> {
        self.led.workloads.remove(workload);
        self.free_slot(workload);
        self.led.failing.remove(workload);
        self.others.forget(workload);
        let view = self.inventory.view(workload);
        let wake = view.wake_record.map(|wake| (Key::Wake(workload.clone()), wake.revision));
        let drain = view.drain_record.map(|drain| (Key::Drain(workload.clone()), drain.revision));
        let records: Vec<(Key, Revision)> = wake.into_iter().chain(drain).collect();
        if records.is_empty() || !view.upstreams.is_empty() {
            return None;
        }
        let compares = records.iter().map(|(key, at)| Compare::WrittenAt(key.clone(), *at));
        let txn = Txn {
            compares: compares.chain([Self::guard(term)]).collect(),
            writes: records.iter().map(|(key, _)| Write::Delete(key.clone())).collect(),
        };
        Self::job(Subject::Workload(workload.clone()), txn)
    }

    // === wake ===

    fn lead_wake(&mut self, workload: &WorkloadId, step: WakeStep, term: Term) -> Option<Job> {
        let view = self.inventory.view(workload);
        let wake = view.open_wake()?;
        if let Some(problem) = self.led.workloads.get_mut(workload).and_then(|led| led.refusal.take()) {
            let record = with_state(wake, |record| {
                record.attempts = record.attempts.saturating_add(1);
                record.last_error = Some(problem);
            });
            return Self::write_wake(workload, wake.revision, &record, term);
        }
        match step {
            WakeStep::Nothing => None,
            WakeStep::ScaleUp { replicas, resource_version, .. } => {
                self.scale(workload, &resource_version.clone(), |resource_version| {
                    Decided::ScaleUp(ScaleWrite { replicas, resource_version })
                })
            }
            WakeStep::RecordScaled { at } => {
                let record = with_state(wake, |record| {
                    record.state = WakeState::Scaled;
                    record.attempts = record.attempts.saturating_add(1);
                    record.last_error = None;
                });
                Self::write_wake(workload, at, &record, term)
            }
            WakeStep::Retire { at, endpoints } => {
                let record = with_state(wake, |record| {
                    record.state = WakeState::Retired;
                    record.last_error = None;
                    record.endpoints = endpoints;
                });
                Self::write_wake(workload, at, &record, term)
            }
            WakeStep::GiveUp { at } => {
                let record = with_state(wake, |record| record.state = WakeState::Retired);
                Self::write_wake(workload, at, &record, term)
            }
        }
    }

    fn write_wake(workload: &WorkloadId, at: Revision, record: &WakeRecord, term: Term) -> Option<Job> {
        let key = Key::Wake(workload.clone());
        let txn = Txn {
            compares: vec![Self::guard(term), Compare::WrittenAt(key.clone(), at)],
            writes: vec![Write::Put(key, encode(record), None)],
        };
        Self::job(Subject::Workload(workload.clone()), txn)
    }

    /// A scale write on `resource_version`, unless one was answered for it just now.
    fn scale(
        &mut self,
        workload: &WorkloadId,
        resource_version: &str,
        decided: impl FnOnce(String) -> Decided,
    ) -> Option<Job> {
        let led = self.led.workloads.entry(workload.clone()).or_default();
        let answered = led.scaled_from.as_ref().filter(|(from, _)| from == resource_version);
        let until = answered.map(|(_, until)| *until).unwrap_or_default().max(led.no_scale_before);
        if until > self.now.moment {
            self.later.by(Later::Subject(Subject::Workload(workload.clone())), until);
            return None;
        }
        led.scaled_from = Some((resource_version.to_owned(), self.now.moment.after(SCALE_PATIENCE)));
        Some(Job::Decide { workload: workload.clone(), decided: decided(resource_version.to_owned()) })
    }

    // === drain ===

    fn is_idle_everywhere(&self, workload: &WorkloadId) -> bool {
        self.records.all_vote_idle(workload) && self.records.votes_speak_for_all_nodes()
    }

    fn lead_drain(&mut self, workload: &WorkloadId, term: Term) -> Option<Job> {
        let view = self.inventory.view(workload);
        let open = view.drain().is_some_and(|drain| drain.record.is_open());
        let all_vote_idle = self.is_idle_everywhere(workload) && !self.is_left_alone(workload);
        if !open && !all_vote_idle {
            self.free_slot(workload);
            return None;
        }
        if open {
            let offered = view.drain().is_some_and(|drain| drain.record.state == DrainState::Offered);
            self.led.draining.insert(workload.clone());
            if offered {
                // By an earlier leader perhaps: it takes a place all the same.
                self.led.offered.insert(workload.clone());
            }
        } else if self.led.offered.len() >= self.options.max_offers && !self.led.offered.contains(workload) {
            // The end of another offer looks at all that voted.
            return None;
        }
        let offered_for = self.offered_since(workload).until(self.now.moment);
        let view = self.inventory.view(workload);
        let nodes: BTreeMap<NodeId, Revision> =
            self.records.nodes.iter().map(|(id, node)| (id.clone(), node.revision)).collect();
        let live: Vec<_> = self.records.controllers.keys().cloned().collect();
        let (acks, ack_compares) = self.records.acks_of(workload);
        let around = Surroundings { nodes: &nodes, acks: &acks, live: &live, all_vote_idle, offered_for };
        let step = drain::next(&view, &around);
        self.carry_out(workload, step, term, ack_compares)
    }

    /// Since when this leader has known the workload's offer: the deadline begins anew with each leader, since the clock
    /// of who made the offer may be off.
    fn offered_since(&mut self, workload: &WorkloadId) -> Moment {
        let offered = self.inventory.view(workload).drain().map(|drain| drain.record.id.clone());
        let Some(offered) = offered else { return self.now.moment };
        let memory = self.led.workloads.entry(workload.clone()).or_default();
        match &memory.offer {
            Some((known, since)) if *known == offered => *since,
            _ => {
                memory.offer = Some((offered, self.now.moment));
                self.now.moment
            }
        }
    }

    fn carry_out(
        &mut self,
        workload: &WorkloadId,
        step: DrainStep,
        term: Term,
        ack_compares: Vec<Compare>,
    ) -> Option<Job> {
        let view = self.inventory.view(workload);
        let record = view.drain().cloned();
        let decide = |decided| Some(Job::Decide { workload: workload.clone(), decided });
        let guarded = |mut compares: Vec<Compare>| {
            compares.push(Self::guard(term));
            compares
        };
        match step {
            DrainStep::Nothing => {
                if record.is_some_and(|drain| drain.record.state == DrainState::Offered) {
                    let at = self.offered_since(workload).after(OFFER_DEADLINE + Duration::from_millis(1));
                    self.later.by(Later::Subject(Subject::Workload(workload.clone())), at);
                }
                None
            }
            DrainStep::Offer { upstreams, replicas } => self.offer(workload, upstreams, replicas, term),
            DrainStep::Cancel { at, reason } => self.cancel(workload, at, reason, term),
            DrainStep::Commit { .. } => {
                let mut compares = guarded(ack_compares);
                compares.extend(self.membership_unchanged());
                compares.push(unchanged_wake(&view));
                decide(Decided::Commit(Commit { drain: record?, compares }))
            }
            DrainStep::ScaleDown { pinned } => {
                let commit = Commit { drain: record?, compares: guarded(Vec::new()) };
                self.scale(workload, &pinned.resource_version, |_| Decided::ScaleDown(commit))
            }
            DrainStep::Overtaken { .. } | DrainStep::Finish { .. } => {
                decide(Decided::Finish(Commit { drain: record?, compares: guarded(Vec::new()) }))
            }
        }
    }

    fn offer(
        &mut self,
        workload: &WorkloadId,
        upstreams: Vec<UpstreamId>,
        replicas: u32,
        term: Term,
    ) -> Option<Job> {
        let memory = self.led.workloads.entry(workload.clone()).or_default();
        if memory.no_offer_before > self.now.moment {
            self.later.by(Later::Subject(Subject::Workload(workload.clone())), memory.no_offer_before);
            return None;
        }
        self.led.offered.insert(workload.clone());
        let view = self.inventory.view(workload);
        let record = DrainRecord {
            uid: view.facts?.version.uid.clone(),
            id: DrainId::fresh(),
            upstreams,
            state: DrainState::Offered,
            offered_unix_ms: self.now.unix_ms(),
            replicas,
            unknown: serde_json::Map::new(),
        };
        let key = Key::Drain(workload.clone());
        let same = match view.drain_record {
            Some(drain) => Compare::WrittenAt(key.clone(), drain.revision),
            None => Compare::Absent(key.clone()),
        };
        let txn = Txn {
            compares: vec![Self::guard(term), same, unchanged_wake(&view)],
            writes: vec![Write::Put(key, encode(&record), None)],
        };
        Self::job(Subject::Workload(workload.clone()), txn)
    }

    fn cancel(&mut self, workload: &WorkloadId, at: Revision, reason: &str, term: Term) -> Option<Job> {
        let view = self.inventory.view(workload);
        let drain = view.drain()?;
        let record = with_state(drain, |record| {
            record.state = DrainState::Cancelled { reason: reason.into() };
        });
        let traffic = view.open_wake().is_some() || !self.records.all_vote_idle(workload);
        let memory = self.led.workloads.entry(workload.clone()).or_default();
        if traffic {
            memory.failed_offers = 0;
        } else {
            let pause =
                FIRST_BACK_OFF.saturating_mul(1 << memory.failed_offers.min(10)).min(LONGEST_BACK_OFF);
            memory.failed_offers = memory.failed_offers.saturating_add(1);
            memory.no_offer_before = self.now.moment.after(pause);
        }
        let key = Key::Drain(workload.clone());
        let txn = Txn {
            compares: vec![Self::guard(term), Compare::WrittenAt(key.clone(), at)],
            writes: vec![Write::Put(key, encode(&record), None)],
        };
        Self::job(Subject::Workload(workload.clone()), txn)
    }

    /// How a leader's job on a workload ended.
    pub(super) fn led_on(&mut self, workload: &WorkloadId, outcome: &Outcome) {
        match outcome {
            Outcome::Scaled(_) => {
                self.timelines.scaled(workload, self.now);
                self.others.wrote(workload);
            }
            Outcome::ScaleRefused(problem) if self.is_draining(workload) => {
                // No wake failed: the drain is tried again, ever more rarely.
                tracing::warn!(%workload, reason = problem.reason, "the drain does not go on: {}", problem.message);
                if let Some(led) = self.led.workloads.get_mut(workload) {
                    led.scaled_from = None;
                }
            }
            Outcome::ScaleRefused(problem) => {
                let attempts =
                    self.inventory.view(workload).open_wake().map_or(0, |wake| wake.record.attempts);
                let led = self.led.workloads.entry(workload.clone()).or_default();
                led.scaled_from = None;
                led.refusal = Some(problem.clone());
                led.no_scale_before = self.now.moment.after(wake::retry_after(attempts));
                self.tell_failure(workload, problem);
                // The refusal is recorded at once; only the next try waits.
                self.pause(&Subject::Workload(workload.clone()), Duration::ZERO);
            }
            Outcome::ScaleFailed(_) => {
                if let Some(led) = self.led.workloads.get_mut(workload) {
                    led.scaled_from = None;
                }
            }
            // Somebody waits: no pause. What conflicted is not tried again before another version is seen, see `scale`.
            Outcome::Conflict if !self.is_draining(workload) => {
                self.pause(&Subject::Workload(workload.clone()), Duration::ZERO);
            }
            Outcome::Written(_) => self.drain_moved(workload),
            _ => {}
        }
    }

    /// A drain that is committed or ended makes room for another offer.
    fn drain_moved(&mut self, workload: &WorkloadId) {
        let view = self.inventory.view(workload);
        let Some(drain) = view.drain().map(|drain| drain.record.clone()) else { return };
        if drain.state == DrainState::Offered {
            return;
        }
        self.free_slot(workload);
        if !drain.is_open() && self.led.draining.remove(workload) {
            self.tell_end(workload, &drain);
        }
    }

    /// The workload's offer is over, if it had one: those that wait are looked at once the present pass is through.
    fn free_slot(&mut self, workload: &WorkloadId) {
        if self.led.offered.remove(workload) {
            self.later.by(Later::Led, self.now.moment);
        }
    }

    fn is_draining(&self, workload: &WorkloadId) -> bool {
        self.inventory.view(workload).drain().is_some_and(|drain| drain.record.is_open())
    }
}

/// Nobody has opened or changed the wake that the view shows.
fn unchanged_wake(view: &WorkloadView<'_>) -> Compare {
    let key = Key::Wake(view.id.clone());
    match view.wake_record {
        Some(Versioned { revision, .. }) => Compare::WrittenAt(key, *revision),
        None => Compare::Absent(key),
    }
}
