//! One replica: the production core, its executor's jobs in flight, and what it has seen of the world so far.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use prost::Message;
use zenvoy_controller::execute::{Decided, Executor, Job, JobDone, Subject};
use zenvoy_controller::leader::take_over;
use zenvoy_controller::model::{
    Fact, Replica as Me, Target, Term, UpstreamFacts, UpstreamSpec, WakeRecord, WakeState,
};
use zenvoy_controller::replica::{Core, CoreOptions, Effect, Event, Now, SessionId, Switch, ToNode};
use zenvoy_controller::session::DemandQuota;
use zenvoy_controller::store::{Key, LeaseId, Room, WatchEvent, Write};
use zenvoy_controller::translate::{ListenerOptions, Names, type_url};
use zenvoy_shared::id::{ControllerId, NodeId};
use zenvoy_shared::proto::held_upstream::Verdict as WireVerdict;
use zenvoy_shared::proto::{HELD_UPSTREAM, HeldUpstream};
use zenvoy_xds::core::Change;

use crate::api::{Pod, SimApi, cart, pod_at, workload};
use crate::node::{To, Verdict};
use crate::store::SimStore;
use crate::watchdog::QUARANTINE;

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
    pub(crate) log: Vec<JobDone>,
    pub(crate) core: Core,
    executor: Executor,
    /// With what each does.
    jobs: Vec<(String, Running<JobDone>)>,
    taking_over: Option<Running<Option<Term>>>,
    watched: usize,
    services: usize,
    store: SimStore,
    api: SimApi,
    pub(crate) lease: Option<LeaseId>,
    /// The lease that it takes to have ended, and that the store may still have.
    pub(crate) given_up: Option<LeaseId>,
    pub(crate) served: Served,
    /// The same for nodes with activator routes only.
    pub(crate) relayed: Served,
    pub(crate) leads: bool,
    /// It does not run, and what it is told waits.
    pub(crate) paused: bool,
    inbox: VecDeque<Event>,
    pub(crate) told: VecDeque<(NodeId, SessionId, ToNode)>,
    pub(crate) awaited: Vec<(NodeId, Switch)>,
    pub(crate) hung: Vec<(NodeId, SessionId)>,
    /// Its views stand still.
    pub(crate) lags: bool,
    /// Those of the API server do.
    pub(crate) blind: bool,
}

impl Replica {
    pub(crate) fn start(number: usize, store: &SimStore, api: &SimApi, now: Now) -> Self {
        let me = Me {
            id: ControllerId(format!("replica-{number}")),
            address: String::new(),
            version: String::new(),
            // Some are of the version before, which reads votes in one record only.
            protocol_level: if number.is_multiple_of(5) { 1 } else { 2 },
            unknown: serde_json::Map::new(),
        };
        let bind = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let core = Core::new(CoreOptions {
            me: me.clone(),
            pool: "127.0.0.1:20000-20009".parse().expect("a pool"),
            quarantine: QUARANTINE,
            listeners: ListenerOptions { bind, http_port: 10_000, tls_port: 10_443 },
            names: Names::default(),
            max_offers: 8,
            quota: DemandQuota::default(),
        });
        let (store, api) = (store.another(), api.another());
        let executor = Executor::new(Arc::new(store.clone()), Arc::new(api.clone()));
        let lease = store.lease();
        let snapshot = store.snapshot(Room::All);
        let mut replica = Self {
            me,
            log: Vec::new(),
            core,
            executor,
            jobs: Vec::new(),
            taking_over: None,
            watched: store.state().log.len(),
            services: 0,
            store: store.clone(),
            api: api.clone(),
            lease: Some(lease),
            given_up: None,
            served: Served::default(),
            relayed: Served::default(),
            leads: false,
            paused: false,
            inbox: VecDeque::new(),
            told: VecDeque::new(),
            awaited: Vec::new(),
            hung: Vec::new(),
            lags: false,
            blind: false,
        };
        replica.event(Event::Store(WatchEvent::Resync(snapshot)), now);
        replica.event(Event::Lease(Some(lease)), now);
        let spec = UpstreamSpec { idle_after: Duration::from_secs(1), ..UpstreamSpec::default() };
        let facts = UpstreamFacts { spec, target: Target::Workload(workload()), created: 0 };
        replica.event(Event::Fact(Fact::Upstream(cart(), facts)), now);
        while replica.see_object(now) || replica.see_endpoints(now) || replica.see_service(now) {}
        replica.event(Event::Fact(Fact::Complete), now);
        replica
    }

    pub(crate) fn event(&mut self, event: Event, now: Now) {
        for effect in self.core.handle(event, now) {
            match effect {
                Effect::Publish(changes) => publish(&mut self.served, changes),
                Effect::Relay(changes) => publish(&mut self.relayed, changes),
                Effect::EndRelay => self.relayed = Served::default(),
                Effect::Leading(leads) => self.leads = leads,
                Effect::Tell(node, session, message) => self.told.push_back((node, session, message)),
                Effect::AwaitApplied(node, switch) => self.awaited.push((node, switch)),
                Effect::Start(job) => {
                    let executor = self.executor.clone();
                    let what = what(&job);
                    self.jobs.push((what, Box::pin(async move { executor.run(job).await })));
                }
                Effect::Hang(node, session) => self.hung.push((node, session)),
                Effect::Status(..) | Effect::Gone(_) | Effect::Happened(_) | Effect::OfferAgain(_) => {}
            }
        }
    }

