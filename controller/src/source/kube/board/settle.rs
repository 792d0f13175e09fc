//! What follows from the changes since the last time: facts that are new, in an order in which each can be understood.

use std::collections::{BTreeMap, BTreeSet};

use zenvoy_shared::id::{UpstreamId, WorkloadId};

use super::configure::{Effective, Given, Outcome, Said, configure, workload};
use super::{Board, Settled, Starting, is_built_in};
use crate::model::{Fact, WorkloadFacts};
use crate::source::kube::endpoints;
use crate::source::kube::good::LastGood;
use crate::source::kube::keep::Key;
use crate::source::kube::notice::{Notice, ObjectId, ObjectKind, Shown};
use crate::source::kube::target::{Catalog, Choice};
use crate::source::kube::trouble;

impl Board {
    /// The facts and notices that are new. Nothing before everything has been listed. [`Fact::Complete`] follows the first
    /// facts; further kinds that have not answered are waited for unless `patience_is_over`.
    pub(in super::super) fn settle(&mut self, patience_is_over: bool) -> Settled {
        let mut settled = Settled::default();
        if !self.is_listed() {
            return settled;
        }
        let (mut new, mut gone) = (BTreeSet::new(), Vec::new());
        for id in std::mem::take(&mut self.gone) {
            let came_back = self.upstreams.contains_key(&id.key);
            if !came_back && self.said_notices.remove(&id).is_some() {
                settled.notices.push((id, None));
            }
        }
        for key in std::mem::take(&mut self.dirty) {
            self.configure(&key, &mut new, &mut gone, &mut settled);
            self.moved.insert(key);
        }
        settled.facts.extend(gone.into_iter().map(Fact::UpstreamGone));
        let (endpoints, started) = self.take_moved();
        let (workloads, lost) = self.take_changed(&mut settled.starts);
        settled.facts.extend(workloads);
        settled.facts.extend(endpoints);
        for id in new {
            if let Some(effective) = self.in_effect.get(&id) {
                self.said_upstreams.insert(id.clone(), effective.facts.clone());
                settled.facts.push(Fact::Upstream(id, effective.facts.clone()));
            }
        }
        settled.facts.extend(started);
        settled.facts.extend(lost);
        if !self.said_complete && (patience_is_over || self.is_complete()) {
            self.said_complete = true;
            settled.facts.push(Fact::Complete);
        }
        settled
    }

    fn configure(
        &mut self,
        key: &Key,
        new: &mut BTreeSet<UpstreamId>,
        gone: &mut Vec<UpstreamId>,
        settled: &mut Settled,
    ) {
        let catalog = Catalog { workloads: &self.workloads, kinds: &self.kinds };
        let objects = self.upstreams_of.get(key).into_iter().flatten();
        let Outcome { in_effect, said } = configure(&Given {
            key,
            service: self.services.get(key),
            upstreams: objects.filter_map(|object| Some((object, self.upstreams.get(object)?))).collect(),
            before: &self.in_effect,
            catalog,
        });
        let first = UpstreamId::new(&key.namespace, &key.name, 0);
        let before: Vec<UpstreamId> = self
            .in_effect
            .range(first..)
            .take_while(|(id, _)| id.namespace == key.namespace && id.service == key.name)
            .map(|(id, _)| id.clone())
            .collect();
        for id in before.into_iter().filter(|id| !in_effect.contains_key(id)) {
            self.unlink(&id);
            self.in_effect.remove(&id);
            self.said_endpoints.remove(&id);
            settled.homes.push((id.clone(), None));
            if self.said_upstreams.remove(&id).is_some() {
                gone.push(id);
            }
        }
        for (id, effective) in in_effect {
            self.take_effect(id, effective, new, settled);
        }
        self.take_notices(key, said, settled);
    }

    fn take_effect(
        &mut self,
        id: UpstreamId,
        effective: Effective,
        new: &mut BTreeSet<UpstreamId>,
        settled: &mut Settled,
    ) {
        if let Choice::Exact { kind, .. } = &effective.good.choice
            && !is_built_in(kind)
        {
            self.wants.kinds.insert(kind.clone());
        }
        if self.in_effect.get(&id).is_none_or(|before| before.origin != effective.origin) {
            settled.homes.push((id.clone(), Some(effective.origin.clone())));
        }
        if self.said_upstreams.get(&id) != Some(&effective.facts) {
            new.insert(id.clone());
        }
        if self.in_effect.get(&id).and_then(workload) != workload(&effective) {
            self.unlink(&id);
            if let Some(target) = workload(&effective) {
                self.on_workload.entry(target.clone()).or_default().insert(id.clone());
                self.follow(target);
            }
        }
        self.in_effect.insert(id, effective);
    }

    fn unlink(&mut self, id: &UpstreamId) {
        let Some(target) = self.in_effect.get(id).and_then(workload).cloned() else { return };
        if let Some(upstreams) = self.on_workload.get_mut(&target) {
            upstreams.remove(id);
            if upstreams.is_empty() {
                self.on_workload.remove(&target);
            }
        }
        self.changed.insert(target);
    }

    fn follow(&mut self, target: &WorkloadId) {
        self.changed.insert(target.clone());
        if self.followed.insert(target.clone()) && !is_built_in(&target.kind) {
            self.want_read(target);
        }
    }

