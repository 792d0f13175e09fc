//! The world around the production code: API server, store, Envoy, proxy and clients, each as small as can be.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zenvoy_controller::model::{
    DrainAck, DrainRecord, DrainState, Endpoint, Fact, Inventory, PinnedWorkload, Revision, Route, Target,
    UpstreamFacts, UpstreamSpec, Versioned, WakeRecord, WakeState, WorkloadFacts, WorkloadVersion,
};
use zenvoy_controller::plan::drain::{DrainStep, Surroundings};
use zenvoy_controller::plan::wake::WakeStep;
use zenvoy_controller::plan::{drain, wake};
use zenvoy_shared::id::{ControllerId, DrainId, Episode, NodeId, Uid, UpstreamId, WorkloadId};

/// Rules that can be switched off, to see what they are for.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) flush_barrier: bool,
    pub(crate) condemned_pods: bool,
    pub(crate) connection_cancels: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self { flush_barrier: true, condemned_pods: true, connection_cancels: true };
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

    // === clients, Envoy, proxy ===

    fn connect(&mut self, rules: Rules) {
        if self.clients == CLIENTS {
            return;
        }
        self.clients += 1;
        match (self.worker, self.proxy) {
            (To::Pod(pod), _) | (To::Activator(_), To::Pod(pod)) => self.reach(pod),
            (To::Activator(_), To::Activator(_)) => {
                self.held += 1;
                if rules.connection_cancels {
                    self.acked = None;
                }
            }
        }
    }

    fn release(&mut self) {
        if let (To::Pod(pod), 1..) = (self.proxy, self.held) {
            self.held -= 1;
            self.reach(pod);
        }
    }

    fn reach(&mut self, pod: Pod) {
        match self.pods.get(&pod) {
            Some(PodState::Ready) => self.open.push(pod),
            _ => self.violation = Some("a connection was sent to a pod that does not serve"),
        }
    }

    /// Rule D3, as the node sees it: nothing open, nothing held, the switch has passed every worker.
    fn acknowledge(&mut self, rules: Rules) {
        let Some((Drain::Offered, _)) = self.drain else { return };
        let switched = To::Activator(Some(self.drains));
        let quiet = self.main == switched
            && (self.worker == switched || !rules.flush_barrier)
            && self.proxy == switched
            && self.held == 0
            && self.open.is_empty();
        if quiet {
            self.acked = Some(self.drains);
        }
    }

    // === Kubernetes ===

    fn living(&self, wanted: impl Fn(PodState) -> bool) -> Vec<Pod> {
        self.pods.iter().filter(|(_, state)| wanted(**state)).map(|(pod, _)| *pod).collect()
    }

    fn start_pod(&mut self) {
        if self.object.replicas > 0 && self.living(|state| state != PodState::Terminating).is_empty() {
            self.born += 1;
            self.pods.insert(self.born, PodState::Starting);
        }
    }

    fn change_pods(&mut self, from: PodState, to: Option<PodState>) {
        for pod in self.living(|state| state == from) {
            let _before = match to {
                Some(to) => self.pods.insert(pod, to),
                None => self.pods.remove(&pod),
            };
        }
    }

    fn end_pods(&mut self) {
        if self.object.replicas > 0 {
            return;
        }
        for pod in self.living(|state| state != PodState::Terminating) {
            if self.open.contains(&pod) {
                self.violation = Some("a pod was ended with a connection open");
            }
            self.pods.insert(pod, PodState::Terminating);
        }
    }

    /// A patch that carries a version: the API server refuses any other than the present one.
    fn patch(&mut self, replicas: u32, version: u8) {
        if version == self.object.version {
            self.object = Object { replicas, version: version + 1 };
        }
    }

    // === the replica: production code over its own view ===

    fn inventory(&self, rules: Rules) -> Inventory {
        let mut inventory = Inventory::default();
        let upstream =
            UpstreamFacts { spec: UpstreamSpec::default(), target: Target::Workload(workload()), created: 0 };
        inventory.apply(Fact::Upstream(cart(), upstream));
        let version = WorkloadVersion {
            uid: uid(),
            resource_version: self.seen_object.version.to_string(),
            generation: self.seen_object.version.into(),
            observed_generation: self.seen_object.version.into(),
        };
        let facts =
            WorkloadFacts { version, replicas: self.seen_object.replicas, problem: None, back_off: None };
        inventory.apply(Fact::Workload(workload(), facts));
        let endpoints = self.seen_ready.iter().map(|pod| Endpoint {
            address: SocketAddr::from((Ipv4Addr::new(10, 42, 0, *pod), 80)),
            pod: rules.condemned_pods.then(|| pod_uid(*pod)),
        });
        inventory.apply(Fact::Endpoints(cart(), endpoints.collect()));
        if let Some((state, revision)) = self.wake {
            inventory.set_wake(&workload(), Versioned { record: wake_record(state), revision: at(revision) });
        }
        if let Some((drain, revision)) = &self.drain {
            let record = drain_record(drain, self.drains);
            inventory.set_drain(&workload(), Versioned { record, revision: at(*revision) });
        }
        inventory
    }

    fn route(&self, rules: Rules) -> To {
        let (inventory, id) = (self.inventory(rules), workload());
        let view = inventory.view(&id);
        match view.route(&view.upstreams[0]) {
            Route::Pods(pods) => match pods[0] {
                SocketAddr::V4(address) => To::Pod(address.ip().octets()[3]),
                SocketAddr::V6(_) => unreachable!("pods of this world are IPv4"),
            },
            Route::Activator { drain } => To::Activator(drain.map(|_| self.drains)),
            Route::Fail(problem) => unreachable!("{problem:?}"),
        }
    }

    fn write(&mut self) -> u8 {
        self.revision += 1;
        self.revision
    }

    fn wake_is_open(&self) -> bool {
        matches!(self.wake, Some((WakeState::Created | WakeState::Scaled, _)))
    }

    /// Rule D11: demand that the view does not serve opens a wake, and takes back the own acknowledgement.
    fn open_wake(&mut self, rules: Rules) {
        if self.held > 0 && !self.wake_is_open() && matches!(self.route(rules), To::Activator(_)) {
            self.wake = Some((WakeState::Created, self.write()));
            if rules.connection_cancels {
                self.acked = None;
            }
        }
    }

    fn plan_wake(&mut self, rules: Rules) {
        let (inventory, id) = (self.inventory(rules), workload());
        match wake::next(&inventory.view(&id), false, Duration::ZERO) {
            WakeStep::Nothing => {}
            WakeStep::ScaleUp { replicas, resource_version, .. } => {
                self.patch(replicas, resource_version.parse().expect("a number"));
            }
            WakeStep::RecordScaled { .. } => self.wake = Some((WakeState::Scaled, self.write())),
            WakeStep::Retire { .. } | WakeStep::GiveUp { .. } => {
                self.wake = Some((WakeState::Retired, self.write()));
            }
        }
    }

    fn plan_drain(&mut self, all_vote_idle: bool, rules: Rules) {
        let nodes = BTreeMap::from([(NodeId("node-1".into()), Revision(1))]);
        let replica = ControllerId("replica-1".into());
        let acks = self.acked.map(|drain| {
            let nodes = BTreeMap::from([("node-1".into(), Revision(1))]);
            (replica.clone(), DrainAck { drain: drain_id(drain), nodes, unknown: serde_json::Map::new() })
        });
        let (acks, live) = (acks.into_iter().collect(), [replica]);
        let around = Surroundings {
            nodes: &nodes,
            acks: &acks,
            live: &live,
            all_vote_idle,
            offered_for: Duration::ZERO,
        };
        let (inventory, id) = (self.view_of_drain(rules), workload());
        match drain::next(&inventory.view(&id), &around) {
            DrainStep::Nothing => {}
            DrainStep::Offer { .. } if self.drains < DRAINS => {
                self.drains += 1;
                self.acked = None;
                self.drain = Some((Drain::Offered, self.write()));
            }
            DrainStep::Offer { .. } => {}
            DrainStep::Cancel { .. } => self.drain = Some((Drain::Cancelled, self.write())),
            DrainStep::Commit { .. } => self.commit(rules),
            DrainStep::ScaleDown { pinned } => {
                self.patch(0, pinned.resource_version.parse().expect("a number"));
            }
            DrainStep::Overtaken { .. } | DrainStep::Finish { .. } => self.finish(),
        }
    }

    /// The leader's view of the drain; without rule D11 it is blind for the wake.
    fn view_of_drain(&self, rules: Rules) -> Inventory {
        let blind = Self { wake: None, ..self.clone() };
        if rules.connection_cancels { self.inventory(rules) } else { blind.inventory(rules) }
    }

    /// Rules D5 and D6: the object and its pods by quorum read.
    fn commit(&mut self, rules: Rules) {
        if self.object.replicas == 0 || (rules.connection_cancels && self.wake_is_open()) {
            return;
        }
        let condemned = self.pods.keys().copied().collect();
        self.drain = Some((Drain::Committed { pinned: self.object.version, condemned }, self.write()));
    }

    /// Rule D8: by quorum read nothing is asked for and nothing lives.
    fn finish(&mut self) {
        if let Some((Drain::Committed { condemned, .. }, _)) = self.drain.clone()
            && self.object.replicas == 0
            && self.pods.is_empty()
        {
            self.drain = Some((Drain::Done { condemned }, self.write()));
        }
    }
}

