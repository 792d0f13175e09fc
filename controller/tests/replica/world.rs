//! One workload, a real executor on a memory store, nodes that say what the test says, and a clock that the test moves.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc;
use zenvoy_controller::execute::Executor;
use zenvoy_controller::leader::take_over;
use zenvoy_controller::model::{
    Endpoint, Fact, Phase, PodReference, Problem, Replica, Target, UpstreamFacts, UpstreamSpec,
};
use zenvoy_controller::replica::{
    Blocking, Core, CoreOptions, Effect, Event, Now, Said, SessionId, Switch, ToNode,
};
use zenvoy_controller::report::{Happening, Occasion, Status};
use zenvoy_controller::session::{Activity, Demand, DemandQuota, Moment};
use zenvoy_controller::store::{Key, LeaseId, Room, Store, Txn, WatchEvent, Write};
use zenvoy_controller::translate::{ListenerOptions, Names, type_url};
use zenvoy_shared::id::{ControllerId, DrainId, NodeEpoch, NodeId, Uid, UpstreamId, WorkloadId};
use zenvoy_shared::proto::held_upstream::Verdict;
use zenvoy_shared::proto::{HELD_UPSTREAM, HeldUpstream};

use crate::api::{Api, Meddle};
use crate::store::Switched;

const IDLE_AFTER: Duration = Duration::from_secs(300);

pub(crate) fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

pub(crate) fn workload() -> WorkloadId {
    WorkloadId::new("shop", "Deployment.apps", "cart")
}

pub(crate) struct World {
    api: Api,
    store: Switched,
    steps: mpsc::Receiver<WatchEvent>,
    lease: LeaseId,
    core: Core,
    executor: Executor,
    now: Now,
    held: BTreeMap<String, HeldUpstream>,
    statuses: BTreeMap<UpstreamId, Status>,
    occasions: Vec<Occasion>,
    told: Vec<(NodeId, ToNode)>,
    switches: Vec<(NodeId, Switch)>,
    sessions: BTreeMap<String, SessionId>,
    born: u8,
    /// The Pod that nodes say they live in.
    pod: Option<PodReference>,
    /// Nodes whose session was ended.
    hung: Vec<NodeId>,
    /// Pods that nodes without direct routes were given all the same.
    relayed: Vec<String>,
}

impl World {
    /// A cold service, a leading replica, no node.
    pub(crate) async fn started() -> Self {
        let (api, store) = (Api::default(), Switched::default());
        api.0.lock().expect("not poisoned").version = 1;
        let mut world = Self::with(api, store, 0).await;
        world.completes().await;
        world
    }

    /// The same, before the source has said everything.
    pub(crate) async fn loading() -> Self {
        Self::with(Api::default(), Switched::default(), 0).await
    }

    /// The source has said everything.
    pub(crate) async fn completes(&mut self) {
        self.event(Event::Fact(Fact::Complete)).await;
        self.wait(Duration::from_secs(1)).await;
    }

    /// A service that one node woke and that has one pod.
    pub(crate) async fn awake() -> Self {
        let mut world = Self::started().await;
        world.node_opens("node-1").await;
        world.holds("node-1", true).await;
        world.pod_ready("pod-1").await;
        world.holds("node-1", false).await;
        world
    }

