//! The leader's part in a drain: offers, as few at once as it is told, and the steps that follow.

use std::time::Duration;

use zenvoy_shared::id::{DrainId, UpstreamId, WorkloadId};

use crate::execute::{Commit, Decided, Job, Subject};
use crate::model::{DrainRecord, DrainState, Revision, Term, Versioned, WorkloadView};
use crate::plan::drain::{self, DrainStep, OFFER_DEADLINE, Surroundings};
use crate::plan::jitter::jitter;
use crate::replica::core::{Core, Later};
use crate::replica::drains::with_state;
use crate::session::Moment;
use crate::store::{Compare, Key, Txn, Write, encode};

/// An offer is made within this of the moment at which it could be (rule D1).
const OFFER_SPREAD: Duration = Duration::from_millis(200);
/// The first pause after an offer that failed for another reason than traffic; it doubles up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_secs(5);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

impl Core {
    pub(super) fn is_idle_everywhere(&self, workload: &WorkloadId) -> bool {
        self.records.votes.all_vote_idle(workload) && self.records.votes.speak_for_all_nodes()
    }

    pub(super) fn lead_drain(&mut self, workload: &WorkloadId, term: Term) -> Option<Job> {
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
            // The end of another offer looks for the next.
            return None;
        }
        let offered_for = self.offered_since(workload).until(self.now.moment);
        let view = self.inventory.view(workload);
        let nodes = self.records.votes.nodes();
        let live: Vec<_> = self.records.controllers.keys().cloned().collect();
        let (acks, ack_compares) = self.records.acks_of(workload);
        let around = Surroundings { nodes, acks: &acks, live: &live, all_vote_idle, offered_for };
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
        let view = self.inventory.view(workload);
        let uid = view.facts?.version.uid.clone();
        let earlier = view.drain_record.map_or(0, |drain| drain.revision.0);
        let memory = self.led.workloads.entry(workload.clone()).or_default();
        let not_before = memory.no_offer_before.max(self.alone.no_offer_before());
        if not_before > self.now.moment {
            self.later.by(Later::Subject(Subject::Workload(workload.clone())), not_before);
            return None;
        }
        if self.led.offered.insert(workload.clone()) {
            // It has its place; with jitter, those that become idle at once are not offered at once.
            let spread =
                jitter(OFFER_SPREAD, &workload.to_string(), term.0.0.wrapping_add(earlier).unsigned_abs());
            memory.offer_at = self.now.moment.after(spread);
        }
        if memory.offer_at > self.now.moment {
            self.later.by(Later::Subject(Subject::Workload(workload.clone())), memory.offer_at);
            return None;
        }
        let record = DrainRecord {
            uid,
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
        let traffic = view.open_wake().is_some() || !self.records.votes.all_vote_idle(workload);
        let memory = self.led.workloads.entry(workload.clone()).or_default();
        if traffic {
            memory.failed_offers = 0;
        } else {
            let pause =
                FIRST_BACK_OFF.saturating_mul(1 << memory.failed_offers.min(10)).min(LONGEST_BACK_OFF);
            // With jitter: what failed together is not tried again together.
            let pause = pause + jitter(pause / 4, &workload.to_string(), u64::from(memory.failed_offers));
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

    /// A drain that is committed or ended makes room for another offer.
    pub(super) fn drain_moved(&mut self, workload: &WorkloadId) {
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
    pub(super) fn free_slot(&mut self, workload: &WorkloadId) {
        if self.led.offered.remove(workload) {
            self.later.by(Later::Led, self.now.moment);
        }
    }

    pub(super) fn is_draining(&self, workload: &WorkloadId) -> bool {
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
