//! Views become resources, incrementally: a changed endpoint makes two resources of one upstream anew, at once; changed structure
//! is gathered for a moment, since the one route configuration holds all hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use prost::Message;
use zenvoy_shared::id::{UpstreamId, WorkloadId};
use zenvoy_shared::proto::HELD_UPSTREAM;
use zenvoy_xds::core::Change;

use super::core::{Core, Later};
use super::event::{Effect, Resource};
use crate::execute::Subject;
use crate::model::{Problem, Route, Target, UpstreamFacts, UpstreamView, WorkloadFacts, WorkloadView};
use crate::plan::wake::retry_after;
use crate::translate::{
    LocalReplies, ROUTE_CONFIGURATION, assignment, cluster, held, http_listener, route_configuration, settle,
    tcp_listener, tls_listener, type_url,
};

/// Structural changes wait this long for others to come...
const GATHER: Duration = Duration::from_millis(50);
/// ...and longer by this much for each thousand upstreams in the route configuration.
const GATHER_PER_THOUSAND: Duration = Duration::from_millis(50);

/// Where nobody knows when the next try comes, clients may come again after this.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(10);

/// What is served, as far as the next change needs to know it.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Everything that was known once facts and records were loaded is served: before that, nodes must see nothing.
    pub(super) whole: bool,
    changed: BTreeSet<UpstreamId>,
    /// Upstreams that were published.
    upstreams: BTreeSet<UpstreamId>,
    listeners: BTreeSet<String>,
    /// What the losers of claims are told.
    pub(super) lost: BTreeMap<UpstreamId, Problem>,
    /// Upstreams for which there is no activator address left.
    pub(super) exhausted: BTreeSet<UpstreamId>,
    /// There are nodes with activator routes only, for whom everything is published as well.
    pub(super) relays: bool,
}

/// What all upstreams share.
struct Shared {
    routes: Change,
    listeners: BTreeMap<String, Change>,
    lost: BTreeMap<UpstreamId, Problem>,
}

impl Core {
    pub(super) fn structure_changed(&mut self, upstreams: &BTreeSet<UpstreamId>) {
        self.look_at_mappings(upstreams);
        self.publish_held(upstreams);
        self.published.changed.extend(upstreams.iter().cloned());
        let thousands = u32::try_from(self.inventory.upstreams().len() / 1_000).unwrap_or(u32::MAX);
        let pause = GATHER.saturating_add(GATHER_PER_THOUSAND.saturating_mul(thousands));
        self.later.by(Later::Structure, self.now.moment.after(pause));
        self.look(&Subject::Ports);
    }

    pub(super) fn tell_exhausted(&mut self, exhausted: BTreeSet<UpstreamId>) {
        if exhausted == self.published.exhausted {
            return;
        }
        if !exhausted.is_empty() {
            let (count, size) = (exhausted.len(), self.options.pool.size());
            tracing::warn!(
                count,
                size,
                "PortPoolExhausted: extend --port-pool by a further loopback address"
            );
        }
        let changed: Vec<UpstreamId> =
            exhausted.symmetric_difference(&self.published.exhausted).cloned().collect();
        self.published.exhausted = exhausted;
        changed.iter().for_each(|upstream| self.report_upstream(upstream));
    }

    /// Clusters, endpoints, listeners and routes of everything that was added, changed or removed.
    pub(super) fn publish_structure(&mut self) {
        if !self.loaded || !self.inventory.is_complete() {
            // Partial knowledge must not look like removals.
            self.later.by(Later::Structure, self.now.moment.after(GATHER));
            return;
        }
        let mut changes = Vec::new();
        let changed = std::mem::take(&mut self.published.changed);
        for upstream in &changed {
            match self.inventory.upstreams().get(upstream) {
                Some(facts) => {
                    changes.push(set(
                        type_url::CLUSTER,
                        upstream.to_string(),
                        &cluster(upstream, &facts.spec),
                    ));
                    changes.extend(self.traffic_of(upstream, facts));
                    self.published.upstreams.insert(upstream.clone());
                }
                None if self.published.upstreams.remove(upstream) => {
                    for url in [type_url::CLUSTER, type_url::ENDPOINTS, HELD_UPSTREAM] {
                        changes.push(change(url, upstream.to_string(), None));
                    }
                    self.effect(Effect::Gone(upstream.clone()));
                }
                None => {}
            }
        }
        self.shared_resources(&mut changes);
        self.publish(changes);
        if !std::mem::replace(&mut self.published.whole, true) {
            self.look_at_everything();
        }
        changed.iter().for_each(|upstream| self.report_upstream(upstream));
        self.look_at_refusals();
    }

