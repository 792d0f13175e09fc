//! All facts and the records of wakes and drains, indexed. In: facts and records, one by one; out: views, and which
//! workloads a change touched. Pure.

use std::collections::{BTreeMap, BTreeSet};

use zenvoy_shared::id::{UpstreamId, WorkloadId};

use super::{
    DrainRecord, Endpoint, Fact, Revision, Target, UpstreamFacts, UpstreamView, Versioned, WakeRecord,
    WorkloadFacts, WorkloadView,
};

/// What exists and what was decided.
#[derive(Debug, Default)]
pub struct Inventory {
    upstreams: BTreeMap<UpstreamId, UpstreamFacts>,
    endpoints: BTreeMap<UpstreamId, Vec<Endpoint>>,
    workloads: BTreeMap<WorkloadId, WorkloadFacts>,
    by_workload: BTreeMap<WorkloadId, BTreeSet<UpstreamId>>,
    wakes: BTreeMap<WorkloadId, Versioned<WakeRecord>>,
    drains: BTreeMap<WorkloadId, Versioned<DrainRecord>>,
    /// Records that a later version wrote, by their last revision.
    unreadable: Unreadable,
    complete: bool,
    /// How often a workload was looked at: what tests of effort count.
    #[cfg(test)]
    looks: std::cell::Cell<u64>,
}

/// Wakes and drains that cannot be read.
#[derive(Debug, Default)]
struct Unreadable {
    wakes: BTreeMap<WorkloadId, Revision>,
    drains: BTreeMap<WorkloadId, Revision>,
}

/// What a change touched: only this needs new plans and resources.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Workloads whose view changed.
    pub workloads: BTreeSet<WorkloadId>,
    /// Upstreams that are new, gone or configured anew.
    pub structure: BTreeSet<UpstreamId>,
}

impl Touched {
    fn workload(id: WorkloadId) -> Self {
        Self { workloads: BTreeSet::from([id]), ..Self::default() }
    }

    /// Adds what another change touched.
    pub fn merge(&mut self, other: Self) {
        self.workloads.extend(other.workloads);
        self.structure.extend(other.structure);
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.structure.is_empty()
    }
}

impl Inventory {
    /// Takes in one fact. A fact that says nothing new touches nothing.
    pub fn apply(&mut self, fact: Fact) -> Touched {
        match fact {
            Fact::Upstream(id, facts) => self.set_upstream(id, facts),
            Fact::UpstreamGone(id) => self.remove_upstream(&id),
            Fact::Endpoints(id, endpoints) => {
                let known = self.endpoints.entry(id.clone()).or_default();
                if *known == endpoints {
                    return Touched::default();
                }
                *known = endpoints;
                self.workload_of(&id).cloned().map(Touched::workload).unwrap_or_default()
            }
            Fact::Workload(id, facts) => {
                if self.workloads.get(&id) == Some(&facts) {
                    return Touched::default();
                }
                self.workloads.insert(id.clone(), facts);
                Touched::workload(id)
            }
            Fact::WorkloadGone(id) => match self.workloads.remove(&id) {
                Some(_) => Touched::workload(id),
                None => Touched::default(),
            },
            Fact::Complete => {
                self.complete = true;
                Touched::default()
            }
            Fact::Started(_) | Fact::Unready(..) => Touched::default(),
        }
    }

    fn set_upstream(&mut self, id: UpstreamId, facts: UpstreamFacts) -> Touched {
        if self.upstreams.get(&id) == Some(&facts) {
            return Touched::default();
        }
        let mut touched = Touched::default();
        touched.workloads.extend(self.unlink(&id));
        if let Target::Workload(workload) = &facts.target {
            self.by_workload.entry(workload.clone()).or_default().insert(id.clone());
            touched.workloads.insert(workload.clone());
        }
        self.upstreams.insert(id.clone(), facts);
        touched.structure.insert(id);
        touched
    }

    fn remove_upstream(&mut self, id: &UpstreamId) -> Touched {
        let mut touched = Touched::default();
        touched.workloads.extend(self.unlink(id));
        self.endpoints.remove(id);
        if self.upstreams.remove(id).is_some() {
            touched.structure.insert(id.clone());
        }
        touched
    }

    fn unlink(&mut self, id: &UpstreamId) -> Option<WorkloadId> {
        let workload = self.workload_of(id)?.clone();
        if let Some(upstreams) = self.by_workload.get_mut(&workload) {
            upstreams.remove(id);
            if upstreams.is_empty() {
                self.by_workload.remove(&workload);
            }
        }
        Some(workload)
    }

    /// Takes in a wake record, or that there is none. Older revisions than the known one are ignored: the answer to
    /// an own write and the watch may bring the same record in any order.
    pub fn set_wake(&mut self, workload: &WorkloadId, wake: Versioned<WakeRecord>) -> Touched {
        remove_older(&mut self.unreadable.wakes, workload, wake.revision);
        set_newer(&mut self.wakes, workload, wake)
    }

