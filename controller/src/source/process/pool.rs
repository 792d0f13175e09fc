//! Which processes should run and which do, as a state. In: configurations, scale writes, what became of instances, and
//! `now`; out: steps for the rim, facts for the controller. Versions behave as Kubernetes' do. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use zenvoy_shared::id::{Uid, UpstreamId, WorkloadId};

use super::backoff::Backoff;
use super::config::{Config, ProcessSpec, ProcessUpstream};
use super::instance::Ending;
use super::topic::Topic;
use crate::model::{Endpoint, Fact, WorkloadFacts, WorkloadVersion};
use crate::source::{Pod, ScaleError, ScaleWrite};

/// What the rim is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Start an instance.
    Start {
        /// Its id.
        instance: Uid,
        /// Of which workload.
        workload: WorkloadId,
        /// How.
        spec: Arc<ProcessSpec>,
    },
    /// End an instance.
    Stop(Uid),
}

/// All processes of a file.
#[derive(Debug, Default)]
pub(super) struct Pool {
    upstreams: BTreeMap<UpstreamId, ProcessUpstream>,
    processes: BTreeMap<WorkloadId, Process>,
    instances: BTreeMap<Uid, Instance>,
    version: u64,
    steps: VecDeque<Step>,
    topics: BTreeSet<Topic>,
}

/// One workload: the object that is scaled.
#[derive(Debug)]
struct Process {
    spec: Arc<ProcessSpec>,
    version: WorkloadVersion,
    replicas: u32,
    backoff: Backoff,
}

/// One run of a command, until its last descendant is gone.
#[derive(Debug)]
struct Instance {
    workload: WorkloadId,
    spec: Arc<ProcessSpec>,
    state: InstanceState,
}

#[derive(Debug, PartialEq, Eq)]
enum InstanceState {
    /// With what it lacks, as far as that was said.
    Starting(String),
    /// Port by variable.
    Ready(BTreeMap<String, u16>),
    Stopping,
}

impl InstanceState {
    fn is_starting(&self) -> bool {
        matches!(self, Self::Starting(_))
    }
}

impl Pool {
    /// Takes over a configuration: what vanished ends, what changed is started anew at the same count.
    pub(super) fn load(&mut self, config: &Config, now: Instant) {
        for id in self.processes.keys().filter(|id| !config.processes.contains_key(id)) {
            self.topics.insert(Topic::Gone(id.clone()));
        }
        self.processes.retain(|id, _| config.processes.contains_key(id));
        let ids: BTreeSet<WorkloadId> = config
            .processes
            .keys()
            .cloned()
            .chain(self.instances.values().map(|i| i.workload.clone()))
            .collect();
        for (id, spec) in &config.processes {
            self.define(id, spec);
        }
        for id in self.upstreams.keys().chain(config.upstreams.keys()) {
            if self.upstreams.get(id) != config.upstreams.get(id) {
                self.topics.insert(Topic::Upstream(id.clone()));
                self.topics.insert(Topic::Endpoints(id.clone()));
            }
        }
        self.upstreams.clone_from(&config.upstreams);
        self.topics.insert(Topic::Complete);
        for id in &ids {
            self.reconcile(id, now);
        }
    }

    fn define(&mut self, id: &WorkloadId, spec: &Arc<ProcessSpec>) {
        let next = self.version + 1;
        match self.processes.get_mut(id) {
            Some(known) if known.spec == *spec => return,
            Some(known) => {
                known.spec = spec.clone();
                known.version.generation += 1;
                known.backoff = Backoff::default();
            }
            None => {
                let version = WorkloadVersion {
                    uid: Uid(ulid::Ulid::new().to_string()),
                    resource_version: next.to_string(),
                    generation: 1,
                    observed_generation: 1,
                };
                let process =
                    Process { spec: spec.clone(), version, replicas: 0, backoff: Backoff::default() };
                self.processes.insert(id.clone(), process);
            }
        }
        self.touch(id);
    }

    /// A write of the object, its status included: the version moves.
    fn touch(&mut self, id: &WorkloadId) {
        let Some(process) = self.processes.get_mut(id) else { return };
        self.version += 1;
        process.version.resource_version = self.version.to_string();
        process.version.observed_generation = process.version.generation;
        self.topics.insert(Topic::Workload(id.clone()));
    }

