//! How upstreams stand, for people: one condition under one name in status, events and logs.

use zenvoy_shared::id::{UpstreamId, WorkloadId};

use super::core::Core;
use super::event::Effect;
use crate::model::{Condition, Phase, Problem, Route, Target, UpstreamFacts, WorkloadView};
use crate::report::Status;

impl Core {
    pub(super) fn report(&mut self, workload: &WorkloadId) {
        for upstream in self.upstreams_of(workload) {
            self.report_upstream(&upstream);
        }
    }

    pub(super) fn report_upstream(&mut self, id: &UpstreamId) {
        if let Some(facts) = self.inventory.upstreams().get(id) {
            let status = self.status(id, facts);
            self.effect(Effect::Status(id.clone(), status));
        }
        self.look_at_configuration(id);
    }

    fn status(&self, id: &UpstreamId, facts: &UpstreamFacts) -> Status {
        let workload = match &facts.target {
            Target::Workload(workload) => Some(workload.clone()),
            Target::Unresolved(_) => None,
        };
        let view = workload.as_ref().map(|workload| self.inventory.view(workload));
        let phase = view.as_ref().map_or(Phase::Cold, WorkloadView::phase);
        let voted = workload.as_ref().is_some_and(|workload| self.idle.contains(workload));
        let idle_for = self.nodes.idle_for(id, self.now.moment).filter(|_| voted);
        let idle_since = idle_for.map(|idle| {
            self.now.unix_ms().saturating_sub(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX))
        });
        Status {
            phase,
            address: self.records.address(id),
            conditions: [self.ready(id, facts)].into_iter().chain(self.drains_paused(facts)).collect(),
            last_wake_unix_ms: view.and_then(|view| Some(view.wake()?.record.opened_unix_ms)),
            idle_since_unix_ms: idle_since,
            workload,
        }
    }

    /// `Ready`: a connection that arrives now is served, from pods or by a wake.
    fn ready(&self, id: &UpstreamId, facts: &UpstreamFacts) -> Condition {
        let problem = self.problem(id, facts);
        let holds = problem.is_none();
        let fine = || Problem { reason: "Ready".into(), message: "connections are served".into() };
        Condition { kind: "Ready", holds, problem: problem.unwrap_or_else(fine) }
    }

    fn problem(&self, id: &UpstreamId, facts: &UpstreamFacts) -> Option<Problem> {
        if let (Route::Fail(problem), _) = self.route(id, facts) {
            return Some(problem);
        }
        self.unserved(id).or_else(|| match &facts.target {
            Target::Workload(workload) => self
                .unreadable(workload, false)
                .or_else(|| self.awaited_drain(workload))
                .or_else(|| self.late(workload)),
            Target::Unresolved(_) => None,
        })
    }

    /// What its configuration asks for and does not get.
    pub(super) fn unserved(&self, id: &UpstreamId) -> Option<Problem> {
        if self.published.exhausted.contains(id) {
            return Some(Problem {
                reason: "PortPoolExhausted".into(),
                message: format!(
                    "all {} activator addresses are in use; extend --port-pool by a further loopback address",
                    self.options.pool.size()
                ),
            });
        }
        self.published.lost.get(id).or_else(|| self.refused.upstreams.get(id)).cloned()
    }

    /// A record of the workload is of a later version (rule L4): it is not woken, while it is down, or not drained, while it
    /// is up.
    fn unreadable(&self, workload: &WorkloadId, up: bool) -> Option<Problem> {
        let view = self.inventory.view(workload);
        (view.is_unreadable && view.has_usable() == up).then(|| Problem {
            reason: "RecordUnreadable".into(),
            message: format!(
                "a later version of zenvoy wrote the wake or drain record of {workload}; this version neither wakes nor drains \
                 it. Upgrade all controllers"
            ),
        })
    }

    /// `DrainsPaused`: said only while it holds.
    fn drains_paused(&self, facts: &UpstreamFacts) -> Option<Condition> {
        let Target::Workload(workload) = &facts.target else { return None };
        if let Some(problem) = self.unreadable(workload, true) {
            return Some(Condition { kind: "DrainsPaused", holds: true, problem });
        }
        self.is_left_alone(workload).then(|| Condition {
            kind: "DrainsPaused",
            holds: true,
            problem: Problem {
                reason: "ScaledByOthers".into(),
                message: format!(
                    "something else scaled {workload} between zero and more three times within an hour; it is not scaled \
                     down until an hour has passed without. Let one of the two scale it"
                ),
            },
        })
    }
}
