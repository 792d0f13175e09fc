//! The API server's side: one workload object, its pods, further services, and a log of what watchers see of each.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use async_trait::async_trait;
use zenvoy_controller::model::{Endpoint, Fact, Problem, WorkloadFacts, WorkloadVersion};
use zenvoy_controller::source::{Pod as LivingPod, ScaleError, ScaleWrite, Scaler};
use zenvoy_shared::id::{Uid, UpstreamId, WorkloadId};

use crate::rules::Rules;
use crate::watchdog::Watchdog;

pub(crate) fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

pub(crate) fn workload() -> WorkloadId {
    WorkloadId::new("shop", "Deployment.apps", "cart")
}

/// A pod by number; its address and UID follow from it.
pub(crate) type Pod = u16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PodState {
    Starting,
    Ready,
    Terminating,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) replicas: u32,
    /// How often it was created.
    created: u32,
    version: u64,
    generation: i64,
    observed: i64,
    pub(crate) pods: BTreeMap<Pod, PodState>,
    born: Pod,
    pub(crate) objects: Vec<Fact>,
    pub(crate) endpoints: Vec<Fact>,
    /// Services that come and go.
    pub(crate) services: Vec<Fact>,
    pub(crate) scaled_up: u32,
    pub(crate) scaled_down: u32,
    /// The next scale write is carried out but not answered.
    pub(crate) unanswered: bool,
    /// A quota has no room: no pod may be asked for.
    pub(crate) refuses: bool,
    rules: Rules,
}

/// How far a replica's watches have come.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    objects: AtomicUsize,
    endpoints: AtomicUsize,
}

/// One replica's way to the API server.
#[derive(Debug, Clone)]
pub(crate) struct SimApi {
    state: Arc<Mutex<State>>,
    watched: Arc<Watched>,
    watchdog: Watchdog,
    rules: Rules,
}

impl SimApi {
    pub(crate) fn new(rules: Rules, watchdog: Watchdog) -> Self {
        let mut state = State {
            replicas: 0,
            created: 1,
            version: 1,
            generation: 1,
            observed: 1,
            pods: BTreeMap::new(),
            born: 0,
            objects: Vec::new(),
            endpoints: Vec::new(),
            services: Vec::new(),
            scaled_up: 0,
            scaled_down: 0,
            unanswered: false,
            refuses: false,
            rules,
        };
        state.log_object();
        state.log_endpoints();
        Self { state: Arc::new(Mutex::new(state)), watched: Arc::default(), watchdog, rules }
    }

    /// Another replica's way.
    pub(crate) fn another(&self) -> Self {
        Self { watched: Arc::default(), ..self.clone() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// Somebody deletes the object and creates another of its name.
    pub(crate) fn recreate(&self) {
        self.state().recreate();
        self.watchdog.recreated();
    }

    /// The next that the replica's watch of the object brings.
    pub(crate) fn next_object(&self) -> Option<Fact> {
        next(&self.state().objects, &self.watched.objects)
    }

    /// The next that its watch of the endpoints brings.
    pub(crate) fn next_endpoints(&self) -> Option<Fact> {
        next(&self.state().endpoints, &self.watched.endpoints)
    }

    /// Without rule G1: what its watches have brought stands for what is.
    fn cached(&self) -> (WorkloadFacts, Vec<LivingPod>) {
        let state = self.state();
        let last = |log: &[Fact], at: &AtomicUsize| log[at.load(Ordering::Relaxed).saturating_sub(1)].clone();
        let Fact::Workload(_, facts) = last(&state.objects, &self.watched.objects) else { unreachable!() };
        let Fact::Endpoints(_, ready) = last(&state.endpoints, &self.watched.endpoints) else {
            unreachable!()
        };
        let pods = ready.into_iter().filter_map(|endpoint| endpoint.pod);
        (facts, pods.map(|uid| LivingPod { uid, terminating: false }).collect())
    }
}

fn next(log: &[Fact], at: &AtomicUsize) -> Option<Fact> {
    let fact = log.get(at.load(Ordering::Relaxed))?.clone();
    at.fetch_add(1, Ordering::Relaxed);
    Some(fact)
}

impl State {
    fn facts(&self) -> WorkloadFacts {
        WorkloadFacts {
            version: WorkloadVersion {
                uid: Uid(format!("uid-{}", if self.rules.uids { self.created } else { 1 })),
                resource_version: self.version.to_string(),
                generation: self.generation,
                observed_generation: self.observed,
            },
            replicas: self.replicas,
            problem: None,
            back_off: None,
        }
    }

    fn log_object(&mut self) {
        self.objects.push(Fact::Workload(workload(), self.facts()));
    }

    fn log_endpoints(&mut self) {
        let ready = self.pods.iter().filter(|(_, state)| **state == PodState::Ready);
        let endpoints = ready.map(|(pod, _)| Endpoint { address: address(*pod), pod: Some(uid(*pod)) });
        let fact = Fact::Endpoints(cart(), endpoints.collect());
        if self.endpoints.last() != Some(&fact) {
            self.endpoints.push(fact);
        }
    }

    /// A status write: the version moves, the generation does not.
    pub(crate) fn touch(&mut self) {
        self.version += 1;
        self.observed = self.generation;
        self.log_object();
    }

    /// The object is deleted, and created anew at one replica; then its spec is changed once. Its pods begin anew, too.
    fn recreate(&mut self) {
        self.objects.push(Fact::WorkloadGone(workload()));
        self.replicas = 1;
        self.created += 1;
        self.version += 1;
        (self.generation, self.observed) = (2, 2);
        self.pods.clear();
        self.log_object();
        self.log_endpoints();
    }

    /// A pod that serves is lost with its machine, and another takes its place.
    pub(crate) fn replace_pod(&mut self) {
        self.pods.retain(|_, state| *state != PodState::Ready);
        self.start_pod();
        self.ready_pods();
    }

    /// The pods are lost with their machine.
    pub(crate) fn lose_pods(&mut self) {
        self.pods.clear();
        self.log_endpoints();
    }

    pub(crate) fn start_pod(&mut self) {
        let living = self.pods.values().filter(|state| **state != PodState::Terminating).count();
        if self.replicas > 0 && living == 0 {
            self.born += 1;
            self.pods.insert(self.born, PodState::Starting);
        }
    }

    pub(crate) fn ready_pods(&mut self) {
        for state in self.pods.values_mut().filter(|state| **state == PodState::Starting) {
            *state = PodState::Ready;
        }
        self.log_endpoints();
    }

    /// Returns the pods that are told to end now.
    pub(crate) fn end_pods(&mut self) -> Vec<Pod> {
        if self.replicas > 0 {
            return Vec::new();
        }
        let mut ended = Vec::new();
        for (pod, state) in self.pods.iter_mut().filter(|(_, state)| **state != PodState::Terminating) {
            *state = PodState::Terminating;
            ended.push(*pod);
        }
        self.log_endpoints();
        ended
    }

    pub(crate) fn remove_ended(&mut self) {
        self.pods.retain(|_, state| *state != PodState::Terminating);
    }
}

pub(crate) fn address(pod: Pod) -> SocketAddr {
    let [high, low] = pod.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 42, high, low), 80))
}