    /// Takes in a drain record, as [`Inventory::set_wake`].
    pub fn set_drain(&mut self, workload: &WorkloadId, drain: Versioned<DrainRecord>) -> Touched {
        remove_older(&mut self.unreadable.drains, workload, drain.revision);
        set_newer(&mut self.drains, workload, drain)
    }

    /// The wake record was deleted at `revision`.
    pub fn remove_wake(&mut self, workload: &WorkloadId, revision: Revision) -> Touched {
        let unreadable = remove_older(&mut self.unreadable.wakes, workload, revision);
        merged(remove_older(&mut self.wakes, workload, revision), unreadable)
    }

    /// There is a wake record that cannot be read (rule L4).
    pub fn unreadable_wake(&mut self, workload: &WorkloadId, revision: Revision) -> Touched {
        let known = self.wakes.get(workload).map(Versioned::at);
        set_unreadable(&mut self.unreadable.wakes, workload, known, revision)
    }

    /// There is a drain record that cannot be read (rule L4).
    pub fn unreadable_drain(&mut self, workload: &WorkloadId, revision: Revision) -> Touched {
        let known = self.drains.get(workload).map(Versioned::at);
        set_unreadable(&mut self.unreadable.drains, workload, known, revision)
    }

    /// The drain record was deleted at `revision`.
    pub fn remove_drain(&mut self, workload: &WorkloadId, revision: Revision) -> Touched {
        let unreadable = remove_older(&mut self.unreadable.drains, workload, revision);
        merged(remove_older(&mut self.drains, workload, revision), unreadable)
    }

    /// The workloads that have a wake record, and those that have a drain record.
    pub fn recorded(&self) -> (Vec<WorkloadId>, Vec<WorkloadId>) {
        let Unreadable { wakes, drains } = &self.unreadable;
        let wakes: BTreeSet<_> = self.wakes.keys().chain(wakes.keys()).collect();
        let drains: BTreeSet<_> = self.drains.keys().chain(drains.keys()).collect();
        (wakes.into_iter().cloned().collect(), drains.into_iter().cloned().collect())
    }

    /// Whether the source has said everything once.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// All upstreams.
    pub fn upstreams(&self) -> &BTreeMap<UpstreamId, UpstreamFacts> {
        &self.upstreams
    }

    /// The workload behind `upstream`, if its target is resolved.
    pub fn workload_of(&self, upstream: &UpstreamId) -> Option<&WorkloadId> {
        match &self.upstreams.get(upstream)?.target {
            Target::Workload(workload) => Some(workload),
            Target::Unresolved(_) => None,
        }
    }

    /// Every workload that an upstream stands on or a record is about.
    pub fn workloads(&self) -> BTreeSet<&WorkloadId> {
        let records = self.wakes.keys().chain(self.drains.keys());
        let unreadable = self.unreadable.wakes.keys().chain(self.unreadable.drains.keys());
        self.by_workload.keys().chain(records).chain(unreadable).collect()
    }

    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        self.looks.get()
    }

    /// Everything known of `workload`.
    pub fn view<'a>(&'a self, workload: &'a WorkloadId) -> WorkloadView<'a> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        let upstreams = self.by_workload.get(workload).into_iter().flatten();
        WorkloadView {
            id: workload,
            facts: self.workloads.get(workload),
            upstreams: upstreams
                .filter_map(|id| {
                    Some(UpstreamView {
                        id,
                        facts: self.upstreams.get(id)?,
                        endpoints: self.endpoints.get(id).map_or(&[], Vec::as_slice),
                    })
                })
                .collect(),
            wake_record: self.wakes.get(workload),
            drain_record: self.drains.get(workload),
            is_unreadable: self.unreadable.wakes.contains_key(workload)
                || self.unreadable.drains.contains_key(workload),
        }
    }
}

fn set_newer<T: PartialEq>(
    records: &mut BTreeMap<WorkloadId, Versioned<T>>,
    workload: &WorkloadId,
    new: Versioned<T>,
) -> Touched {
    if records.get(workload).is_some_and(|known| known.revision >= new.revision) {
        return Touched::default();
    }
    records.insert(workload.clone(), new);
    Touched::workload(workload.clone())
}

fn set_unreadable(
    unreadable: &mut BTreeMap<WorkloadId, Revision>,
    workload: &WorkloadId,
    readable: Option<Revision>,
    revision: Revision,
) -> Touched {
    if readable.max(unreadable.get(workload).copied()) >= Some(revision) {
        return Touched::default();
    }
    unreadable.insert(workload.clone(), revision);
    Touched::workload(workload.clone())
}

fn merged(mut touched: Touched, other: Touched) -> Touched {
    touched.merge(other);
    touched
}

/// What has a revision.
trait At {
    fn at(&self) -> Revision;
}

