//! What the leader tells people of wakes that fail and of drains that end. In: the view and records; out: occasions.

use zenvoy_shared::id::WorkloadId;

use super::core::Core;
use super::event::Effect;
use crate::model::{DrainRecord, DrainState, Problem};
use crate::report::{Happening, Occasion};

impl Core {
    /// A wake that goes on, and pods that do not become ready: told once for each reason.
    pub(super) fn look_at_failure(&mut self, workload: &WorkloadId) {
        if self.term.is_none() {
            return;
        }
        let view = self.inventory.view(workload);
        let problem = view.facts.and_then(|facts| facts.problem.clone());
        match problem.filter(|_| view.open_wake().is_some() && !view.has_usable()) {
            Some(problem) => {
                let told = self.led.failing.insert(workload.clone(), problem.reason.clone());
                if told.as_ref() != Some(&problem.reason) {
                    self.tell_failure(workload, &problem);
                }
            }
            None => drop(self.led.failing.remove(workload)),
        }
    }

    pub(super) fn tell_failure(&mut self, workload: &WorkloadId, problem: &Problem) {
        let Some(upstream) = self.upstreams_of(workload).into_iter().next() else { return };
        let what = Happening::WakeFailed(problem.clone());
        self.effect(Effect::Happened(Occasion { workload: workload.clone(), upstream, what }));
    }

    pub(super) fn tell_end(&mut self, workload: &WorkloadId, drain: &DrainRecord) {
        let what = match &drain.state {
            DrainState::Done { .. } => Happening::Slept,
            DrainState::Cancelled { reason } => Happening::DrainCancelled { reason: reason.clone() },
            DrainState::Offered | DrainState::Committed { .. } => return,
        };
        if let Some(upstream) = drain.upstreams.first().cloned() {
            self.effect(Effect::Happened(Occasion { workload: workload.clone(), upstream, what }));
        }
    }
}