fn at(revision: u8) -> Revision {
    Revision(revision.into())
}

fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

fn workload() -> WorkloadId {
    WorkloadId::new("shop", "Deployment.apps", "cart")
}

fn uid() -> Uid {
    Uid("uid-1".into())
}

fn pod_uid(pod: Pod) -> Uid {
    Uid(format!("pod-{pod}"))
}

fn drain_id(number: u8) -> DrainId {
    DrainId(format!("drain-{number}"))
}

fn wake_record(state: WakeState) -> WakeRecord {
    WakeRecord {
        uid: uid(),
        episode: Episode("episode".into()),
        upstream: cart(),
        traceparent: String::new(),
        state,
        opened_unix_ms: 0,
        attempts: 0,
        last_error: None,
        endpoints: Vec::new(),
        ready: None,
        unknown: serde_json::Map::new(),
    }
}

fn drain_record(drain: &Drain, number: u8) -> DrainRecord {
    let uids = |pods: &[Pod]| pods.iter().copied().map(pod_uid).collect();
    let state = match drain {
        Drain::Offered => DrainState::Offered,
        Drain::Cancelled => DrainState::Cancelled { reason: "a connection arrived".into() },
        Drain::Committed { pinned, condemned } => DrainState::Committed {
            pinned: PinnedWorkload {
                resource_version: pinned.to_string(),
                generation: (*pinned).into(),
                unknown: serde_json::Map::new(),
            },
            condemned: uids(condemned),
        },
        Drain::Done { condemned } => DrainState::Done { condemned: uids(condemned) },
    };
    DrainRecord {
        uid: uid(),
        id: drain_id(number),
        upstreams: vec![cart()],
        state,
        offered_unix_ms: 0,
        replicas: 1,
        unknown: serde_json::Map::new(),
    }
}
