//! Two replicas, two nodes, one workload, and a scheduler that chooses at random what happens next.

mod clients;
mod faults;
mod rest;
mod scene;
mod work;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zenvoy_controller::execute::{Outcome, Subject};
use zenvoy_controller::replica::Now;
use zenvoy_controller::session::Moment;
use zenvoy_shared::id::NodeId;

use crate::api::SimApi;
use crate::node::Node;
use crate::replica::Replica;
use crate::rules::Rules;
use crate::store::SimStore;
use crate::watchdog::Watchdog;

/// What a run has seen.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) served: u32,
    pub(crate) failed: u32,
    pub(crate) wakes: u32,
    pub(crate) sleeps: u32,
    /// Steps at which two replicas believed to lead.
    pub(crate) two_led: u32,
    /// Scale writes of wakes without a record.
    pub(crate) woken_alone: u32,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.served += other.served;
        self.failed += other.failed;
        self.wakes += other.wakes;
        self.sleeps += other.sleeps;
        self.two_led += other.two_led;
        self.woken_alone += other.woken_alone;
    }
}

pub(crate) struct World {
    store: SimStore,
    api: SimApi,
    watchdog: Watchdog,
    replicas: Vec<Option<Replica>>,
    nodes: Vec<Node>,
    now: Now,
    random: StdRng,
    /// Clients come.
    busy: bool,
    /// How often, of 1,000 steps, a node moves to another replica.
    restless: usize,
    /// Whether replicas lose the store in this run.
    store_fails: bool,
    rules: Rules,
    started: usize,
    sessions: u64,
    seen: Seen,
    /// Kubernetes does nothing by itself.
    frozen: bool,
    /// Whether it is told what happens.
    told: bool,
    pub(crate) trace: Vec<String>,
    violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, rules: Rules) -> Self {
        let watchdog = Watchdog::default();
        let store = SimStore::new(rules, watchdog.clone());
        let api = SimApi::new(rules, watchdog.clone());
        let mut world = Self {
            store,
            api,
            watchdog,
            replicas: Vec::new(),
            nodes: (0..2).map(|_| Node::new(rules)).collect(),
            now: Now { moment: Moment(Duration::from_secs(10_000)), unix_nanos: 1_000_000_000_000 },
            random: StdRng::seed_from_u64(seed),
            busy: true,
            restless: usize::try_from(seed % 4).unwrap_or(0) * 4,
            store_fails: !seed.is_multiple_of(3),
            rules,
            started: 0,
            sessions: 0,
            seen: Seen::default(),
            frozen: false,
            told: false,
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

    /// The same, and what happens is told.
    pub(crate) fn told(seed: u64, rules: Rules) -> Self {
        Self { told: true, ..Self::new(seed, rules) }
    }

    /// `steps` random steps with faults; a violation, if one was seen.
    pub(crate) fn endures(&mut self, steps: usize) -> Option<String> {
        (0..steps).find_map(|_| {
            self.step();
            self.violated()
        })
    }

    /// The same, then a fair time without faults: everything must come to rest, served.
    pub(crate) fn run(mut self, steps: usize) -> Result<Seen, (String, Vec<String>)> {
        if let Some(violation) = self.endures(steps) {
            return Err((violation, self.trace));
        }
        self.come_to_rest();
        if let Some(violation) = self.violated() {
            return Err((violation, self.trace));
        }
        let mut seen = self.seen;
        for node in &self.nodes {
            seen.served += node.served;
            seen.failed += node.failed;
        }
        let api = self.api.state();
        (seen.wakes, seen.sleeps) = (api.scaled_up, api.scaled_down);
        Ok(seen)
    }

    pub(crate) fn violated(&mut self) -> Option<String> {
        self.violation.take().or_else(|| self.watchdog.violation())
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.told {
            self.trace.push(what());
        }
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
        if self.pick(150) == 0 {
            self.something_recovers();
        }
        match self.pick(1_000) {
            0..60 if self.busy => self.client_connects(node),
            0..120 => self.client_leaves(node),
            120..800 => self.work(),
            800..900 => drop(self.kubernetes()),
            900..950 => {
                let milliseconds = u64::try_from(self.pick(1_500)).unwrap_or(0);
                self.time_passes(Duration::from_millis(milliseconds));
            }
            _ => self.fault(node, replica),
        }
        self.nodes[node].say();
        let leads = |replica: &Replica| u32::from(replica.leads);
        if self.replicas.iter().flatten().map(leads).sum::<u32>() > 1 {
            self.seen.two_led += 1;
        }
    }

    fn time_passes(&mut self, time: Duration) {
        self.now.moment = self.now.moment.after(time);
        self.now.unix_nanos += u64::try_from(time.as_nanos()).unwrap_or(0);
        self.watchdog.time_is(self.now.moment);
        for replica in self.replicas.iter_mut().flatten().filter(|replica| !replica.paused) {
            replica.tick(self.now);
        }
    }

    /// Does something to a replica that lives, whether it runs or not.
    fn with(&mut self, replica: usize, act: impl FnOnce(&mut Replica, Now) -> bool) -> bool {
        let Some(running) = self.replicas[replica].as_mut() else { return false };
        let acted = act(running, self.now);
        for done in std::mem::take(&mut running.log) {
            let alone = matches!((&done.subject, &done.outcome), (Subject::Demand(_), Outcome::Scaled(_)));
            self.seen.woken_alone += u32::from(alone);
            if self.told {
                self.trace.push(format!("replica {replica}: {:?}: {:?}", done.subject, done.outcome));
            }
        }
        let hung = std::mem::take(&mut running.hung);
        for (node, session) in hung {
            let node = number(&node);
            if self.nodes[node].session == Some((replica, session)) {
                self.session_breaks(node);
            }
        }
        acted
    }

    /// The same, if it runs.
    fn with_running(&mut self, replica: usize, act: impl FnOnce(&mut Replica, Now) -> bool) -> bool {
        self.with(replica, |replica, now| !replica.paused && act(replica, now))
    }
}

fn name(node: usize) -> NodeId {
    NodeId(format!("node-{node}"))
}

fn number(node: &NodeId) -> usize {
    node.0.trim_start_matches("node-").parse().expect("named by number")
}
