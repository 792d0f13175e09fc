//! One replica: the production core, its executor's jobs in flight, and what it has seen of the world so far.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use prost::Message;
use zenvoy_controller::execute::{Executor, JobDone};
use zenvoy_controller::leader::take_over;
use zenvoy_controller::model::{Fact, Replica as Me, Target, Term, UpstreamFacts, UpstreamSpec};
use zenvoy_controller::replica::{Core, CoreOptions, Effect, Event, Now, SessionId, Switch, ToNode};
use zenvoy_controller::session::DemandQuota;
use zenvoy_controller::store::{LeaseId, Room, WatchEvent};
use zenvoy_controller::translate::{ListenerOptions, Names, type_url};
use zenvoy_shared::id::{ControllerId, NodeId};
use zenvoy_shared::proto::held_upstream::Verdict as WireVerdict;
use zenvoy_shared::proto::{HELD_UPSTREAM, HeldUpstream};

use crate::api::{Pod, SimApi, cart, pod_at, workload};
use crate::node::{To, Verdict};
use crate::store::SimStore;

type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a replica serves of the one upstream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Served {
    pub(crate) envoy: To,
    pub(crate) proxy: Verdict,
}

pub(crate) struct Replica {
    me: Me,
    /// How its jobs ended.
    pub(crate) log: Vec<String>,
    pub(crate) core: Core,
    executor: Executor,
    jobs: Vec<Running<JobDone>>,
    taking_over: Option<Running<Option<Term>>>,
    watched: usize,
    objects: usize,
    endpoints: usize,
    pub(crate) lease: Option<LeaseId>,
    pub(crate) served: Served,
    pub(crate) told: VecDeque<(NodeId, SessionId, ToNode)>,
    pub(crate) awaited: Vec<(NodeId, Switch)>,
    pub(crate) hung: Vec<(NodeId, SessionId)>,
    /// Its views stand still.
    pub(crate) lags: bool,
}

impl Replica {
    pub(crate) fn start(number: usize, store: &SimStore, api: &SimApi, now: Now) -> Self {
        let me = Me {
            id: ControllerId(format!("replica-{number}")),
            address: String::new(),
            version: String::new(),
            protocol_level: 1,
            unknown: serde_json::Map::new(),
        };
        let bind = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let core = Core::new(CoreOptions {
            me: me.clone(),
            pool: "127.0.0.1:20000-20009".parse().expect("a pool"),
            quarantine: Duration::from_secs(600),
            listeners: ListenerOptions { bind, http_port: 10_000, tls_port: 10_443 },
            names: Names::default(),
            max_offers: 8,
            quota: DemandQuota::default(),
        });
        let executor = Executor::new(Arc::new(store.clone()), Arc::new(api.clone()));
        let lease = store.lease();
        let mut replica = Self {
            me,
            log: Vec::new(),
            core,
            executor,
            jobs: Vec::new(),
            taking_over: None,
            watched: store.state().log.len(),
            objects: 0,
            endpoints: 0,
            lease: Some(lease),
            served: Served::default(),
            told: VecDeque::new(),
            awaited: Vec::new(),
            hung: Vec::new(),
            lags: false,
        };
        replica.event(Event::Store(WatchEvent::Resync(store.snapshot(Room::All))), now);
        replica.event(Event::Lease(Some(lease)), now);
        let spec = UpstreamSpec { idle_after: Duration::from_secs(1), ..UpstreamSpec::default() };
        let facts = UpstreamFacts { spec, target: Target::Workload(workload()), created: 0 };
        replica.event(Event::Fact(Fact::Upstream(cart(), facts)), now);
        while replica.see_object(api, now) || replica.see_endpoints(api, now) {}
        replica.event(Event::Fact(Fact::Complete), now);
        replica
    }

    pub(crate) fn event(&mut self, event: Event, now: Now) {
        for effect in self.core.handle(event, now) {
            match effect {
                Effect::Publish(changes) => {
                    for change in changes {
                        self.publish(
                            &change.type_url.0,
                            change.content.map(|content| content.bytes().clone()),
                        );
                    }
                }
                Effect::Tell(node, session, message) => self.told.push_back((node, session, message)),
                Effect::AwaitApplied(node, switch) => self.awaited.push((node, switch)),
                Effect::Start(job) => {
                    let executor = self.executor.clone();
                    self.jobs.push(Box::pin(async move { executor.run(job).await }));
                }
                Effect::Hang(node, session) => self.hung.push((node, session)),
                Effect::Relay(..) | Effect::EndRelay | Effect::OfferAgain(_) => {}
                Effect::Status(..) | Effect::Gone(_) | Effect::Happened(_) | Effect::Leading(_) => {}
            }
        }
    }