    async fn with(api: Api, store: Switched, incarnation: u8) -> Self {
        let me = Replica {
            id: ControllerId(format!("replica-{incarnation}")),
            address: String::new(),
            version: String::new(),
            protocol_level: 2,
            unknown: serde_json::Map::new(),
        };
        let core = Core::new(CoreOptions {
            me: me.clone(),
            pool: "127.0.0.1:20000-20099".parse().expect("well-formed"),
            quarantine: Duration::from_secs(600),
            listeners: ListenerOptions {
                bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                http_port: 10_000,
                tls_port: 10_443,
            },
            names: Names::default(),
            max_offers: 8,
            quota: DemandQuota::default(),
        });
        let executor = Executor::new(Arc::new(store.clone()), Arc::new(api.clone()));
        let lease = store.grant(Duration::from_secs(3_600)).await.expect("the store answers");
        let snapshot = store.read(Room::All).await.expect("the store answers");
        let steps = store.watch(snapshot.revision).await.expect("the store answers");
        let mut world = Self {
            api,
            store: store.clone(),
            steps,
            lease,
            core,
            executor,
            now: Now { moment: Moment(Duration::from_secs(1_000)), unix_nanos: 1_000_000_000_000 },
            held: BTreeMap::new(),
            statuses: BTreeMap::new(),
            occasions: Vec::new(),
            told: Vec::new(),
            switches: Vec::new(),
            sessions: BTreeMap::new(),
            born: 0,
            pod: None,
            hung: Vec::new(),
            relayed: Vec::new(),
        };
        world.event(Event::Store(WatchEvent::Resync(snapshot))).await;
        world.event(Event::Lease(Some(lease))).await;
        let term = take_over(&store, &me).await.expect("the store answers").expect("alone");
        world.event(Event::Leads(Some(term))).await;
        world.opt_in("cart").await;
        world.see_endpoints().await;
        world
    }

    /// The replica dies and another starts over the same store and API server.
    pub(crate) async fn restart(&mut self) {
        let mut next = Self::with(self.api.clone(), self.store.clone(), 1).await;
        next.completes().await;
        // The dead one's lease has ended.
        let dead = Key::Controller(ControllerId("replica-0".into()));
        let txn = Txn { compares: Vec::new(), writes: vec![Write::Delete(dead)] };
        self.store.txn(txn).await.expect("the store answers");
        next.now.moment = self.now.moment;
        next.born = self.born;
        *self = next;
    }

    /// One event, and everything that follows from it at once.
    async fn event(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        loop {
            while let Some(event) = events.pop_front() {
                for effect in self.core.handle(event, self.now) {
                    self.effect(effect, &mut events).await;
                }
            }
            // The watch brings what was written; once it is silent nothing more follows by itself.
            match tokio::time::timeout(Duration::from_millis(5), self.steps.recv()).await {
                Ok(Some(step)) => events.push_back(Event::Store(step)),
                _ => return,
            }
        }
    }