    /// The object as it is now.
    pub(super) fn read(&self, id: &WorkloadId) -> Option<WorkloadFacts> {
        let process = self.processes.get(id)?;
        let ready = self.of(id).any(|(_, instance)| matches!(instance.state, InstanceState::Ready(_)));
        let problem = process.backoff.problem().filter(|_| !ready).cloned();
        Some(WorkloadFacts {
            version: process.version.clone(),
            replicas: process.replicas,
            back_off: problem.as_ref().map(|_| process.backoff.wait()),
            problem,
        })
    }

    /// Sets the replicas of exactly the version that was looked at. A write that changes nothing makes no new version.
    pub(super) fn scale(
        &mut self,
        id: &WorkloadId,
        write: &ScaleWrite,
        now: Instant,
    ) -> Result<String, ScaleError> {
        let process = self.processes.get_mut(id).ok_or_else(|| ScaleError::Missing(id.clone()))?;
        if process.version.resource_version != write.resource_version {
            return Err(ScaleError::Conflict(id.clone()));
        }
        if process.replicas != write.replicas {
            process.replicas = write.replicas;
            process.version.generation += 1;
            process.backoff = Backoff::default();
            self.touch(id);
            self.reconcile(id, now);
        }
        Ok(self.processes[id].version.resource_version.clone())
    }

    /// All instances that are not gone.
    pub(super) fn pods(&self, id: &WorkloadId) -> Result<Vec<Pod>, ScaleError> {
        if !self.processes.contains_key(id) {
            return Err(ScaleError::Missing(id.clone()));
        }
        let pod = |(uid, instance): (&Uid, &Instance)| Pod {
            uid: uid.clone(),
            terminating: instance.state == InstanceState::Stopping,
        };
        Ok(self.of(id).map(pod).collect())
    }

    /// The command of an instance began to run.
    pub(super) fn started(&mut self, uid: &Uid) {
        if let Some(instance) = self.instances.get(uid) {
            self.topics.insert(Topic::Started(instance.workload.clone()));
        }
    }

    /// This keeps an instance from being ready.
    pub(super) fn unready(&mut self, uid: &Uid, said: String) {
        let Some(instance) = self.instances.get_mut(uid) else { return };
        if let InstanceState::Starting(known) = &mut instance.state {
            *known = said;
            self.topics.insert(Topic::Unready(instance.workload.clone()));
        }
    }

    /// An instance may take traffic.
    pub(super) fn ready(&mut self, uid: &Uid, ports: BTreeMap<String, u16>) {
        let Some(instance) = self.instances.get_mut(uid) else { return };
        if !instance.state.is_starting() {
            return;
        }
        instance.state = InstanceState::Ready(ports);
        let id = instance.workload.clone();
        self.endpoints_changed(&id);
        self.touch(&id);
    }

    /// An instance is gone with all its descendants. Returns what people are to be told of it, if no problem tells them.
    pub(super) fn ended(&mut self, uid: &Uid, ending: &Ending, now: Instant) -> Option<String> {
        let instance = self.instances.remove(uid)?;
        let id = instance.workload;
        self.endpoints_changed(&id);
        let mut told = None;
        if let Some(process) = self.processes.get_mut(&id)
            && instance.state != InstanceState::Stopping
        {
            let was_ready = matches!(instance.state, InstanceState::Ready(_));
            told = process.backoff.failed(&id, ending, was_ready, now);
        }
        self.touch(&id);
        self.reconcile(&id, now);
        told
    }

