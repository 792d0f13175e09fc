//! Why a wake is late: what its last try failed of, else what its source says that it lacks, else that the time is over. In: the
//! view, and what was said; out: one problem, the most specific that is known.

use std::collections::BTreeMap;
use std::time::Duration;

use zenvoy_shared::duration::Span;
use zenvoy_shared::id::WorkloadId;

use super::core::{Core, Later};
use crate::model::{Problem, WorkloadView};
use crate::session::Moment;

/// A failure stands for so long while the next try goes on: what runs for longer does not fail of the same.
const STANDS: Duration = Duration::from_secs(60);

/// What is remembered of workloads that are being woken.
#[derive(Debug, Default)]
pub(super) struct Failing {
    /// What was last wrong, and when it still was.
    problems: BTreeMap<WorkloadId, (Problem, Moment)>,
    /// What the source says that they lack.
    unready: BTreeMap<WorkloadId, String>,
}

impl Core {
    /// The source says what keeps it from being ready.
    pub(super) fn unready(&mut self, workload: &WorkloadId, said: String) {
        self.failing.unready.insert(workload.clone(), said);
        self.look_at_failure(workload);
        self.publish_lack(workload);
        if self.late(workload).is_some() {
            self.report(workload);
        }
    }

    /// Remembers what is wrong with a workload that is being woken, for the time of its next try.
    pub(super) fn note_failure(&mut self, workload: &WorkloadId) {
        let view = self.inventory.view(workload);
        if view.open_wake().is_none() || view.has_usable() {
            self.failing.problems.remove(workload);
            self.failing.unready.remove(workload);
            return;
        }
        if let Some(problem) = view.facts.and_then(|facts| facts.problem.clone()) {
            self.failing.problems.insert(workload.clone(), (problem, self.now.moment));
        }
        let ends = self.failing.problems.get(workload).map(|(_, seen)| seen.after(STANDS));
        if let Some(ends) = ends.filter(|ends| *ends > self.now.moment) {
            self.later.by(Later::Deadline(workload.clone()), ends);
        }
    }

    /// What the source says that a workload lacks whose wake goes on.
    pub(super) fn lacks_of(&self, workload: &WorkloadId) -> Option<&str> {
        let said = self.failing.unready.get(workload)?;
        self.inventory.view(workload).open_wake().map(|_| said.as_str())
    }

    /// The open wake has taken longer than any client was held for: they were told so, and people are.
    pub(super) fn late(&self, workload: &WorkloadId) -> Option<Problem> {
        let view = self.inventory.view(workload);
        let (timeout, left) = time_left(&view, self.open_for(workload))?;
        if !left.is_zero() || view.has_usable() {
            return None;
        }
        if let Some((problem, seen)) = self.failing.problems.get(workload)
            && seen.after(STANDS) > self.now.moment
        {
            return Some(problem.clone());
        }
        let why = match self.failing.unready.get(workload) {
            Some(said) => format!(": {said}"),
            None => "; its output and its readiness check may say why".to_owned(),
        };
        let (name, timeout) = (&workload.name, Span(timeout));
        let message = format!("{name} did not become ready within the wake timeout of {timeout}{why}");
        Some(Problem { reason: "WakeDeadline".into(), message })
    }
}

/// The wake timeout of an open wake, and what is left of it.
pub(super) fn time_left(view: &WorkloadView<'_>, open_for: Duration) -> Option<(Duration, Duration)> {
    view.open_wake()?;
    let timeout = view.upstreams.iter().map(|upstream| upstream.facts.spec.wake_timeout).max()?;
    Some((timeout, timeout.saturating_sub(open_for)))
}