    /// Whether it is among what is served.
    pub(super) fn serves(&self, resource: &Resource) -> bool {
        match &*resource.type_url.0 {
            type_url::LISTENER => self.published.listeners.contains(&*resource.name),
            type_url::ROUTES => true,
            _ => resource.name.parse().is_ok_and(|upstream| self.published.upstreams.contains(&upstream)),
        }
    }

    fn shared_resources(&mut self, changes: &mut Vec<Change>) {
        let Shared { routes, listeners, lost } = self.shared();
        changes.push(routes);
        let names: BTreeSet<String> = listeners.keys().cloned().collect();
        for gone in self.published.listeners.difference(&names) {
            changes.push(change(type_url::LISTENER, gone.clone(), None));
        }
        changes.extend(listeners.into_values());
        let losers: Vec<UpstreamId> = lost.keys().chain(self.published.lost.keys()).cloned().collect();
        self.published.listeners = names;
        self.published.lost = lost;
        losers.iter().for_each(|loser| self.report_upstream(loser));
    }

    fn shared(&self) -> Shared {
        let upstreams = self.inventory.upstreams();
        let options = self.options.listeners;
        let level = self.common_level.unwrap_or(self.options.me.protocol_level);
        let settled = settle(upstreams, options, &self.options.names);
        let routes = route_configuration(&settled.domains, |id| Some(upstreams.get(id)?.spec.clone()));
        let mut listeners = vec![http_listener(options, LocalReplies::of_level(level))];
        listeners.extend(tls_listener(options, &settled.server_names));
        listeners.extend(settled.ports.iter().map(|(port, id)| tcp_listener(options, id, *port)));
        let named = |listener: Listener| {
            (listener.name.clone(), set(type_url::LISTENER, listener.name.clone(), &listener))
        };
        Shared {
            routes: set(type_url::ROUTES, ROUTE_CONFIGURATION.into(), &routes),
            listeners: listeners.into_iter().map(named).collect(),
            lost: settled.lost,
        }
    }

    /// A workload's traffic moves: endpoints and verdicts of its upstreams, at once.
    pub(super) fn publish_endpoints(&mut self, workload: &WorkloadId) {
        let view = self.inventory.view(workload);
        let published =
            view.upstreams.iter().filter(|upstream| self.published.upstreams.contains(upstream.id));
        let changes: Vec<Change> =
            published.flat_map(|upstream| self.traffic_of(upstream.id, upstream.facts)).collect();
        self.publish(changes);
    }

    /// What a workload lacks is told to those who are held for it in vain.
    pub(super) fn publish_lack(&mut self, workload: &WorkloadId) {
        let upstreams = self.upstreams_of(workload).into_iter();
        self.publish_held(
            &upstreams.filter(|upstream| self.published.upstreams.contains(upstream)).collect(),
        );
    }

    /// Proxies learn of a new activator address at once, so that they accept on it before any Envoy sends anything there.
    fn publish_held(&mut self, upstreams: &BTreeSet<UpstreamId>) {
        let known = |id: &&UpstreamId| self.published.whole && self.records.address(id).is_some();
        let held: Vec<Change> = upstreams
            .iter()
            .filter(known)
            .filter_map(|id| Some(self.held_of(id, self.inventory.upstreams().get(id)?)))
            .collect();
        self.publish(held);
    }

    fn publish(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        if self.published.relays {
            let relayed = changes.iter().cloned().map(|change| self.relayed(change)).collect();
            self.effect(Effect::Relay(relayed));
        }
        self.effect(Effect::Publish(changes));
    }

