//! Two replicas, two nodes, one workload, and a scheduler that chooses at random what happens next.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zenvoy_controller::replica::{Event, Now, SessionId, ToNode};
use zenvoy_controller::session::Moment;
use zenvoy_shared::id::NodeId;

use crate::api::{Pod, PodState, SimApi};
use crate::node::{Node, To, Verdict};
use crate::replica::Replica;
use crate::store::SimStore;

/// Rules that can be switched off, to see what they are for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) flush_barrier: bool,
    pub(crate) registered_first: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self { flush_barrier: true, registered_first: true };
}

/// What a run has seen.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) served: u32,
    pub(crate) wakes: u32,
    pub(crate) sleeps: u32,
}

pub(crate) struct World {
    store: SimStore,
    api: SimApi,
    replicas: Vec<Option<Replica>>,
    nodes: Vec<Node>,
    now: Now,
    random: StdRng,
    /// Clients come.
    busy: bool,
    /// How often, of 1,000 steps, a node moves to another replica.
    restless: usize,
    rules: Rules,
    started: usize,
    sessions: u64,
    pub(crate) trace: Vec<String>,
    pub(crate) violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, rules: Rules) -> Self {
        let (store, api) = (SimStore::default(), SimApi::default());
        let mut world = Self {
            store,
            api,
            replicas: Vec::new(),
            nodes: vec![Node::default(), Node::default()],
            now: Now { moment: Moment(Duration::from_secs(10_000)), unix_nanos: 1_000_000_000_000 },
            random: StdRng::seed_from_u64(seed),
            busy: true,
            restless: usize::try_from(seed % 4).unwrap_or(0) * 4,
            rules,
            started: 0,
            sessions: 0,
            trace: Vec::new(),
            violation: None,
        };
        for _ in 0..2 {
            let replica = world.fresh();
            world.replicas.push(Some(replica));
        }
        world.another_leads(0);
        for node in 0..2 {
            world.session_opens(node, node);
        }
        world
    }

    fn fresh(&mut self) -> Replica {
        self.started += 1;
        Replica::start(self.started, &self.store, &self.api, self.now)
    }

    /// `steps` random steps with faults, then a fair time without: everything must come to rest, served.
    pub(crate) fn run(mut self, steps: usize) -> Result<Seen, (String, Vec<String>)> {
        for _ in 0..steps {
            self.step();
            if let Some(violation) = self.violation.take() {
                return Err((violation, self.trace));
            }
        }
        self.come_to_rest();
        if let Some(violation) = self.violation.take() {
            return Err((violation, self.trace));
        }
        let (wakes, sleeps) = {
            let api = self.api.state();
            (api.scaled_up, api.scaled_down)
        };
        Ok(Seen { served: self.nodes.iter().map(|node| node.served).sum(), wakes, sleeps })
    }

    fn note(&mut self, what: impl Into<String>) {
        self.trace.push(what.into());
    }

    fn pick(&mut self, below: usize) -> usize {
        self.random.random_range(0..below)
    }

    fn step(&mut self) {
        let node = self.pick(self.nodes.len());
        let replica = self.pick(self.replicas.len());
        if self.restless > 0 && self.pick(1_000) < self.restless {
            // A node that moves, in the very moment when something is decided about it.
            self.session_breaks(node);
            self.session_opens(node, replica);
        }
        match self.pick(1_000) {
            0..60 if self.busy => self.client_connects(node),
            0..120 => self.client_leaves(node),
            120..800 => self.work(),
            800..900 => drop(self.kubernetes()),
            900..955 => self.time_passes(),
            955..975 => self.moods(node, replica),
            975..984 => drop(self.session_opens(node, replica)),
            984..988 => drop(self.session_breaks(node)),
            988..991 => self.another_leads(replica),
            991..992 => self.crash(replica),
            992..994 => self.start_again(replica),
            994..996 => self.lease_ends(replica),
            996..998 => self.store_falls_silent(),
            998..999 => self.node_restarts(node),
            _ => self.resync(replica),
        }
        self.nodes[node].say();
        if self.api.state().ups > 1 {
            self.violation = Some("I1: two effective scale writes in one episode".into());
        }
    }

    // === clients ===

    fn client_connects(&mut self, node: usize) {
        let pick = self.pick(16);
        let reached = self.nodes[node].connect(pick);
        self.note(format!("a client connects to node {node}: {reached:?}"));
        self.reach(node, reached);
    }

    fn client_leaves(&mut self, node: usize) {
        if self.nodes[node].open.pop().is_some() {
            self.note(format!("a client leaves node {node}"));
        }
    }

    fn reach(&mut self, node: usize, pod: Option<Pod>) {
        let Some(pod) = pod else { return };
        if self.api.state().pods.get(&pod) != Some(&PodState::Ready) {
            self.violation =
                Some(format!("I2: node {node} sent a connection to pod {pod}, which does not serve"));
        }
        self.nodes[node].open.push(pod);
        self.nodes[node].served += 1;
    }

    // === the parts do their work ===

    /// Something that can be done is done, wherever.
    fn work(&mut self) {
        for _ in 0..8 {
            let node = self.pick(self.nodes.len());
            let replica = self.pick(self.replicas.len());
            if self.work_at(node, replica) {
                self.nodes[node].say();
                return;
            }
        }
    }

    fn work_at(&mut self, node: usize, replica: usize) -> bool {
        match self.pick(12) {
            0 => self.deliver_said(node),
            1 => self.deliver_told(replica),
            2 => self.apply_main(node),
            3 => !self.nodes[node].stalled && self.apply_worker(node),
            4 => self.apply_proxy(node),
            5 => self.acked(replica),
            6 => {
                let barrier = self.rules.flush_barrier;
                self.nodes[node].proves(barrier)
            }
            7 => self.release(node),
            8 => self.with(replica, |replica, world| !replica.lags && replica.watch(&world.store, world.now)),
            9 => self
                .with(replica, |replica, world| !replica.lags && replica.see_object(&world.api, world.now)),
            10 => self.with(replica, |replica, world| {
                !replica.lags && replica.see_endpoints(&world.api, world.now)
            }),
            _ => {
                let pick = self.pick(16);
                self.with(replica, |replica, world| {
                    replica.step_job(pick, world.now) | replica.step_take_over(world.now)
                })
            }
        }
    }

    fn release(&mut self, node: usize) -> bool {
        let pick = self.pick(16);
        let released = self.nodes[node].release(pick);
        if released.is_some() {
            self.note(format!("node {node} releases a held connection to {released:?}"));
        }
        self.reach(node, released);
        released.is_some()
    }

    fn apply_worker(&mut self, node: usize) -> bool {
        let late = self.nodes[node].worker != self.nodes[node].main;
        if late {
            self.nodes[node].worker = self.nodes[node].main.clone();
            self.note(format!("node {node}'s worker follows"));
        }
        late
    }

    fn with(&mut self, replica: usize, act: impl FnOnce(&mut Replica, &Self) -> bool) -> bool {
        let Some(mut running) = self.replicas[replica].take() else { return false };
        let acted = act(&mut running, self);
        self.trace.append(&mut running.log);
        let hung = std::mem::take(&mut running.hung);
        self.replicas[replica] = Some(running);
        for (node, session) in hung {
            let node = number(&node);
            if self.nodes[node].session == Some((replica, session)) {
                self.session_breaks(node);
            }
        }
        acted
    }

    fn deliver_said(&mut self, node: usize) -> bool {
        let Some((replica, session)) = self.nodes[node].session else { return false };
        if self.nodes[node].outbox.is_empty() {
            return false;
        }
        let said = self.nodes[node].outbox.remove(0);
        self.note(format!("replica {replica} hears node {node}: {said:?}"));
        let name = name(node);
        self.with(replica, |replica, world| {
            replica.event(Event::Said(name, session, said), world.now);
            true
        })
    }

    fn deliver_told(&mut self, replica: usize) -> bool {
        let told = self.replicas[replica].as_mut().and_then(|replica| replica.told.pop_front());
        let Some((node, session, message)) = told else { return false };
        let node = number(&node);
        if self.nodes[node].session != Some((replica, session)) {
            return true;
        }
        self.note(format!("node {node} hears: {message:?}"));
        match message {
            ToNode::Welcome(_) => self.nodes[node].welcomed = true,
            ToNode::ProveQuiet { drain, .. } => self.nodes[node].asked = Some(drain),
            ToNode::WithdrawProof { .. } => self.nodes[node].asked = None,
            ToNode::Refuse(_) => {}
        }
        true
    }

    /// The replica that serves a node, once it does (rule N3).
    fn serves(&self, node: usize) -> Option<&Replica> {
        let node = &self.nodes[node];
        let (replica, _) = node.session?;
        let served = node.welcomed || !self.rules.registered_first;
        self.replicas[replica].as_ref().filter(|_| served)
    }

    fn apply_main(&mut self, node: usize) -> bool {
        let Some(served) = self.serves(node).map(|replica| replica.served.envoy.clone()) else {
            return false;
        };
        if served == To::Nowhere || self.nodes[node].main == served {
            return false;
        }
        self.note(format!("node {node}'s Envoy: {served:?}"));
        self.nodes[node].main = served;
        true
    }

    fn apply_proxy(&mut self, node: usize) -> bool {
        let Some(served) = self.serves(node).map(|replica| replica.served.proxy.clone()) else {
            return false;
        };
        if served == Verdict::None || self.nodes[node].proxy == served {
            return false;
        }
        self.note(format!("node {node}'s proxy: {served:?}"));
        self.nodes[node].proxy = served;
        true
    }

    /// Envoy and the proxy of a node have ACKed what the replica serves now.
    fn acked(&mut self, replica: usize) -> bool {
        let Some(running) = self.replicas[replica].as_ref() else { return false };
        let at = running.awaited.iter().position(|(node, _)| {
            let node = number(node);
            let mine =
                self.nodes[node].session.is_some_and(|(at, _)| at == replica) && self.nodes[node].welcomed;
            mine && self.nodes[node].main == running.served.envoy
                && self.nodes[node].proxy == running.served.proxy
        });
        let Some(at) = at else { return false };
        self.with(replica, |replica, world| {
            let (node, switch) = replica.awaited.remove(at);
            replica.event(Event::Applied(node, switch), world.now);
            true
        })
    }

    fn kubernetes(&mut self) -> bool {
        let pick = self.pick(5);
        let mut api = self.api.state();
        let before = (api.pods.clone(), api.objects.len());
        let mut ended = Vec::new();
        match pick {
            0 => api.start_pod(),
            1 => api.ready_pods(),
            2 => ended = api.end_pods(),
            3 => api.remove_ended(),
            _ => api.touch(),
        }
        let changed = before != (api.pods.clone(), api.objects.len());
        drop(api);
        if changed && pick != 4 {
            self.note(format!("Kubernetes: {pick}, pods {:?}", self.api.state().pods));
        }
        if ended.iter().any(|pod| self.nodes.iter().any(|node| node.open.contains(pod))) {
            self.violation = Some("I5: a pod was ended with a connection open".into());
        }
        changed && pick != 4
    }

    fn time_passes(&mut self) {
        let milliseconds = u64::try_from(self.pick(1_500)).unwrap_or(0);
        self.now.moment = self.now.moment.after(Duration::from_millis(milliseconds));
        self.now.unix_nanos += milliseconds * 1_000_000;
        for replica in self.replicas.iter_mut().flatten() {
            replica.tick(self.now);
        }
    }

    // === faults ===

    /// A replica's views stand still for a while, or an Envoy's worker does.
    fn moods(&mut self, node: usize, replica: usize) {
        self.busy = self.pick(3) == 0;
        let stalled = self.pick(2) == 0;
        self.nodes[node].stalled = stalled;
        let lags = self.pick(3) == 0;
        self.with(replica, |replica, _| {
            replica.lags = lags;
            true
        });
        self.note(format!("node {node}'s worker stalls: {stalled}; replica {replica} lags: {lags}"));
    }

    fn session_breaks(&mut self, node: usize) -> bool {
        let Some((replica, session)) = self.nodes[node].session else { return false };
        self.note(format!("the session of node {node} breaks"));
        self.nodes[node].breaks();
        let name = name(node);
        self.with(replica, |replica, world| {
            replica.event(Event::Said(name, session, zenvoy_controller::replica::Said::Closed), world.now);
            true
        })
    }

    fn session_opens(&mut self, node: usize, replica: usize) -> bool {
        if self.replicas[replica].is_none() || self.nodes[node].session.is_some() {
            return false;
        }
        self.note(format!("node {node} opens a session with replica {replica}"));
        self.sessions += 1;
        self.nodes[node].opens(replica, SessionId(self.sessions));
        true
    }

    /// The Lease moved; the one that led may not know yet.
    fn another_leads(&mut self, replica: usize) {
        self.note(format!("replica {replica} wins the Lease"));
        self.with(replica, |replica, world| {
            replica.candidate(&world.store);
            true
        });
    }

    fn crash(&mut self, replica: usize) {
        let Some(dead) = self.replicas[replica].take() else { return };
        self.note(format!("replica {replica} crashes"));
        for node in 0..self.nodes.len() {
            if self.nodes[node].session.is_some_and(|(at, _)| at == replica) {
                self.nodes[node].breaks();
            }
        }
        if let Some(lease) = dead.lease {
            // The dead one's records go with its lease, some time later at best; at once is the harder case for acks.
            self.store.end_lease(lease);
        }
    }

    fn start_again(&mut self, replica: usize) {
        if self.replicas[replica].is_none() {
            self.note(format!("replica {replica} starts again"));
            self.replicas[replica] = Some(self.fresh());
        }
    }

    fn lease_ends(&mut self, replica: usize) {
        self.note(format!("the lease of replica {replica} ends"));
        self.with(replica, |replica, world| {
            if let Some(lease) = replica.lease.take() {
                world.store.end_lease(lease);
            }
            replica.event(Event::Lease(None), world.now);
            let lease = world.store.lease();
            replica.lease = Some(lease);
            replica.event(Event::Lease(Some(lease)), world.now);
            true
        });
    }

    fn store_falls_silent(&mut self) {
        self.note("the store leaves some writes unanswered");
        let calls = u32::try_from(self.pick(4)).unwrap_or(0);
        self.store.state().unanswered = calls;
        self.api.state().unanswered = calls == 3;
    }

    /// Rule G3: the watch was compacted away.
    fn resync(&mut self, replica: usize) {
        self.note(format!("replica {replica} lists the store anew"));
        self.with(replica, |replica, world| {
            replica.resync(&world.store, world.now);
            true
        });
    }

    fn node_restarts(&mut self, node: usize) {
        self.note(format!("node {node} restarts"));
        self.session_breaks(node);
        self.nodes[node].restarts();
    }

    // === at the end ===

    /// No more clients and faults: every part does its work until nothing is left to do.
    fn come_to_rest(&mut self) {
        self.note("no more faults");
        self.nodes.iter_mut().for_each(|node| node.stalled = false);
        self.replicas.iter_mut().flatten().for_each(|replica| replica.lags = false);
        self.store.state().unanswered = 0;
        self.api.state().unanswered = false;
        for replica in 0..self.replicas.len() {
            self.start_again(replica);
        }
        self.another_leads(0);
        for round in 0..400 {
            for node in 0..self.nodes.len() {
                self.session_opens(node, node % 2);
                if round == 100 {
                    self.nodes[node].open.clear();
                }
            }
            while self.work_once() && self.violation.is_none() {}
            self.now.moment = self.now.moment.after(Duration::from_millis(500));
            self.now.unix_nanos += 500_000_000;
            for replica in self.replicas.iter_mut().flatten() {
                replica.tick(self.now);
            }
            if round == 100 {
                let held: Vec<u32> = self.nodes.iter().map(|node| node.held).collect();
                if held.iter().any(|held| *held > 0) {
                    self.violation = Some(format!("I2: held connections are never served: {held:?}"));
                }
            }
        }
        let replicas = self.api.state().replicas;
        if replicas > 0 && self.violation.is_none() {
            self.violation = Some(format!("idle for long, and still at {replicas} replicas"));
        }
    }

    fn work_once(&mut self) -> bool {
        let mut worked = false;
        for node in 0..self.nodes.len() {
            self.nodes[node].say();
            worked |= self.deliver_said(node) | self.apply_main(node) | self.apply_proxy(node);
            worked |= self.apply_worker(node) | self.nodes[node].proves(true) | self.release(node);
        }
        for replica in 0..self.replicas.len() {
            worked |= self.deliver_told(replica) | self.acked(replica);
            worked |= self.with(replica, |replica, world| {
                replica.watch(&world.store, world.now)
                    | replica.see_object(&world.api, world.now)
                    | replica.see_endpoints(&world.api, world.now)
                    | replica.step_job(0, world.now)
                    | replica.step_take_over(world.now)
            });
        }
        worked | self.kubernetes()
    }
}

fn name(node: usize) -> NodeId {
    NodeId(format!("node-{node}"))
}

fn number(node: &NodeId) -> usize {
    node.0.trim_start_matches("node-").parse().expect("named by number")
}
