//! Who else scales a workload between zero and more (rule W5). In: facts as they are seen, and own writes; out: whether it is
//! better left alone. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use zenvoy_shared::id::WorkloadId;

use super::core::{Core, Later};
use crate::execute::Subject;
use crate::model::{DrainState, Fact};
use crate::session::Moment;

/// This many foreign writes...
const WRITES: usize = 3;
/// ...within this time, and the workload is not scaled down any more.
const WITHIN: Duration = Duration::from_secs(3_600);

/// What was seen of each workload that changed between zero and more.
#[derive(Debug, Default)]
pub(super) struct Others {
    workloads: BTreeMap<WorkloadId, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// An own write was answered, and the change it made was not seen yet.
    own: bool,
    /// The change that an own write made was seen before the write was answered.
    early: bool,
    /// The last foreign writes.
    foreign: VecDeque<Moment>,
}

impl Others {
    /// A scale write of this replica was answered.
    pub(super) fn wrote(&mut self, workload: &WorkloadId) {
        let seen = self.workloads.entry(workload.clone()).or_default();
        seen.own = !std::mem::take(&mut seen.early);
    }

    fn crossed(&mut self, workload: &WorkloadId, own_in_flight: bool, decided: bool, now: Moment) {
        let seen = self.workloads.entry(workload.clone()).or_default();
        if std::mem::take(&mut seen.own) {
            return;
        }
        if own_in_flight {
            seen.early = true;
            return;
        }
        if decided {
            return;
        }
        seen.foreign.push_back(now);
        if seen.foreign.len() > WRITES {
            seen.foreign.pop_front();
        }
    }

    /// Until when the workload is left alone.
    fn until(&self, workload: &WorkloadId) -> Option<Moment> {
        let foreign = &self.workloads.get(workload)?.foreign;
        (foreign.len() == WRITES).then(|| foreign.front().map(|first| first.after(WITHIN)))?
    }

    pub(super) fn forget(&mut self, workload: &WorkloadId) {
        self.workloads.remove(workload);
    }
}

impl Core {
    /// Notes a change between zero and more that none of this replica's writes made. Only the leader can tell.
    pub(super) fn look_at_others(&mut self, fact: &Fact) {
        let Fact::Workload(workload, facts) = fact else { return };
        // Without the store a replica may wake without a record (rule W4): what is seen then proves no stranger.
        if self.term.is_none() || !self.has_store() {
            return;
        }
        let view = self.inventory.view(workload);
        // What an earlier leader decided on is no foreign write, whoever sees it.
        let decided = if facts.replicas == 0 {
            view.drain().is_some_and(|drain| matches!(drain.record.state, DrainState::Committed { .. }))
        } else {
            view.open_wake().is_some()
        };
        let Some(known) = view.facts.filter(|known| known.version.uid == facts.version.uid) else { return };
        if (known.replicas == 0) == (facts.replicas == 0) {
            return;
        }
        let writing = self.is_running(&Subject::Workload(workload.clone()));
        self.others.crossed(workload, writing, decided, self.now.moment);
        if let Some(until) = self.others.until(workload) {
            tracing::warn!(%workload, "ScaledByOthers: something else scales it too; it is not scaled down for a while");
            self.later.by(Later::Idle(workload.clone()), until);
        }
    }

    /// Whether something else scales the workload, so that scaling it down would start a fight.
    pub(super) fn is_left_alone(&self, workload: &WorkloadId) -> bool {
        self.others.until(workload).is_some_and(|until| until > self.now.moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn three_foreign_writes_within_an_hour_count_and_own_ones_do_not() {
        let cart = WorkloadId::new("shop", "Deployment.apps", "cart");
        let mut others = Others::default();
        others.wrote(&cart);
        for second in [1, 2, 3] {
            others.crossed(&cart, false, false, at(second));
        }
        assert_eq!(others.until(&cart), None, "the first of them was our own");
        others.crossed(&cart, true, false, at(4));
        others.crossed(&cart, false, true, at(4));
        others.crossed(&cart, false, false, at(5));
        assert_eq!(others.until(&cart), Some(at(3_602)));
        others.crossed(&cart, false, false, at(4_000));
        assert_eq!(others.until(&cart), Some(at(3_603)), "old ones are forgotten");
    }
}