    /// What a node with activator routes only is given in place of a change (rule N2).
    fn relayed(&self, change: Change) -> Change {
        if *change.type_url.0 != *type_url::ENDPOINTS || change.content.is_none() {
            return change;
        }
        match change.name.parse() {
            Ok(upstream) => self.to_activator(&upstream),
            Err(_) => change,
        }
    }

    fn to_activator(&self, id: &UpstreamId) -> Change {
        let to = assignment(id, &Route::Activator { drain: None }, self.records.address(id));
        set(type_url::ENDPOINTS, id.to_string(), &to)
    }

    /// From now on there is such a node: it is given everything.
    pub(super) fn begin_relay(&mut self) {
        if std::mem::replace(&mut self.published.relays, true) {
            return;
        }
        let mut changes = Vec::new();
        let all = self.inventory.upstreams().iter();
        for (id, facts) in all.filter(|(id, _)| self.published.upstreams.contains(id)) {
            changes.push(set(type_url::CLUSTER, id.to_string(), &cluster(id, &facts.spec)));
            changes.push(self.to_activator(id));
            changes.push(self.held_of(id, facts));
        }
        let shared = self.shared();
        changes.push(shared.routes);
        changes.extend(shared.listeners.into_values());
        self.effect(Effect::Relay(changes));
    }

    /// There is none any more.
    pub(super) fn end_relay(&mut self) {
        if std::mem::take(&mut self.published.relays) {
            self.effect(Effect::EndRelay);
        }
    }

    fn traffic_of(&self, id: &UpstreamId, facts: &UpstreamFacts) -> Vec<Change> {
        let (route, _) = self.route(id, facts);
        let to = assignment(id, &route, self.records.address(id));
        vec![set(type_url::ENDPOINTS, id.to_string(), &to), self.held_of(id, facts)]
    }

    fn held_of(&self, id: &UpstreamId, facts: &UpstreamFacts) -> Change {
        let Some(address) = self.records.address(id) else {
            return change(HELD_UPSTREAM, id.to_string(), None);
        };
        let (route, retry_after) = self.route(id, facts);
        let workload = match &facts.target {
            Target::Workload(workload) => Some(workload),
            Target::Unresolved(_) => None,
        };
        let lacks = workload.and_then(|workload| self.lacks_of(workload));
        let held = held(id, workload, &facts.spec, &route, address, retry_after, lacks);
        set(HELD_UPSTREAM, id.to_string(), &held)
    }

    /// Where an upstream's traffic goes, and after how long clients that are failed may come again.
    pub(super) fn route(&self, id: &UpstreamId, facts: &UpstreamFacts) -> (Route, Duration) {
        match &facts.target {
            Target::Unresolved(problem) => (Route::Fail(problem.clone()), UNKNOWN_PAUSE),
            Target::Workload(workload) => {
                let view = self.inventory.view(workload);
                let endpoints = view.upstreams.iter().find(|upstream| upstream.id == id);
                let endpoints = endpoints.map_or(&[][..], |upstream| upstream.endpoints);
                let route = match (
                    view.route(&UpstreamView { id, facts, endpoints }),
                    self.alone.refused(workload),
                ) {
                    (Route::Activator { drain: None }, Some(refused)) => Route::Fail(refused.clone()),
                    (route, _) => route,
                };
                (route, client_pause(&view))
            }
        }
    }
}

/// What a client is asked to wait grows with what was tried in vain: starts of pods, else scale writes.
fn client_pause(view: &WorkloadView<'_>) -> Duration {
    let pause = match view.facts {
        None => UNKNOWN_PAUSE,
        Some(WorkloadFacts { problem: Some(_), back_off, .. }) => back_off.unwrap_or(UNKNOWN_PAUSE),
        Some(_) => view.open_wake().map_or(Duration::ZERO, |wake| retry_after(wake.record.attempts)),
    };
    pause.max(Duration::from_secs(1))
}

fn set(url: &str, name: String, message: &impl Message) -> Change {
    change(url, name, Some(message.encode_to_vec().into()))
}

fn change(url: &str, name: String, content: Option<Bytes>) -> Change {
    match content {
        Some(content) => Change::set(url, name, content),
        None => Change::remove(url, name),
    }
}