    /// When [`Pool::tick`] has something to do, if nothing else happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.processes.values().filter_map(|process| process.backoff.retry_at()).min()
    }

    /// Time has passed: starts what has waited long enough.
    pub(super) fn tick(&mut self, now: Instant) {
        let due = |process: &Process| process.backoff.retry_at().is_some_and(|at| at <= now);
        let ids: Vec<WorkloadId> =
            self.processes.iter().filter(|(_, p)| due(p)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.reconcile(&id, now);
        }
    }

    /// zenvoy ends: everything is stopped, nothing is started any more.
    pub(super) fn shut_down(&mut self) {
        self.processes.clear();
        for uid in self.instances.keys().cloned().collect::<Vec<_>>() {
            self.stop(&uid);
        }
    }

    /// The next thing the rim is to do.
    pub(super) fn next_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Whether [`Pool::next_fact`] has something to say.
    pub(super) fn has_facts(&self) -> bool {
        !self.topics.is_empty()
    }

    /// What is to be said next, as it is now: what changed twice meanwhile is said once.
    pub(super) fn next_fact(&mut self) -> Option<Fact> {
        Some(match self.topics.pop_first()? {
            Topic::Started(id) => Fact::Started(id),
            Topic::Unready(id) => match self.lacks(&id) {
                Some(said) => Fact::Unready(id, said),
                // It is ready or gone meanwhile.
                None => return self.next_fact(),
            },
            Topic::Upstream(id) => match self.upstreams.get(&id) {
                None => Fact::UpstreamGone(id),
                Some(upstream) => {
                    let facts = upstream.facts();
                    Fact::Upstream(id, facts)
                }
            },
            Topic::Workload(id) | Topic::Gone(id) => match self.read(&id) {
                None => Fact::WorkloadGone(id),
                Some(facts) => Fact::Workload(id, facts),
            },
            Topic::Endpoints(id) => {
                let endpoints = self.endpoints(&id);
                Fact::Endpoints(id, endpoints)
            }
            Topic::Complete => Fact::Complete,
        })
    }

    /// What keeps the instances of a workload from being ready; `None` when one is.
    fn lacks(&self, id: &WorkloadId) -> Option<String> {
        let mut lacks = None;
        for (_, instance) in self.of(id) {
            match &instance.state {
                InstanceState::Ready(_) => return None,
                InstanceState::Starting(said) if !said.is_empty() => lacks = Some(said.clone()),
                InstanceState::Starting(_) | InstanceState::Stopping => {}
            }
        }
        lacks
    }

    fn endpoints(&self, id: &UpstreamId) -> Vec<Endpoint> {
        let Some(upstream) = self.upstreams.get(id) else { return Vec::new() };
        self.of(&upstream.workload)
            .filter_map(|(uid, instance)| match &instance.state {
                InstanceState::Ready(ports) => Some(Endpoint {
                    address: ([127, 0, 0, 1], *ports.get(&upstream.variable)?).into(),
                    pod: Some(uid.clone()),
                }),
                InstanceState::Starting(_) | InstanceState::Stopping => None,
            })
            .collect()
    }

    fn endpoints_changed(&mut self, workload: &WorkloadId) {
        let on_it = self.upstreams.iter().filter(|(_, upstream)| upstream.workload == *workload);
        self.topics.extend(on_it.map(|(id, _)| Topic::Endpoints(id.clone())));
    }

    fn of<'a>(&'a self, workload: &'a WorkloadId) -> impl Iterator<Item = (&'a Uid, &'a Instance)> {
        self.instances.iter().filter(move |(_, instance)| instance.workload == *workload)
    }

    /// Brings the instances of a workload to what is asked for. After a change of the command the old ones end first:
    /// two versions of a program on the same data are worse than a held connection.
    fn reconcile(&mut self, id: &WorkloadId, now: Instant) {
        let wanted = self.processes.get(id).map(|process| (process.spec.clone(), process.replicas));
        let is_current = |i: &Instance| wanted.as_ref().is_some_and(|(spec, _)| i.spec == *spec);
        let outdated: Vec<Uid> =
            self.of(id).filter(|(_, i)| !is_current(i)).map(|(uid, _)| uid.clone()).collect();
        let mut living: Vec<(bool, Uid)> = self
            .of(id)
            .filter(|(_, i)| is_current(i) && i.state != InstanceState::Stopping)
            .map(|(uid, i)| (i.state.is_starting(), uid.clone()))
            .collect();
        outdated.iter().for_each(|uid| self.stop(uid));
        let Some((spec, replicas)) = wanted else { return };
        // What serves stays the longest, then what is older: ids grow with time.
        living.sort();
        let replicas = usize::try_from(replicas).unwrap_or(usize::MAX);
        for (_, uid) in living.iter().skip(replicas) {
            self.stop(uid);
        }
        if living.len() >= replicas || !outdated.is_empty() {
            return;
        }
        let Some(process) = self.processes.get_mut(id).filter(|process| process.backoff.may_start(now))
        else {
            return;
        };
        if process.backoff.forget_problem() {
            self.touch(id);
        }
        for _ in living.len()..replicas {
            let instance = Uid(ulid::Ulid::new().to_string());
            let state = InstanceState::Starting(String::new());
            let started = Instance { workload: id.clone(), spec: spec.clone(), state };
            self.instances.insert(instance.clone(), started);
            self.steps.push_back(Step::Start { instance, workload: id.clone(), spec: spec.clone() });
        }
    }

    fn stop(&mut self, uid: &Uid) {
        let Some(instance) = self.instances.get_mut(uid) else { return };
        if instance.state == InstanceState::Stopping {
            return;
        }
        instance.state = InstanceState::Stopping;
        let id = instance.workload.clone();
        self.steps.push_back(Step::Stop(uid.clone()));
        self.endpoints_changed(&id);
        self.touch(&id);
    }
}

#[cfg(test)]
mod tests;
