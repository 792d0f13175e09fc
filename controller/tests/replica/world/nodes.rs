//! What nodes say, and the store's moods.

use std::collections::BTreeMap;
use std::time::Duration;

use zenvoy_controller::model::PodReference;
use zenvoy_controller::replica::{Blocking, Event, Resource, Said, SessionId, Switch, ToNode};
use zenvoy_controller::session::{Activity, Demand};
use zenvoy_controller::store::{Room, Store};
use zenvoy_controller::translate::type_url;
use zenvoy_shared::id::{DrainId, NodeEpoch, NodeId, Uid};

use super::{IDLE_AFTER, World, cart};

impl World {
    /// The store answers no call; the own lease still lives.
    pub(crate) fn store_falls_silent(&self) {
        self.store.falls_silent(true);
    }

    /// The own lease lived on meanwhile.
    pub(crate) fn store_speaks(&self) {
        self.store.falls_silent(false);
    }

    /// How often the store was asked to open a wake.
    pub(crate) fn asked_for_intents(&self) -> usize {
        self.store.intents()
    }

    /// The store is away for so long that the own lease must be taken to have ended.
    pub(crate) async fn store_goes(&mut self) {
        self.store_falls_silent();
        self.event(Event::Lease(None)).await;
    }

    /// The store answers again.
    pub(crate) async fn store_answers(&mut self) {
        self.store.falls_silent(false);
        let lease = self.lease;
        self.event(Event::Lease(Some(lease))).await;
    }

    /// The store answers again, and all that waited for it has been tried.
    pub(crate) async fn store_returns(&mut self) {
        self.store_answers().await;
        self.wait(Duration::from_secs(15)).await;
    }

    pub(crate) async fn has_wake_record(&self) -> bool {
        let wakes = self.store.read(Room::Wakes).await.expect("the store answers");
        !wakes.entries.is_empty()
    }

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

    /// Its Envoy takes all that it is served, but for this listener.
    pub(crate) async fn refuses(&mut self, node: &str, listener: Option<&str>) {
        let refused = listener.map(|name| {
            let resource = Resource { type_url: type_url::LISTENER.into(), name: name.into() };
            (resource, format!("{name}: in use"))
        });
        self.event(Event::Refuses(NodeId(node.into()), refused.into_iter().collect())).await;
        self.wait(Duration::from_secs(1)).await;
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

    /// The first node falls idle, and reaches the limit.
    pub(crate) async fn idle_until_limit(&mut self) {
        self.idle("node-1", 0).await;
        self.wait(IDLE_AFTER).await;
    }

    /// The first node falls idle, and the limit passes.
    pub(crate) async fn idle_past_limit(&mut self) {
        self.idle("node-1", 0).await;
        self.wait(IDLE_AFTER + Duration::from_secs(1)).await;
    }

    /// The time passes within which an offer that may be made is made.
    pub(crate) async fn until_offered(&mut self) {
        self.wait(Duration::from_millis(200)).await;
    }

    /// A connection that had been held for so long got its first byte.
    pub(crate) async fn first_byte(&mut self, node: &str, waited: Duration) {
        let held_unix_nanos = self.now.unix_nanos;
        let first_byte_unix_nanos = held_unix_nanos + u64::try_from(waited.as_nanos()).expect("as made");
        let upstream = cart();
        self.says(node, Said::FirstByte { upstream, held_unix_nanos, first_byte_unix_nanos }).await;
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
}

fn epoch() -> NodeEpoch {
    NodeEpoch("epoch-1".into())
}