    fn publish(&mut self, type_url: &str, content: Option<bytes::Bytes>) {
        let Some(content) = content else { return };
        if type_url == type_url::ENDPOINTS {
            let assignment =
                envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment::decode(content);
            self.served.envoy = to(&assignment.expect("an assignment"));
        } else if type_url == HELD_UPSTREAM {
            self.served.proxy = verdict(HeldUpstream::decode(content).expect("a held upstream"));
        }
    }

    // === what it sees, with a lag ===

    pub(crate) fn watch(&mut self, store: &SimStore, now: Now) -> bool {
        let step = store.state().log.get(self.watched).cloned();
        let Some(step) = step else { return false };
        self.watched += 1;
        self.event(Event::Store(step), now);
        true
    }

    pub(crate) fn resync(&mut self, store: &SimStore, now: Now) {
        self.watched = store.state().log.len();
        self.event(Event::Store(WatchEvent::Resync(store.snapshot(Room::All))), now);
    }

    pub(crate) fn see_object(&mut self, api: &SimApi, now: Now) -> bool {
        let fact = api.state().objects.get(self.objects).cloned();
        let Some(fact) = fact else { return false };
        self.objects += 1;
        self.event(Event::Fact(fact), now);
        true
    }

    pub(crate) fn see_endpoints(&mut self, api: &SimApi, now: Now) -> bool {
        let fact = api.state().endpoints.get(self.endpoints).cloned();
        let Some(fact) = fact else { return false };
        self.endpoints += 1;
        self.event(Event::Fact(fact), now);
        true
    }

    pub(crate) fn tick(&mut self, now: Now) {
        self.event(Event::Tick, now);
    }

    // === jobs ===

    /// One call of one job is carried out.
    pub(crate) fn step_job(&mut self, pick: usize, now: Now) -> bool {
        if self.jobs.is_empty() {
            return false;
        }
        let at = pick % self.jobs.len();
        if let Poll::Ready(done) = self.jobs[at].as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            drop(self.jobs.swap_remove(at));
            self.log.push(format!("{}: {:?}: {:?}", self.me.id, done.subject, done.outcome));
            self.event(Event::Done(done), now);
        }
        true
    }

    /// Begins to take the term over: the Lease said it may.
    pub(crate) fn candidate(&mut self, store: &SimStore) {
        let (store, me) = (store.clone(), self.me.clone());
        self.taking_over = Some(Box::pin(async move { take_over(&store, &me).await.ok().flatten() }));
    }

    pub(crate) fn step_take_over(&mut self, now: Now) -> bool {
        let Some(taking) = &mut self.taking_over else { return false };
        if let Poll::Ready(term) = taking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            self.taking_over = None;
            if term.is_some() {
                self.event(Event::Leads(term), now);
            }
        }
        true
    }
}

fn to(assignment: &envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment) -> To {
    use envoy_types::pb::envoy::config::core::v3::{address, socket_address::PortSpecifier};
    use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
    let endpoints = assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    let mut pods: Vec<Pod> = Vec::new();
    for endpoint in endpoints {
        let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else { continue };
        let Some(address::Address::SocketAddress(socket)) =
            endpoint.address.as_ref().and_then(|address| address.address.as_ref())
        else {
            continue;
        };
        if socket.address.starts_with("127.") {
            return To::Activator;
        }
        let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { continue };
        pods.push(pod_at(format!("{}:{port}", socket.address).parse().expect("an address")));
    }
    if pods.is_empty() { To::Nowhere } else { To::Pods(pods) }
}

fn verdict(held: HeldUpstream) -> Verdict {
    match held.verdict.expect("a verdict") {
        WireVerdict::Hold(hold) => {
            Verdict::Hold(Some(hold.drain_id).filter(|id| !id.is_empty()).map(zenvoy_shared::id::DrainId))
        }
        WireVerdict::Forward(forward) => {
            let pods = forward.endpoints.iter();
            Verdict::Forward(pods.map(|pod| pod_at(pod.parse().expect("an address"))).collect())
        }
        WireVerdict::Fail(fail) => panic!("nothing fails in this world: {}", fail.reason),
    }
}
