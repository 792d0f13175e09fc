//! What the leader does for one workload: the plan's next step becomes a job. In: the plan; out: at most one job at a time.

mod asked;
mod drain;
mod wake;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zenvoy_shared::id::{DrainId, UpstreamId, WorkloadId};

use super::core::{Core, Later};
use super::event::Effect;
use crate::execute::{Job, Outcome, Subject};
use crate::model::{Problem, Revision, Term};
use crate::plan::wake::{self as plan, WakeStep};
use crate::session::Moment;
use crate::store::{Compare, Key, Txn, Write};

use self::asked::Asked;
pub(super) use self::asked::SCALE_PATIENCE;

/// A wake is given up no earlier than this after it was opened, however short the idle time is.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

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
    /// Workloads whose wake is open.
    waking: BTreeSet<WorkloadId>,
    /// Workloads whose scale write of a wake is under way.
    scaling: BTreeSet<WorkloadId>,
    /// Upstreams whose configuration asks for what is not there, with what was told last.
    pub(super) unserved: BTreeMap<UpstreamId, Problem>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The last scale write: nothing is scaled again before what it did is seen.
    asked: Option<Asked>,
    /// A refusal that must be recorded, and when the next try is worth it.
    refusal: Option<Problem>,
    no_scale_before: Moment,
    /// The offer that is known, and since when.
    offer: Option<(DrainId, Moment)>,
    /// Offers that failed in a row, and when the next may be made.
    failed_offers: u32,
    no_offer_before: Moment,
    /// When the offer that has a place is made.
    offer_at: Moment,
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
            for workload in self.workloads() {
                self.look_at_failure(&workload);
                self.look(&Subject::Workload(workload.clone()));
                for upstream in self.upstreams_of(&workload) {
                    self.look_at_configuration(&upstream);
                }
            }
            self.look(&Subject::Ports);
            self.look_at_unreachable();
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

    /// Workloads whose drain or wake depends on nodes, replicas and free places for offers.
    pub(super) fn look_at_led(&mut self) {
        if self.term.is_none() {
            return;
        }
        let waking = self.led.waking.iter().filter(|workload| self.records.votes.all_vote_idle(workload));
        let known: Vec<WorkloadId> = waking.chain(&self.led.offered).cloned().collect();
        for workload in known {
            self.look(&Subject::Workload(workload));
        }
        self.fill_offers();
    }

    /// Offers what all vote for, as long as there are places.
    fn fill_offers(&mut self) {
        let mut last: Option<WorkloadId> = None;
        while self.led.offered.len() < self.options.max_offers && self.records.votes.speak_for_all_nodes() {
            let Some(next) = self.records.votes.next_idle(last.as_ref()).cloned() else { return };
            self.look(&Subject::Workload(next.clone()));
            last = Some(next);
        }
    }

    /// The next step of a workload's wake, else of its drain: wakes have priority.
    pub(super) fn lead(&mut self, workload: &WorkloadId) -> Option<Job> {
        let term = self.term?;
        if !self.inventory.is_complete() {
            return None;
        }
        let abandoned = self.is_abandoned(workload);
        let view = self.inventory.view(workload);
        if view.is_unreadable {
            return None;
        }
        if view.facts.is_none() {
            return self.forget(workload, term);
        }
        let wakes = view.open_wake().is_some();
        let wake = plan::next(&view, abandoned, self.open_for(workload));
        if wakes {
            self.led.waking.insert(workload.clone());
        } else {
            self.led.waking.remove(workload);
        }
        if wake != WakeStep::Nothing {
            return self.lead_wake(workload, wake, term);
        }
        self.lead_drain(workload, term)
    }

    /// Nobody has waited for its wake for its idle time. Votes from before the wake say nothing of it: whoever opened it takes
    /// its vote back, a little later.
    fn is_abandoned(&mut self, workload: &WorkloadId) -> bool {
        let view = self.inventory.view(workload);
        if view.open_wake().is_none() {
            return false;
        }
        let times = view.upstreams.iter().map(|upstream| upstream.facts.spec.idle_after);
        let since = times.max().unwrap_or_default().max(SHORTEST_WAIT);
        let left = since.saturating_sub(self.open_for(workload));
        if !left.is_zero() {
            self.later.by(Later::Subject(Subject::Workload(workload.clone())), self.now.moment.after(left));
        }
        left.is_zero() && self.is_idle_everywhere(workload)
    }

    /// Rule G5: the records of a workload that exists no more, and that nothing refers to, go.
    fn forget(&mut self, workload: &WorkloadId, term: Term) -> Option<Job> {
        self.led.workloads.remove(workload);
        self.free_slot(workload);
        self.led.failing.remove(workload);
        self.led.waking.remove(workload);
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

    /// How a leader's job on a workload ended.
    pub(super) fn led_on(&mut self, workload: &WorkloadId, outcome: &Outcome) {
        self.led.scaling.remove(workload);
        match outcome {
            Outcome::Scaled(version) => {
                let led = self.led.workloads.get_mut(workload);
                if let Some(asked) = led.and_then(|led| led.asked.as_mut()) {
                    asked.answered(version.clone(), self.now.moment);
                }
                self.timelines.scaled(workload, self.now);
                self.others.wrote(workload);
            }
            Outcome::ScaleRefused(problem) if self.is_draining(workload) => {
                // No wake failed: the drain is tried again, ever more rarely.
                tracing::warn!(%workload, reason = problem.reason, "the drain does not go on: {}", problem.message);
                if let Some(led) = self.led.workloads.get_mut(workload) {
                    led.asked = None;
                }
            }
            Outcome::ScaleRefused(problem) => {
                let attempts =
                    self.inventory.view(workload).open_wake().map_or(0, |wake| wake.record.attempts);
                let led = self.led.workloads.entry(workload.clone()).or_default();
                led.asked = None;
                led.refusal = Some(problem.clone());
                led.no_scale_before = self.now.moment.after(plan::retry_after(attempts));
                self.tell_failure(workload, problem);
                // The refusal is recorded at once; only the next try waits.
                self.pause(&Subject::Workload(workload.clone()), Duration::ZERO);
            }
            Outcome::ScaleFailed(_) => {
                if let Some(led) = self.led.workloads.get_mut(workload) {
                    led.asked = None;
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
}
