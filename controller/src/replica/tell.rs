//! What the leader tells people of wakes that fail, of drains that end, and of what was configured in vain. In: the view
//! and records; out: occasions.

use zenvoy_shared::id::{UpstreamId, WorkloadId};

use super::core::{Core, Later};
use super::event::Effect;
use super::failing::time_left;
use crate::model::{DrainRecord, DrainState, Problem, Target};
use crate::report::{Happening, Occasion};

impl Core {
    /// A wake that goes on, and pods that do not become ready: told once for each reason.
    pub(super) fn look_at_failure(&mut self, workload: &WorkloadId) {
        self.note_failure(workload);
        if self.term.is_none() {
            return;
        }
        let view = self.inventory.view(workload);
        let wakes = view.open_wake().is_some() && !view.has_usable();
        let problem = view.facts.filter(|_| wakes).and_then(|facts| facts.problem.clone());
        if wakes && problem.is_none() {
            self.await_deadline(workload);
        }
        match problem.or_else(|| self.late(workload)) {
            Some(problem) => {
                let told = self.led.failing.insert(workload.clone(), problem.reason.clone());
                if told.as_ref() != Some(&problem.reason) {
                    self.tell_failure(workload, &problem);
                }
            }
            None => drop(self.led.failing.remove(workload)),
        }
    }

    fn await_deadline(&mut self, workload: &WorkloadId) {
        let left = time_left(&self.inventory.view(workload), self.open_for(workload));
        if let Some((_, left)) = left.filter(|(_, left)| !left.is_zero()) {
            self.later.by(Later::Deadline(workload.clone()), self.now.moment.after(left));
        }
    }

    /// A claim that another upstream won, or an activator address that is not there: told once for each reason, and again
    /// after it was mended.
    pub(super) fn look_at_configuration(&mut self, id: &UpstreamId) {
        if self.term.is_none() {
            return;
        }
        let target = self.inventory.upstreams().get(id).map(|facts| facts.target.clone());
        // What has no target is told that first.
        let (Some(Target::Workload(workload)), Some(problem)) = (target, self.unserved(id)) else {
            self.led.unserved.remove(id);
            return;
        };
        if self.led.unserved.insert(id.clone(), problem.clone()).as_ref() != Some(&problem) {
            let what = Happening::Unserved(problem);
            self.effect(Effect::Happened(Occasion { workload, upstream: id.clone(), what }));
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
