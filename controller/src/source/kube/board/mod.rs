//! Everything that is known of the cluster, and the facts that follow. In: changes of single objects; out: facts, notices,
//! and what else has to be looked at. Says each thing once, and nothing before everything has been listed. Pure.

mod configure;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use zenvoy_shared::id::{Uid, UpstreamId, WorkloadId};

use self::configure::Effective;
use super::config::Configured;
use super::keep::{Key, Service, Slice, Upstream, Workload};
use super::notice::{Notice, ObjectId};
use super::target::{BUILT_IN, Choice, KindState};
use crate::model::{Endpoint, Fact, Problem, UpstreamFacts, WorkloadFacts};

/// What is listed and watched from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Room {
    Services,
    Upstreams,
    Slices,
    Deployments,
    StatefulSets,
    ReplicaSets,
}

impl Room {
    const ALL: [Self; 6] = [
        Self::Services,
        Self::Upstreams,
        Self::Slices,
        Self::Deployments,
        Self::StatefulSets,
        Self::ReplicaSets,
    ];
}

/// One change of what is known; `None` means gone.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Service(Key, Option<Service>),
    Upstream(Key, Option<Upstream>),
    /// By the slice's own key.
    Slice(Key, Option<Slice>),
    /// Of a built-in kind.
    Workload(WorkloadId, Option<Workload>),
    /// A list is complete.
    Listed(Room),
    /// Whether workloads of a further kind can be scaled.
    Kind(String, KindState),
    /// All objects of a further kind have been seen.
    KindListed(String),
    /// An object of a further kind has this `resourceVersion` now.
    Seen(WorkloadId, Option<String>),
    /// It was read, after it had been seen with that `resourceVersion`.
    Read(WorkloadId, String, Option<Workload>),
    /// Why the pods of a starting workload do not become ready.
    Trouble(WorkloadId, Option<Problem>),
}

/// What follows from the changes since the last time.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) facts: Vec<Fact>,
    /// What to say on objects; `None`: the object is gone.
    pub(super) notices: Vec<(ObjectId, Option<Notice>)>,
    /// Whose object an upstream is configured by.
    pub(super) homes: Vec<(UpstreamId, Option<ObjectId>)>,
    /// Workloads whose pods to look at from now on, and those whose no longer.
    pub(super) starts: Vec<(WorkloadId, Option<Starting>)>,
}

/// A workload that should run and has nothing ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Starting {
    pub(super) uid: Uid,
    /// Its pods.
    pub(super) selector: String,
}

/// What the board wants to know beyond what is watched from the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// Further kinds, to be discovered and watched.
    pub(super) kinds: BTreeSet<String>,
    /// Objects of further kinds to read, with the version they were seen at.
    pub(super) reads: BTreeMap<WorkloadId, String>,
}

/// An object of a further kind.
#[derive(Debug, Default)]
struct Further {
    seen: Option<String>,
    read: Option<String>,
}

/// Everything known.
#[derive(Debug, Default)]
pub(super) struct Board {
    services: BTreeMap<Key, Service>,
    upstreams: BTreeMap<Key, Upstream>,
    /// Service -> its `Upstream` objects.
    upstreams_of: BTreeMap<Key, BTreeSet<Key>>,
    /// Service -> its slices by name.
    slices: BTreeMap<Key, BTreeMap<String, Slice>>,
    /// Slice -> its Service.
    slice_homes: BTreeMap<Key, Key>,
    workloads: BTreeMap<WorkloadId, Workload>,
    kinds: BTreeMap<String, KindState>,
    kinds_listed: BTreeSet<String>,
    further: BTreeMap<WorkloadId, Further>,
    /// Workloads whose pods are looked at, and what was found.
    starting: BTreeMap<WorkloadId, Starting>,
    trouble: BTreeMap<WorkloadId, Problem>,
    listed: BTreeSet<Room>,

    in_effect: BTreeMap<UpstreamId, Effective>,
    on_workload: BTreeMap<WorkloadId, BTreeSet<UpstreamId>>,
    /// Targets, now or before: followed until they are deleted.
    followed: BTreeSet<WorkloadId>,
    /// Services with a pod that runs.
    running: BTreeSet<Key>,

    said_upstreams: BTreeMap<UpstreamId, UpstreamFacts>,
    said_endpoints: BTreeMap<UpstreamId, Vec<Endpoint>>,
    said_workloads: BTreeMap<WorkloadId, WorkloadFacts>,
    said_notices: BTreeMap<ObjectId, Notice>,
    said_complete: bool,

    /// Objects that are gone since the last time.
    gone: BTreeSet<ObjectId>,
    /// Services to configure anew.
    dirty: BTreeSet<Key>,
    /// Services whose slices changed.
    moved: BTreeSet<Key>,
    /// Workloads to judge anew.
    changed: BTreeSet<WorkloadId>,
    wants: Wants,
}