pub(crate) fn pod_at(address: SocketAddr) -> Pod {
    let SocketAddr::V4(address) = address else { panic!("pods of this world are IPv4") };
    let [_, _, high, low] = address.ip().octets();
    Pod::from_be_bytes([high, low])
}

fn uid(pod: Pod) -> Uid {
    Uid(format!("pod-{pod}"))
}

#[async_trait]
impl Scaler for SimApi {
    async fn read(&self, _: &WorkloadId) -> Result<Option<WorkloadFacts>, ScaleError> {
        turn().await;
        Ok(Some(if self.rules.quorum_reads { self.state().facts() } else { self.cached().0 }))
    }

    async fn scale(&self, workload: &WorkloadId, write: &ScaleWrite) -> Result<String, ScaleError> {
        turn().await;
        let mut state = self.state();
        let compares = if write.replicas > 0 { self.rules.seen_at_zero } else { self.rules.pinned };
        if compares && write.resource_version != state.version.to_string() {
            return Err(ScaleError::Conflict(workload.clone()));
        }
        if write.replicas > 0 && state.refuses {
            let problem = Problem { reason: "QuotaExceeded".into(), message: "no room for a pod".into() };
            return Err(ScaleError::Refused { workload: workload.clone(), problem });
        }
        if state.replicas == 0 && write.replicas > 0 {
            state.scaled_up += 1;
            self.watchdog.scaled_up();
        }
        if write.replicas == 0 {
            state.scaled_down += 1;
            self.watchdog.scaled_down();
        }
        state.replicas = write.replicas;
        state.version += 1;
        state.generation += 1;
        state.log_object();
        if std::mem::take(&mut state.unanswered) {
            self.watchdog.lacks_answers();
            return Err(ScaleError::Unavailable { workload: workload.clone(), reason: "no answer".into() });
        }
        Ok(state.version.to_string())
    }

    async fn pods(&self, _: &WorkloadId) -> Result<Vec<LivingPod>, ScaleError> {
        turn().await;
        if !self.rules.quorum_reads {
            return Ok(self.cached().1);
        }
        let state = self.state();
        let listed = self.rules.living_pods || state.replicas > 0;
        let pods = state.pods.iter().filter(|_| listed);
        Ok(pods
            .map(|(pod, state)| LivingPod { uid: uid(*pod), terminating: *state == PodState::Terminating })
            .collect())
    }
}

/// Lets the scheduler choose what happens next before a call is carried out.
pub(crate) fn turn() -> impl Future<Output = ()> + Send {
    struct Turn(bool);
    impl Future for Turn {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
        }
    }
    Turn(false)
}