impl<T> At for Versioned<T> {
    fn at(&self) -> Revision {
        self.revision
    }
}

impl At for Revision {
    fn at(&self) -> Revision {
        *self
    }
}

fn remove_older<T: At>(
    records: &mut BTreeMap<WorkloadId, T>,
    workload: &WorkloadId,
    revision: Revision,
) -> Touched {
    if records.get(workload).is_none_or(|known| known.at() > revision) {
        return Touched::default();
    }
    records.remove(workload);
    Touched::workload(workload.clone())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::super::{Phase, Revision};
    use super::*;

    fn loaded(fixture: &Fixture) -> Inventory {
        let mut inventory = Inventory::default();
        inventory.apply(Fact::Upstream(fixture.upstream.clone(), fixture.upstream_facts.clone()));
        if let Some(facts) = &fixture.facts {
            inventory.apply(Fact::Workload(fixture.id.clone(), facts.clone()));
        }
        inventory.apply(Fact::Endpoints(fixture.upstream.clone(), fixture.endpoints.clone()));
        inventory
    }

    #[test]
    fn a_fact_said_twice_touches_nothing_the_second_time() {
        let fixture = Fixture::cold().ready(&["pod-1"]);
        let mut inventory = loaded(&fixture);
        let again = inventory.apply(Fact::Endpoints(fixture.upstream.clone(), fixture.endpoints.clone()));
        assert!(again.is_empty());
    }

    #[test]
    fn an_endpoint_touches_only_its_workload_and_no_structure() {
        let fixture = Fixture::cold();
        let mut inventory = loaded(&fixture);
        let endpoints = Fixture::cold().ready(&["pod-1"]).endpoints;
        let touched = inventory.apply(Fact::Endpoints(fixture.upstream.clone(), endpoints));
        assert_eq!(touched, Touched::workload(fixture.id.clone()));
        assert_eq!(inventory.view(&fixture.id).phase(), Phase::Active);
    }

    #[test]
    fn a_changed_target_touches_the_old_and_the_new_workload() {
        let fixture = Fixture::cold();
        let mut inventory = loaded(&fixture);
        let other = WorkloadId::new("shop", "Deployment.apps", "other");
        let facts =
            UpstreamFacts { target: Target::Workload(other.clone()), ..fixture.upstream_facts.clone() };
        let touched = inventory.apply(Fact::Upstream(fixture.upstream.clone(), facts));
        assert_eq!(touched.workloads, BTreeSet::from([fixture.id.clone(), other.clone()]));
        assert!(inventory.view(&fixture.id).upstreams.is_empty());
        assert_eq!(inventory.view(&other).upstreams.len(), 1);
    }

    #[test]
    fn a_record_that_arrives_late_does_not_replace_a_newer_one() {
        let fixture = Fixture::cold().woken();
        let mut inventory = loaded(&fixture);
        let wake = fixture.wake.clone().expect("woken");
        assert!(!inventory.set_wake(&fixture.id, wake.clone()).is_empty());
        let stale = Versioned { revision: Revision(wake.revision.0 - 1), ..wake };
        assert!(inventory.set_wake(&fixture.id, stale).is_empty());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_unknown_until_it_is_written_anew_or_gone() {
        let fixture = Fixture::cold().woken();
        let mut inventory = loaded(&fixture);
        let wake = fixture.wake.clone().expect("woken");
        let at = |more: i64| Revision(wake.revision.0 + more);
        inventory.set_wake(&fixture.id, wake.clone());
        assert!(inventory.unreadable_wake(&fixture.id, at(0)).is_empty(), "it is older than what is known");
        assert!(!inventory.unreadable_wake(&fixture.id, at(1)).is_empty());
        assert!(inventory.view(&fixture.id).is_unreadable);
        assert!(inventory.set_wake(&fixture.id, wake.clone()).is_empty());
        assert!(inventory.view(&fixture.id).is_unreadable, "what came before does not make it readable");
        inventory.set_wake(&fixture.id, Versioned { revision: at(2), ..wake.clone() });
        assert!(!inventory.view(&fixture.id).is_unreadable);
        inventory.unreadable_drain(&fixture.id, at(3));
        assert_eq!(inventory.recorded(), (vec![fixture.id.clone()], vec![fixture.id.clone()]));
        assert!(!inventory.remove_drain(&fixture.id, at(4)).is_empty());
        assert!(!inventory.view(&fixture.id).is_unreadable);
    }

    #[test]
    fn nothing_stays_of_a_removed_upstream() {
        let fixture = Fixture::cold().ready(&["pod-1"]);
        let mut inventory = loaded(&fixture);
        inventory.apply(Fact::UpstreamGone(fixture.upstream.clone()));
        assert!(
            inventory.upstreams.is_empty()
                && inventory.endpoints.is_empty()
                && inventory.by_workload.is_empty()
        );
    }
}
