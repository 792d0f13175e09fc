//! What a scene is made of, where chance would take long to come upon it: the parts work, without faults, until something is
//! about to happen.

use std::time::Duration;

use zenvoy_controller::model::{DrainRecord, DrainState, WakeRecord};
use zenvoy_controller::store::{Key, Room};

use super::{World, name};
use crate::replica::Replica;

/// Pieces of work; more than enough for a wake and a drain.
const LONG: usize = 60_000;

impl World {
    pub(crate) fn replica(&mut self, replica: usize) -> &mut Replica {
        self.replicas[replica].as_mut().expect("nobody crashes in a scene")
    }

    /// The parts work until it is so, and no further.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..LONG {
            if is_so(self) {
                return;
            }
            self.goes_on(1);
        }
        panic!("never: {what}");
    }

    /// So many pieces of work are done, whatever they are.
    pub(crate) fn goes_on(&mut self, pieces: usize) {
        for _ in 0..pieces {
            match self.pick(100) {
                0..85 => self.work(),
                85..95 if !self.frozen => drop(self.kubernetes()),
                _ => self.time_passes(Duration::from_millis(50)),
            }
            for node in 0..self.nodes.len() {
                self.nodes[node].say();
            }
        }
    }

    /// Both nodes have their session with the first replica, the service is up, and nobody is connected.
    pub(crate) fn awake(&mut self) {
        self.serve_all_at(0);
        self.connect(0);
        self.until("a client is served", |world| !world.nodes[0].open.is_empty());
        self.hang_up();
    }

    /// Both nodes move to a replica, and are served by it.
    pub(crate) fn serve_all_at(&mut self, replica: usize) {
        for node in 0..self.nodes.len() {
            self.moves(node, replica);
        }
        self.until("the nodes are served", |world| world.nodes.iter().all(|node| node.welcomed.is_some()));
    }

    pub(crate) fn moves(&mut self, node: usize, replica: usize) {
        self.session_breaks(node);
        self.session_opens(node, replica);
    }

    /// A client connects, once Envoy goes anywhere.
    pub(crate) fn connect(&mut self, node: usize) {
        self.until("Envoy has a route", |world| world.nodes[node].worker != crate::node::To::Nowhere);
        self.client_connects(node);
    }

    pub(crate) fn hang_up(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.open.clear());
    }

    /// A node takes whatever its replica serves it, and hears what that has to say.
    pub(crate) fn catches_up(&mut self, node: usize, replica: usize) {
        while self.deliver_said(node) | self.deliver_told(replica) {}
        self.apply_main(node);
        self.apply_proxy(node);
        self.apply_worker(node);
    }

    /// The same, of the replica that it has its session with.
    pub(crate) fn is_up_to_date(&mut self, node: usize) {
        if let Some((replica, _)) = self.nodes[node].session {
            self.catches_up(node, replica);
        }
    }

    pub(crate) fn is_about_to(&self, replica: usize, does: &str) -> bool {
        self.replicas[replica].as_ref().is_some_and(|replica| replica.is_about_to(does))
    }

    /// The replica's job that does this is carried out, before anything else happens.
    pub(crate) fn does(&mut self, replica: usize, does: &str) {
        self.with(replica, |replica, now| {
            replica.does(does, now);
            true
        });
    }

    pub(crate) fn leads(&mut self, replica: usize) {
        self.another_leads(replica);
        self.until("it leads", |world| world.replicas[replica].as_ref().is_some_and(|replica| replica.leads));
    }

    /// A replica stands still, and what was under way there stays so.
    pub(crate) fn stands_still(&mut self, replica: usize, still: bool) {
        self.replica(replica).paused = still;
    }

    /// The store takes a replica for dead.
    pub(crate) fn is_taken_for_dead(&mut self, replica: usize) {
        self.lease_ends(replica);
    }

    /// A node's Envoy takes another replica's resources than its session goes to: without rule N1.
    pub(crate) fn ads_goes_to(&mut self, node: usize, replica: usize) {
        self.nodes[node].ads = replica;
    }

    /// A node ends in good order, and nobody counts it any more.
    pub(crate) fn says_goodbye(&mut self, node: usize) {
        assert!(self.nodes[node].leaves(), "nothing runs through it");
        let key = Key::Node(name(node));
        self.until("it is forgotten", |world| {
            world.store.snapshot(Room::Nodes).entries.iter().all(|entry| entry.key != key)
        });
    }

    /// Nothing reaches the store from a replica, and its lease has ended.
    pub(crate) fn is_without_store(&mut self, replica: usize) {
        self.with(replica, |replica, now| {
            replica.store_goes(true, now);
            replica.gives_up_lease(now);
            replica.store_has_ended();
            true
        });
    }

    pub(crate) fn is_welcome(&self, node: usize) -> bool {
        self.nodes[node].welcomed.is_some()
    }

    pub(crate) fn held_clients_go(&mut self, node: usize) {
        self.nodes[node].held = 0;
    }

    /// The replica's views of the API server stand still.
    pub(crate) fn is_blind(&mut self, replica: usize, blind: bool) {
        self.replica(replica).blind = blind;
    }

    /// The worker of a node's Envoy is late.
    pub(crate) fn stalls(&mut self, node: usize, stalled: bool) {
        self.nodes[node].stalled = stalled;
    }

    /// A node's proxy says goodbye, which its replica is about to act on.
    pub(crate) fn is_about_to_leave(&mut self, node: usize, replica: usize) {
        assert!(self.nodes[node].leaves(), "nothing runs through it");
        self.until("its goodbye is heard", |world| world.is_about_to(replica, "forget a node"));
    }

    /// The replica's job that does this is carried out, and not answered.
    pub(crate) fn does_unanswered(&mut self, replica: usize, does: &str) {
        self.store.state().unanswered = 2;
        self.does(replica, does);
        self.store.state().unanswered = 0;
    }

    /// The watch of a replica was compacted away.
    pub(crate) fn lists_anew(&mut self, replica: usize) {
        self.with(replica, |replica, now| {
            replica.resync(now);
            true
        });
    }

    /// It is a violation if it is not so by now.
    pub(crate) fn must(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        if !is_so(self) {
            self.violation = Some(what.into());
        }
    }

    // === Kubernetes ===

    pub(crate) fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    pub(crate) fn a_pod_starts(&mut self) {
        self.api.state().start_pod();
    }

    pub(crate) fn pods_become_ready(&mut self) {
        self.api.state().ready_pods();
    }

    pub(crate) fn a_pod_is_replaced(&mut self) {
        self.api.state().replace_pod();
    }

    pub(crate) fn the_pods_are_lost(&mut self) {
        self.api.state().lose_pods();
    }

    pub(crate) fn the_object_is_recreated(&mut self) {
        self.api.recreate();
    }

    // === what is so ===

    pub(crate) fn replicas_asked_for(&self) -> u32 {
        self.api.state().replicas
    }

    pub(crate) fn serves_somebody(&self) -> bool {
        self.nodes.iter().any(|node| !node.open.is_empty())
    }

    pub(crate) fn is_offered(&self) -> bool {
        let drains = self.store.snapshot(Room::Drains).entries;
        drains.iter().any(|drain| {
            serde_json::from_slice::<DrainRecord>(&drain.value)
                .is_ok_and(|drain| drain.state == DrainState::Offered)
        })
    }

    /// The node's Envoy goes to the activator.
    pub(crate) fn is_at_activator(&self, node: usize) -> bool {
        self.nodes[node].worker == crate::node::To::Activator && self.nodes[node].proxy.holds()
    }

    pub(crate) fn is_asked_for(&self) -> bool {
        let wakes = self.store.snapshot(Room::Wakes).entries;
        wakes
            .iter()
            .any(|wake| serde_json::from_slice::<WakeRecord>(&wake.value).is_ok_and(|wake| wake.is_open()))
    }

    pub(crate) fn sleeps(&self) -> bool {
        let api = self.api.state();
        api.replicas == 0 && api.pods.is_empty()
    }
}
