//! The world around the production code: API server, store, Envoy, proxy and clients, each as small as can be.

mod cluster;
mod records;
mod replica;
mod traffic;

use std::collections::BTreeMap;

use zenvoy_controller::model::WakeState;

/// Rules that can be switched off, to see what they are for.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) flush_barrier: bool,
    pub(crate) condemned_pods: bool,
    pub(crate) connection_cancels: bool,
    pub(crate) commit_first: bool,
    pub(crate) pinned: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        flush_barrier: true,
        condemned_pods: true,
        connection_cancels: true,
        commit_first: true,
        pinned: true,
    };
}

const CLIENTS: u8 = 2;
const DRAINS: u8 = 2;

/// A pod by number; its address follows from it.
type Pod = u8;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum PodState {
    Starting,
    Ready,
    Terminating,
}

/// The workload object: replicas, and the number of writes to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Object {
    replicas: u32,
    version: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Drain {
    Offered,
    Cancelled,
    Committed { pinned: u8, condemned: Vec<Pod> },
    Done { condemned: Vec<Pod> },
}

/// Where Envoy sends connections, or what the proxy does with them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum To {
    Pod(Pod),
    /// The number of the drain that asks for it.
    Activator(Option<u8>),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World {
    object: Object,
    pods: BTreeMap<Pod, PodState>,
    born: Pod,
    seen_object: Object,
    seen_ready: Vec<Pod>,
    wake: Option<(WakeState, u8)>,
    drain: Option<(Drain, u8)>,
    drains: u8,
    revision: u8,
    acked: Option<u8>,
    main: To,
    worker: To,
    proxy: To,
    clients: u8,
    held: u8,
    open: Vec<Pod>,
    pub(crate) violation: Option<&'static str>,
}

impl World {
    pub(crate) fn start() -> Self {
        let object = Object { replicas: 0, version: 1 };
        Self {
            object,
            pods: BTreeMap::new(),
            born: 0,
            seen_object: object,
            seen_ready: Vec::new(),
            wake: None,
            drain: None,
            drains: 0,
            revision: 0,
            acked: None,
            main: To::Activator(None),
            worker: To::Activator(None),
            proxy: To::Activator(None),
            clients: 0,
            held: 0,
            open: Vec::new(),
            violation: None,
        }
    }

    /// Every client came and went.
    pub(crate) fn is_served(&self) -> bool {
        self.clients == CLIENTS && self.held == 0 && self.open.is_empty()
    }

    /// Everything that can happen next.
    pub(crate) fn actions(&self, rules: Rules) -> Vec<(&'static str, Self)> {
        let mut next = Vec::new();
        let mut may = |name, change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            if world != *self {
                next.push((name, world));
            }
        };
        may("a client connects", &|w| w.connect(rules));
        may("a client is done", &|w| {
            w.open.pop();
        });
        may("the proxy releases a held connection", &Self::release);
        may("Kubernetes starts a pod", &Self::start_pod);
        may("a pod becomes ready", &|w| w.change_pods(PodState::Starting, Some(PodState::Ready)));
        may("Kubernetes ends surplus pods", &Self::end_pods);
        may("a terminating pod is gone", &|w| w.change_pods(PodState::Terminating, None));
        may("the replica sees the object", &|w| w.seen_object = w.object);
        may("the replica sees the endpoints", &|w| w.seen_ready = w.living(|state| state == PodState::Ready));
        may("Envoy's main thread takes the route", &|w| w.main = w.route(rules));
        may("Envoy's worker takes the route", &|w| w.worker = w.main);
        may("the proxy takes the verdict", &|w| w.proxy = w.route(rules));
        may("the replica opens a wake", &|w| w.open_wake(rules));
        may("the replica acknowledges the drain", &|w| w.acknowledge(rules));
        may("the leader plans the wake", &|w| w.plan_wake(rules));
        may("the leader plans the drain, all idle", &|w| w.plan_drain(true, rules));
        may("the leader plans the drain, not all idle", &|w| w.plan_drain(false, rules));
        next
    }
}