    fn take_notices(&mut self, key: &Key, mut said: BTreeMap<ObjectId, Said>, settled: &mut Settled) {
        let service = ObjectId::service(key.clone());
        said.entry(service).or_default();
        for (id, said) in said {
            let notice = self.notice(&id, said).filter(|notice| !notice.is_void());
            if self.said_notices.get(&id) != notice.as_ref() {
                super::put(&mut self.said_notices, id.clone(), notice.clone());
                settled.notices.push((id, notice));
            }
        }
    }

    fn notice(&self, id: &ObjectId, said: Said) -> Option<Notice> {
        let Said { conditions, last_good } = said;
        Some(match id.kind {
            ObjectKind::Service => {
                let service = self.services.get(&id.key)?;
                let shown = Shown::Service {
                    condition: service.condition.clone(),
                    last_good: service.last_good.as_ref().map(LastGood::text),
                };
                Notice { uid: service.uid.clone(), generation: 0, conditions, last_good, shown }
            }
            ObjectKind::Upstream => {
                let upstream = self.upstreams.get(&id.key)?;
                let shown = Shown::Upstream { status: upstream.status.clone() };
                let generation = upstream.generation;
                Notice { uid: upstream.uid.clone(), generation, conditions, last_good, shown }
            }
        })
    }

    /// Endpoints that are new, and workloads of which a first pod runs.
    fn take_moved(&mut self) -> (Vec<Fact>, Vec<Fact>) {
        let (mut facts, mut started) = (Vec::new(), Vec::new());
        for key in std::mem::take(&mut self.moved) {
            let Some(service) = self.services.get(&key) else {
                self.running.remove(&key);
                continue;
            };
            let slices = || self.slices.get(&key).into_iter().flat_map(BTreeMap::values);
            let mut targets = BTreeSet::new();
            for port in &service.ports {
                let id = UpstreamId::new(&key.namespace, &key.name, port.number);
                let Some(effective) = self.in_effect.get(&id) else { continue };
                targets.extend(workload(effective).cloned());
                let ready = endpoints::ready(slices(), &port.name, service.family);
                if self.said_endpoints.get(&id).map_or(&[] as &[_], Vec::as_slice) != ready {
                    self.changed.extend(workload(effective).cloned());
                    self.said_endpoints.insert(id.clone(), ready.clone());
                    facts.push(Fact::Endpoints(id, ready));
                }
            }
            if !endpoints::any_started(slices()) {
                self.running.remove(&key);
            } else if self.running.insert(key.clone()) && self.said_complete {
                started.extend(targets.into_iter().map(Fact::Started));
            }
        }
        (facts, started)
    }

    /// Workloads that are new, changed or gone.
    fn take_changed(&mut self, starts: &mut Vec<(WorkloadId, Option<Starting>)>) -> (Vec<Fact>, Vec<Fact>) {
        let (mut facts, mut gone) = (Vec::new(), Vec::new());
        for id in std::mem::take(&mut self.changed) {
            let now = if self.followed.contains(&id) { self.judge(&id, starts) } else { None };
            if self.said_workloads.get(&id) == now.as_ref() {
                continue;
            }
            super::put(&mut self.said_workloads, id.clone(), now.clone());
            match now {
                Some(now) => facts.push(Fact::Workload(id, now)),
                None => {
                    if !self.on_workload.contains_key(&id) {
                        self.followed.remove(&id);
                    }
                    gone.push(Fact::WorkloadGone(id));
                }
            }
        }
        (facts, gone)
    }

    /// A followed workload's facts; also decides whether its pods must be looked at.
    fn judge(
        &mut self,
        id: &WorkloadId,
        starts: &mut Vec<(WorkloadId, Option<Starting>)>,
    ) -> Option<WorkloadFacts> {
        let upstreams = self.on_workload.get(id).into_iter().flatten();
        let has_ready = upstreams
            .filter_map(|upstream| self.said_endpoints.get(upstream))
            .any(|endpoints| !endpoints.is_empty());
        let workload = self.workloads.get(id);
        let starting = workload.filter(|workload| {
            workload.replicas > 0
                && !has_ready
                && !workload.selector.is_empty()
                && self.on_workload.contains_key(id)
        });
        let Some(starting) = starting else {
            if self.starting.remove(id).is_some() {
                starts.push((id.clone(), None));
            }
            self.trouble.remove(id);
            let workload = workload?;
            return Some(WorkloadFacts {
                version: workload.version.clone(),
                replicas: workload.replicas,
                problem: None,
                back_off: None,
            });
        };
        let wanted = Starting { uid: starting.version.uid.clone(), selector: starting.selector.clone() };
        if self.starting.get(id) != Some(&wanted) {
            starts.push((id.clone(), Some(wanted.clone())));
            self.starting.insert(id.clone(), wanted);
        }
        let problem = starting.refusal.clone().or_else(|| self.trouble.get(id).cloned());
        Some(WorkloadFacts {
            version: starting.version.clone(),
            replicas: starting.replicas,
            back_off: problem.as_ref().and_then(trouble::back_off),
            problem,
        })
    }
}
