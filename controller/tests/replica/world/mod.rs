//! One workload, a real executor on a memory store, nodes that say what the test says, and a clock that the test moves.

mod facts;
mod nodes;
mod seen;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc;
use zenvoy_controller::execute::Executor;
use zenvoy_controller::leader::take_over;
use zenvoy_controller::model::{Fact, PodReference, Replica};
use zenvoy_controller::replica::{Core, CoreOptions, Effect, Event, Now, Said, SessionId, Switch, ToNode};
use zenvoy_controller::report::{Occasion, Status};
use zenvoy_controller::session::{DemandQuota, Moment};
use zenvoy_controller::store::{Key, LeaseId, Room, Store, Txn, WatchEvent, Write};
use zenvoy_controller::translate::{ListenerOptions, Names, type_url};
use zenvoy_shared::id::{ControllerId, NodeId, UpstreamId, WorkloadId};
use zenvoy_shared::proto::{HELD_UPSTREAM, HeldUpstream};

use crate::api::Api;
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
    http_listener: Vec<u8>,
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
    /// What was offered to nodes again.
    offered: Vec<String>,
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
            http_listener: Vec::new(),
            statuses: BTreeMap::new(),
            occasions: Vec::new(),
            told: Vec::new(),
            switches: Vec::new(),
            sessions: BTreeMap::new(),
            born: 0,
            pod: None,
            hung: Vec::new(),
            relayed: Vec::new(),
            offered: Vec::new(),
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
                for change in &changes {
                    if &*change.name == "zenvoy-http"
                        && let Some(content) = &change.content
                    {
                        self.http_listener = content.bytes().to_vec();
                    }
                }
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
            Effect::OfferAgain(resource) => self.offered.push(resource.name.to_string()),
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