    async fn effect(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Publish(changes) => {
                for change in changes.into_iter().filter(|change| &*change.type_url.0 == HELD_UPSTREAM) {
                    let name = change.name.to_string();
                    match change.content {
                        Some(content) => self
                            .held
                            .insert(name, HeldUpstream::decode(content.bytes().clone()).expect("as made")),
                        None => self.held.remove(&name),
                    };
                }
            }
            Effect::Tell(node, _, message) => self.told.push((node, message)),
            Effect::AwaitApplied(node, switch) => self.switches.push((node, switch)),
            Effect::Start(job) => {
                events.push_back(Event::Done(self.executor.run(job).await));
                let facts = self.api.0.lock().expect("not poisoned").facts();
                events.push_back(Event::Fact(Fact::Workload(workload(), facts)));
            }
            Effect::Status(upstream, status) => {
                self.statuses.insert(upstream, status);
            }
            Effect::Happened(occasion) => self.occasions.push(occasion),
            Effect::Hang(node, session) => {
                // The node hears it, and the session's end is told.
                self.hung.push(node.clone());
                events.push_back(Event::Said(node, session, Said::Closed));
            }
            Effect::Relay(changes) => self.relayed.extend(directly(&changes)),
            Effect::EndRelay => self.relayed.clear(),
            Effect::Gone(_) | Effect::Leading(_) => {}
        }
    }

    /// Lets time pass, with everything that falls due in it.
    pub(crate) async fn wait(&mut self, time: Duration) {
        let end = self.now.moment.after(time);
        loop {
            let due = self.core.next_due().filter(|due| *due <= end);
            let to = due.unwrap_or(end).max(self.now.moment);
            let step = to.0 - self.now.moment.0;
            self.now.moment = to;
            self.now.unix_nanos += u64::try_from(step.as_nanos()).expect("as made");
            self.event(Event::Tick).await;
            if due.is_none() {
                return;
            }
        }
    }

    /// The replica's wall clock is set.
    pub(crate) fn clock_jumps(&mut self, by_milliseconds: i64) {
        let by = by_milliseconds.saturating_mul(1_000_000);
        self.now.unix_nanos = self.now.unix_nanos.saturating_add_signed(by);
    }

    /// Somebody else writes a record.
    pub(crate) async fn write(&mut self, key: Key, value: &str) {
        let write = Write::Put(key, bytes::Bytes::copy_from_slice(value.as_bytes()), None);
        let txn = Txn { compares: Vec::new(), writes: vec![write] };
        self.store.txn(txn).await.expect("the store answers");
        self.event(Event::Tick).await;
    }

    /// Somebody else removes a record.
    pub(crate) async fn delete(&mut self, key: Key) {
        let txn = Txn { compares: Vec::new(), writes: vec![Write::Delete(key)] };
        self.store.txn(txn).await.expect("the store answers");
        self.event(Event::Tick).await;
    }

    /// The record as it lies in the store.
    pub(crate) async fn record(&self, key: &Key) -> Option<serde_json::Value> {
        let entries = self.store.read(Room::All).await.expect("the store answers").entries;
        let entry = entries.into_iter().find(|entry| entry.key == *key)?;
        Some(serde_json::from_slice(&entry.value).unwrap_or(serde_json::Value::Null))
    }

    // === facts ===

    pub(crate) async fn opt_in(&mut self, service: &str) {
        self.opt_in_as(service, UpstreamSpec::default()).await;
    }

    pub(crate) async fn opt_in_with_host(&mut self, service: &str, host: &str) {
        self.opt_in_as(service, UpstreamSpec { hosts: vec![host.into()], ..UpstreamSpec::default() }).await;
    }

    async fn opt_in_as(&mut self, service: &str, spec: UpstreamSpec) {
        let spec = UpstreamSpec { idle_after: IDLE_AFTER, ..spec };
        let facts = UpstreamFacts { spec, target: Target::Workload(workload()), created: 0 };
        self.event(Event::Fact(Fact::Upstream(UpstreamId::new("shop", service, 80), facts))).await;
        self.see_object().await;
        self.wait(Duration::from_secs(1)).await;
    }

    pub(crate) async fn opt_out(&mut self) {
        self.event(Event::Fact(Fact::UpstreamGone(cart()))).await;
        self.wait(Duration::from_secs(1)).await;
    }

    async fn see_object(&mut self) {
        let facts = self.api.0.lock().expect("not poisoned").facts();
        self.event(Event::Fact(Fact::Workload(workload(), facts))).await;
    }

    async fn see_endpoints(&mut self) {
        let pods: Vec<String> = self.api.0.lock().expect("not poisoned").pods.keys().cloned().collect();
        let endpoints = pods.iter().map(|pod| Endpoint {
            address: SocketAddr::from((Ipv4Addr::new(10, 42, 0, pod.as_bytes()[4] - b'0'), 80)),
            pod: Some(Uid(pod.clone())),
        });
        self.event(Event::Fact(Fact::Endpoints(cart(), endpoints.collect()))).await;
    }

    pub(crate) async fn pod_ready(&mut self, pod: &str) {
        self.api.0.lock().expect("not poisoned").pods.insert(pod.into(), false);
        self.see_endpoints().await;
    }

    pub(crate) async fn pods_end(&mut self) {
        self.api.0.lock().expect("not poisoned").pods.clear();
        self.see_object().await;
        self.see_endpoints().await;
    }

    pub(crate) fn refuse_scaling(&self, refuses: bool) {
        self.api.0.lock().expect("not poisoned").refuses = refuses;
    }

    /// Why its pods do not become ready, as the source tells.
    pub(crate) async fn pods_fail(&mut self, reason: Option<&str>) {
        let problem = reason.map(|reason| Problem { reason: reason.into(), message: "pod cart-1".into() });
        self.api.0.lock().expect("not poisoned").problem = problem;
        self.see_object().await;
    }

    /// A crash loop whose next start waits so long.
    pub(crate) async fn pods_back_off(&mut self, wait: Option<Duration>) {
        self.api.0.lock().expect("not poisoned").back_off = wait;
        self.pods_fail(Some("CrashLoop")).await;
    }

    pub(crate) fn touch_status_on_next_scale(&self) {
        self.api.0.lock().expect("not poisoned").on_next_scale = Some(Meddle::Status);
    }

    pub(crate) fn change_spec_on_next_scale(&self) {
        self.api.0.lock().expect("not poisoned").on_next_scale = Some(Meddle::Spec);
    }

    // === the store ===

    /// The store answers no call; the own lease still lives.
    pub(crate) fn store_falls_silent(&self) {
        self.store.falls_silent(true);
    }

    /// The store is away for so long that the own lease must be taken to have ended.
    pub(crate) async fn store_goes(&mut self) {
        self.store_falls_silent();
        self.event(Event::Lease(None)).await;
    }

    /// The store answers again.
    pub(crate) async fn store_returns(&mut self) {
        self.store.falls_silent(false);
        let lease = self.lease;
        self.event(Event::Lease(Some(lease))).await;
        self.wait(Duration::from_secs(15)).await;
    }

    pub(crate) async fn has_wake_record(&self) -> bool {
        let wakes = self.store.read(Room::Wakes).await.expect("the store answers");
        !wakes.entries.is_empty()
    }

    // === nodes ===

    pub(crate) async fn node_opens(&mut self, node: &str) {
        self.born += 1;
        let session = SessionId(self.born.into());
        self.sessions.insert(node.into(), session);
        let opened = Said::Opened {
            epoch: epoch(),
            demand: BTreeMap::new(),
            activity: Vec::new(),
            pod: self.pod.clone(),
        };
        self.event(Event::Said(NodeId(node.into()), session, opened)).await;
    }

    /// Nodes that open a session from now on say that they live in this Pod.
    pub(crate) fn nodes_live_in(&mut self, uid: &str) {
        let (namespace, name) = ("gateway".into(), "envoy-1".into());
        self.pod =
            Some(PodReference { namespace, name, uid: Uid(uid.into()), unknown: serde_json::Map::new() });
    }

    pub(crate) fn pod_of_node_exists(&self, uid: &str, exists: bool) {
        let mut object = self.api.0.lock().expect("not poisoned");
        if exists {
            object.gateways.insert(uid.into());
        } else {
            object.gateways.remove(uid);
        }
    }

    pub(crate) fn blocking(&self) -> Vec<Blocking> {
        self.core.blocking()
    }

    async fn says(&mut self, node: &str, said: Said) {
        let session = self.sessions[node];
        self.event(Event::Said(NodeId(node.into()), session, said)).await;
    }

    pub(crate) async fn says_goodbye(&mut self, node: &str) {
        self.says(node, Said::Goodbye).await;
    }

    pub(crate) async fn closes(&mut self, node: &str) {
        self.says(node, Said::Closed).await;
    }

    pub(crate) async fn holds(&mut self, node: &str, holds: bool) {
        let demand = Demand { traceparent: String::new(), since_unix_nanos: self.now.unix_nanos };
        let demand = holds.then(|| (cart(), demand)).into_iter().collect();
        self.says(node, Said::Demand(demand)).await;
    }

    pub(crate) async fn idle(&mut self, node: &str, seconds: u64) {
        let idle = Activity::idle_for(Duration::from_secs(seconds), self.now.moment);
        self.says(node, Said::Activity(vec![(cart(), idle)])).await;
    }

    /// The first node falls idle, and the limit passes.
    pub(crate) async fn idle_past_limit(&mut self) {
        self.idle("node-1", 0).await;
        self.wait(IDLE_AFTER + Duration::from_secs(1)).await;
    }

    pub(crate) async fn applied(&mut self, node: &str) {
        let node = NodeId(node.into());
        let (applied, rest) = std::mem::take(&mut self.switches).into_iter().partition(|(at, _)| *at == node);
        self.switches = rest;
        let applied: Vec<(NodeId, Switch)> = applied;
        for (node, switch) in applied {
            self.event(Event::Applied(node, switch)).await;
        }
    }

    pub(crate) fn asked_for_proof(&self, node: &str) -> Option<DrainId> {
        let asked = self.told.iter().rev().filter(|(to, _)| to.0 == node);
        let mut drains = asked.filter_map(|(_, message)| match message {
            ToNode::ProveQuiet { drain, .. } => Some(drain.clone()),
            _ => None,
        });
        drains.next()
    }

    pub(crate) async fn proves_quiet(&mut self, node: &str, drain: &DrainId) {
        self.says(node, Said::Quiet { drain: drain.clone(), epoch: epoch() }).await;
    }

    // === what is seen ===

    pub(crate) fn told(&self, node: &str) -> Vec<ToNode> {
        self.told.iter().filter(|(to, _)| to.0 == node).map(|(_, message)| message.clone()).collect()
    }

    /// The nodes whose session was ended, and the pods that nodes without direct routes were given.
    pub(crate) fn hung(&self) -> Vec<String> {
        self.hung.iter().map(|node| node.0.clone()).collect()
    }

    pub(crate) fn relayed_directly(&self) -> &[String] {
        &self.relayed
    }

    pub(crate) fn writes(&self) -> Vec<u32> {
        self.api.0.lock().expect("not poisoned").writes.clone()
    }

    pub(crate) fn tried(&self) -> usize {
        self.api.0.lock().expect("not poisoned").tried
    }

    pub(crate) fn phase(&self) -> Phase {
        self.statuses[&cart()].phase
    }

    /// Why connections to the service are served, or are not.
    pub(crate) fn ready_reason(&self) -> String {
        let ready = self.statuses[&cart()].conditions.iter().find(|condition| condition.kind == "Ready");
        ready.expect("always said").problem.reason.clone()
    }

    /// What clients are asked to wait.
    /// Why drains are paused, if they are.
    pub(crate) fn drains_paused(&self) -> Option<String> {
        let conditions = &self.statuses.get(&cart())?.conditions;
        let paused = conditions.iter().find(|condition| condition.kind == "DrainsPaused")?;
        Some(paused.problem.reason.clone())
    }

    pub(crate) fn retry_after(&self) -> Duration {
        match self.held[&cart().to_string()].verdict.as_ref().expect("a verdict") {
            Verdict::Fail(fail) => Duration::from_millis(fail.retry_after_ms),
            verdict => panic!("not failed: {verdict:?}"),
        }
    }

    pub(crate) fn happened(&self, what: impl Fn(&Happening) -> bool) -> usize {
        self.occasions.iter().filter(|occasion| what(&occasion.what)).count()
    }

    pub(crate) fn address(&self) -> String {
        self.address_of("cart")
    }

    pub(crate) fn address_of(&self, service: &str) -> String {
        self.held[&UpstreamId::new("shop", service, 80).to_string()].activator_address.clone()
    }

    pub(crate) fn verdict(&self) -> String {
        match self.held[&cart().to_string()].verdict.as_ref().expect("a verdict") {
            Verdict::Hold(hold) if hold.drain_id.is_empty() => "hold".into(),
            Verdict::Hold(_) => "hold for a drain".into(),
            Verdict::Forward(forward) => format!("forward {}", forward.endpoints.join(" ")),
            Verdict::Fail(fail) => format!("fail {}", fail.reason),
        }
    }
}

fn epoch() -> NodeEpoch {
    NodeEpoch("epoch-1".into())
}

/// The pods in what an Envoy is given.
fn directly(changes: &[zenvoy_xds::core::Change]) -> Vec<String> {
    use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
    let endpoints = changes.iter().filter(|change| &*change.type_url.0 == type_url::ENDPOINTS);
    let assignments = endpoints.filter_map(|change| {
        let content = change.content.as_ref()?.bytes().clone();
        Some(format!("{:?}", ClusterLoadAssignment::decode(content).expect("as made")))
    });
    assignments.filter(|assignment| assignment.contains("10.42.")).collect()
}