impl Board {
    /// Takes in one change.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Service(key, service) => {
                self.dirty.insert(key.clone());
                put(&mut self.services, key, service);
            }
            Change::Upstream(key, upstream) => self.set_upstream(key, upstream),
            Change::Slice(key, slice) => self.set_slice(key, slice),
            Change::Workload(id, workload) => self.set_workload(id, workload),
            Change::Listed(room) => {
                self.listed.insert(room);
            }
            Change::Kind(kind, state) => {
                if self.kinds.get(&kind) != Some(&state) {
                    self.kinds.insert(kind, state);
                    self.dirty.extend(self.upstreams_of.keys().chain(self.services.keys()).cloned());
                }
            }
            Change::KindListed(kind) => {
                self.kinds_listed.insert(kind);
            }
            Change::Seen(id, version) => self.see(id, version),
            Change::Read(id, version, workload) => {
                if let Some(further) = self.further.get_mut(&id) {
                    further.read = Some(version);
                    self.want_read(&id);
                    self.set_workload(id, workload);
                }
            }
            Change::Trouble(id, problem) => {
                if self.starting.contains_key(&id) {
                    self.changed.insert(id.clone());
                    put(&mut self.trouble, id, problem);
                }
            }
        }
    }

    /// What else has to be looked at.
    pub(super) fn wants(&self) -> &Wants {
        &self.wants
    }

    /// Whether everything that is watched from the start has been listed.
    pub(super) fn is_listed(&self) -> bool {
        self.listed.len() == Room::ALL.len()
    }

    fn set_upstream(&mut self, key: Key, upstream: Option<Upstream>) {
        if upstream.is_none() {
            self.gone.insert(ObjectId::upstream(key.clone()));
        }
        let service = |upstream: &Upstream| Key::new(&key.namespace, &upstream.service);
        if let Some(old) = self.upstreams.get(&key).map(service) {
            if let Some(of_service) = self.upstreams_of.get_mut(&old) {
                of_service.remove(&key);
                if of_service.is_empty() {
                    self.upstreams_of.remove(&old);
                }
            }
            self.dirty.insert(old);
        }
        if let Some(new) = upstream.as_ref().map(service) {
            self.upstreams_of.entry(new.clone()).or_default().insert(key.clone());
            self.dirty.insert(new);
        }
        put(&mut self.upstreams, key, upstream);
    }

    fn set_slice(&mut self, key: Key, slice: Option<Slice>) {
        let home = slice.as_ref().map(|slice| slice.service.clone());
        if let Some(old) = self.slice_homes.get(&key).filter(|old| Some(*old) != home.as_ref()).cloned() {
            if let Some(of_service) = self.slices.get_mut(&old) {
                of_service.remove(&key.name);
                if of_service.is_empty() {
                    self.slices.remove(&old);
                }
            }
            self.moved.insert(old);
        }
        if let (Some(home), Some(slice)) = (home.clone(), slice) {
            self.moved.insert(home.clone());
            self.slices.entry(home).or_default().insert(key.name.clone(), slice);
        }
        put(&mut self.slice_homes, key, home);
    }

    fn set_workload(&mut self, id: WorkloadId, workload: Option<Workload>) {
        // Before everything has been listed, all that is configured is dirty anyway.
        if self.is_listed() {
            let affected = self.affected(&id, workload.as_ref());
            self.dirty.extend(affected);
        }
        self.changed.insert(id.clone());
        put(&mut self.workloads, id, workload);
    }

    /// The Services whose target may be another one now: only those that look for a workload by name or by its pods.
    fn affected(&self, id: &WorkloadId, now: Option<&Workload>) -> Vec<Key> {
        let free = |workload: &&Workload| workload.controller.is_none();
        let labels =
            |workload: Option<&Workload>| workload.filter(free).map(|workload| workload.labels.clone());
        let (old, new) = (labels(self.workloads.get(id)), labels(now));
        if old == new {
            return Vec::new();
        }
        let in_namespace = self.services.range(Key::new(&id.namespace, "")..);
        let in_namespace = in_namespace.take_while(|(key, _)| key.namespace == id.namespace);
        let looks_for = |(key, service): &(&Key, &Service)| {
            let is_configured = service.config.is_some() || self.upstreams_of.contains_key(*key);
            let selects = |labels: &BTreeMap<String, String>| service.selects(labels);
            let by_pods = old.iter().chain(&new).any(selects);
            is_configured
                && (by_pods
                    || (service.selector.is_empty() && key.name == id.name)
                    || self.names(key, service, &id.name))
        };
        in_namespace.filter(looks_for).map(|(key, _)| key.clone()).collect()
    }

    /// Whether the Service, or an `Upstream` of it, names a workload without its kind.
    fn names(&self, key: &Key, service: &Service, name: &str) -> bool {
        let named = |config: &Result<Configured, Problem>| {
            config.as_ref().is_ok_and(|config| config.choice == Choice::Name(name.to_owned()))
        };
        let upstreams = self.upstreams_of.get(key).into_iter().flatten();
        service.config.as_ref().is_some_and(named)
            || upstreams.filter_map(|key| self.upstreams.get(key)).any(|upstream| named(&upstream.config))
    }

    fn see(&mut self, id: WorkloadId, version: Option<String>) {
        if version.is_none() {
            self.further.remove(&id);
            self.wants.reads.remove(&id);
            self.set_workload(id, None);
            return;
        }
        self.further.entry(id.clone()).or_default().seen = version;
        self.want_read(&id);
    }

    /// Only targets are read.
    fn want_read(&mut self, id: &WorkloadId) {
        let unread = self.further.get(id).filter(|further| further.seen != further.read);
        match unread.and_then(|further| further.seen.clone()).filter(|_| self.followed.contains(id)) {
            Some(seen) => {
                self.wants.reads.insert(id.clone(), seen);
            }
            None => {
                self.wants.reads.remove(id);
            }
        }
    }

    fn is_complete(&self) -> bool {
        let kinds_known = self.wants.kinds.iter().all(|kind| match self.kinds.get(kind) {
            Some(KindState::Scalable) => self.kinds_listed.contains(kind),
            Some(KindState::Unusable(_)) => true,
            None => false,
        });
        self.is_listed() && kinds_known && self.wants.reads.is_empty()
    }
}

fn is_built_in(kind: &str) -> bool {
    BUILT_IN.contains(&kind)
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => {
            map.insert(key, value);
        }
        None => {
            map.remove(&key);
        }
    }
}