    /// Something that reaches it at once, or when it runs again.
    pub(crate) fn hears(&mut self, event: Event, now: Now) {
        if self.paused || !self.inbox.is_empty() {
            self.inbox.push_back(event);
        } else {
            self.event(event, now);
        }
    }

    /// The next that has waited for it.
    pub(crate) fn catch_up(&mut self, now: Now) -> bool {
        let event = self.inbox.pop_front();
        event.map(|event| self.event(event, now)).is_some()
    }

    // === what it sees, with a lag ===

    pub(crate) fn watch(&mut self, now: Now) -> bool {
        if self.store.is_away() {
            return false;
        }
        let step = self.store.state().log.get(self.watched).cloned();
        let Some(step) = step else { return false };
        self.watched += 1;
        let step = self.store.seen_by(&self.me.id, step);
        self.event(Event::Store(step), now);
        true
    }

    pub(crate) fn resync(&mut self, now: Now) {
        self.watched = self.store.state().log.len();
        for step in self.store.list() {
            self.event(Event::Store(step), now);
        }
    }

    pub(crate) fn see_object(&mut self, now: Now) -> bool {
        if self.blind {
            return false;
        }
        let fact = self.api.next_object();
        fact.map(|fact| self.event(Event::Fact(fact), now)).is_some()
    }

    pub(crate) fn see_endpoints(&mut self, now: Now) -> bool {
        if self.blind {
            return false;
        }
        let fact = self.api.next_endpoints();
        fact.map(|fact| self.event(Event::Fact(fact), now)).is_some()
    }

    pub(crate) fn see_service(&mut self, now: Now) -> bool {
        let fact = self.api.state().services.get(self.services).cloned();
        let Some(fact) = fact else { return false };
        self.services += 1;
        self.event(Event::Fact(fact), now);
        true
    }

    // === its store ===

    pub(crate) fn has_store(&self) -> bool {
        !self.store.is_away()
    }

    /// Nothing reaches the store, or all does again; a lease that was given up is followed by another.
    pub(crate) fn store_goes(&mut self, away: bool, now: Now) {
        self.store.goes(away);
        if !away && self.lease.is_none() {
            let lease = self.store.lease();
            self.lease = Some(lease);
            self.hears(Event::Lease(Some(lease)), now);
        }
    }

    /// It was not heard for so long that its lease must be taken to have ended.
    pub(crate) fn gives_up_lease(&mut self, now: Now) -> bool {
        let Some(lease) = self.lease.take() else { return false };
        self.store_has_ended();
        self.given_up = Some(lease);
        self.hears(Event::Lease(None), now);
        true
    }

    /// The store ends the lease that was given up.
    pub(crate) fn store_has_ended(&mut self) {
        if let Some(lease) = self.given_up.take() {
            self.store.end_lease(lease);
        }
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
        if let Poll::Ready(done) = self.jobs[at].1.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            drop(self.jobs.swap_remove(at));
            let JobDone { subject, outcome, .. } = done.clone();
            self.log.push(JobDone { subject, outcome, written: Vec::new() });
            self.event(Event::Done(done), now);
        }
        true
    }

    /// Whether a job that does this is under way.
    pub(crate) fn is_about_to(&self, does: &str) -> bool {
        self.jobs.iter().any(|(what, _)| what == does)
    }

    /// Carries out the job that does this, to its end.
    pub(crate) fn does(&mut self, does: &str, now: Now) {
        while let Some(at) = self.jobs.iter().position(|(what, _)| what == does) {
            self.step_job(at, now);
        }
    }

    /// Begins to take the term over: the Lease said it may.
    pub(crate) fn candidate(&mut self) {
        let (store, me) = (self.store.clone(), self.me.clone());
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

/// What a leader's decision is.
fn what(job: &Job) -> String {
    match job {
        Job::Decide { decided: Decided::ScaleUp(_), .. } => "scale up".into(),
        Job::Decide { decided: Decided::Commit(_), .. } => "commit".into(),
        Job::Decide { decided: Decided::ScaleDown(_), .. } => "scale down".into(),
        Job::Write { subject: Subject::Node(_), .. } => "forget a node".into(),
        Job::Write { subject: Subject::Workload(_), txn } if txn.writes.iter().any(retires) => {
            "retire".into()
        }
        _ => String::new(),
    }
}

/// Whether the write retires a wake.
fn retires(write: &Write) -> bool {
    let Write::Put(Key::Wake(_), value, _) = write else { return false };
    let wake: WakeRecord = serde_json::from_slice(value).expect("a wake");
    wake.state == WakeState::Retired
}

/// What changes of the one upstream's traffic.
fn publish(served: &mut Served, changes: Vec<Change>) {
    for Change { type_url, name, content } in changes {
        let Some(content) = content.filter(|_| *name == *cart().to_string()) else { continue };
        let bytes = content.bytes().clone();
        if *type_url.0 == *type_url::ENDPOINTS {
            let assignment =
                envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment::decode(bytes);
            served.envoy = to(&assignment.expect("an assignment"));
        } else if *type_url.0 == *HELD_UPSTREAM {
            served.proxy = verdict(HeldUpstream::decode(bytes).expect("a held upstream"));
        }
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
        WireVerdict::Fail(fail) => Verdict::Fail(fail.reason),
    }
}
