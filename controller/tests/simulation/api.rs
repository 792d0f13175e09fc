//! The API server's side: one workload object, its pods, and a log of what watchers see of both.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use async_trait::async_trait;
use zenvoy_controller::model::{Endpoint, Fact, WorkloadFacts, WorkloadVersion};
use zenvoy_controller::source::{Pod as LivingPod, ScaleError, ScaleWrite, Scaler};
use zenvoy_shared::id::{Uid, UpstreamId, WorkloadId};

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
    version: u64,
    generation: i64,
    observed: i64,
    pub(crate) pods: BTreeMap<Pod, PodState>,
    born: Pod,
    pub(crate) objects: Vec<Fact>,
    pub(crate) endpoints: Vec<Fact>,
    /// Writes 0 -> n since replicas were 0 the last time; never above 1 (I1).
    pub(crate) ups: u32,
    pub(crate) scaled_up: u32,
    pub(crate) scaled_down: u32,
    /// The next scale write is carried out but not answered.
    pub(crate) unanswered: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct SimApi(Arc<Mutex<State>>);

impl Default for SimApi {
    fn default() -> Self {
        let mut state = State {
            replicas: 0,
            version: 1,
            generation: 1,
            observed: 1,
            pods: BTreeMap::new(),
            born: 0,
            objects: Vec::new(),
            endpoints: Vec::new(),
            ups: 0,
            scaled_up: 0,
            scaled_down: 0,
            unanswered: false,
        };
        state.log_object();
        state.log_endpoints();
        Self(Arc::new(Mutex::new(state)))
    }
}

impl SimApi {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }
}

impl State {
    fn facts(&self) -> WorkloadFacts {
        WorkloadFacts {
            version: WorkloadVersion {
                uid: Uid("uid-1".into()),
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
        Ok(Some(self.state().facts()))
    }

    async fn scale(&self, workload: &WorkloadId, write: &ScaleWrite) -> Result<String, ScaleError> {
        turn().await;
        let mut state = self.state();
        if write.resource_version != state.version.to_string() {
            return Err(ScaleError::Conflict(workload.clone()));
        }
        if state.replicas == 0 && write.replicas > 0 {
            state.ups += 1;
            state.scaled_up += 1;
        }
        if write.replicas == 0 {
            state.ups = 0;
            state.scaled_down += 1;
        }
        state.replicas = write.replicas;
        state.version += 1;
        state.generation += 1;
        state.log_object();
        if std::mem::take(&mut state.unanswered) {
            return Err(ScaleError::Unavailable { workload: workload.clone(), reason: "no answer".into() });
        }
        Ok(state.version.to_string())
    }

    async fn pods(&self, _: &WorkloadId) -> Result<Vec<LivingPod>, ScaleError> {
        turn().await;
        let state = self.state();
        let pods = state.pods.iter();
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
