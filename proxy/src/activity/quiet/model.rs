//! The proof against an Envoy whose workers do things when they like: whatever the order, a node that is proven quiet
//! is quiet and stays so. Envoy is modelled as it is built: the main thread posts to each worker's queue, a worker takes
//! its queue in order, and a flush is stamped once all workers have passed it.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const WORKERS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Posted {
    /// From now on requests go to the activator.
    Switch,
    /// A flush passes.
    Flush,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Pods,
    Activator,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// The controller switches Envoy; Envoy's main thread posts, then ACKs, and the proof is asked for at once.
    Switch,
    /// The main thread begins a flush, if none is under way.
    BeginFlush,
    /// A worker takes the next of its queue.
    Take(usize),
    /// A worker begins a request for which a client has come.
    Begin(usize),
    /// A request to the pods ends.
    End,
    /// The proxy receives all flushes that are on their way.
    Deliver,
}

struct Worker {
    queue: VecDeque<Posted>,
    target: Target,
}

struct World {
    now_ms: i64,
    workers: Vec<Worker>,
    passed: Option<usize>,
    counters: Counters,
    sent: VecDeque<Flush>,
    proofs: Proofs,
    asked: bool,
    proven: bool,
}

fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

fn drain() -> DrainId {
    DrainId("drain-1".into())
}

impl World {
    fn new() -> Self {
        let worker = || Worker { queue: VecDeque::new(), target: Target::Pods };
        Self {
            now_ms: 1,
            workers: (0..WORKERS).map(|_| worker()).collect(),
            passed: None,
            counters: Counters::default(),
            sent: VecDeque::new(),
            proofs: Proofs::default(),
            asked: false,
            proven: false,
        }
    }

    fn act(&mut self, act: Act) {
        self.now_ms += 1;
        match act {
            Act::Switch if !self.asked => {
                self.asked = true;
                self.workers.iter_mut().for_each(|worker| worker.queue.push_back(Posted::Switch));
                self.proofs.ask(drain(), vec![cart()], self.now_ms);
            }
            Act::BeginFlush if self.passed.is_none() => {
                self.passed = Some(0);
                self.workers.iter_mut().for_each(|worker| worker.queue.push_back(Posted::Flush));
            }
            Act::Take(worker) => self.take(worker),
            // What goes to the activator is held by the proxy and starts the proof over: no matter here.
            Act::Begin(worker) if self.workers[worker].target == Target::Pods => {
                self.counters.requests_active += 1;
                self.counters.requests += 1;
            }
            Act::End => self.counters.requests_active = self.counters.requests_active.saturating_sub(1),
            Act::Deliver => self.deliver(),
            Act::Switch | Act::BeginFlush | Act::Begin(_) => {}
        }
    }

    fn take(&mut self, worker: usize) {
        match self.workers[worker].queue.pop_front() {
            Some(Posted::Switch) => self.workers[worker].target = Target::Activator,
            Some(Posted::Flush) => {
                let passed = self.passed.map_or(0, |passed| passed + 1);
                self.passed = Some(passed);
                if passed == WORKERS {
                    self.passed = None;
                    self.sent.push_back(Flush::with(Some(self.now_ms), &[(&cart(), self.counters)]));
                }
            }
            None => {}
        }
    }

    fn deliver(&mut self) {
        let own = |_: &UpstreamId| Some(Own { drain: Some(drain()), open: 0, protocol: Protocol::Http });
        for flush in self.sent.drain(..) {
            self.proven |= !self.proofs.flush(&flush, own, self.now_ms).is_empty();
        }
    }

    fn is_quiet(&self) -> bool {
        let switched = self.workers.iter().all(|worker| worker.target == Target::Activator);
        switched && self.counters.requests_active == 0
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Switch),
        6 => Just(Act::BeginFlush),
        12 => (0..WORKERS).prop_map(Act::Take),
        2 => (0..WORKERS).prop_map(Act::Begin),
        2 => Just(Act::End),
        1 => Just(Act::Deliver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_node_that_is_proven_quiet_is_quiet_whatever_its_workers_do(acts in prop::collection::vec(act(), 0..120)) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
            prop_assert!(!world.proven || world.is_quiet(), "{act:?}");
        }
    }

    #[test]
    fn a_node_that_becomes_quiet_is_proven_so(acts in prop::collection::vec(act(), 0..120)) {
        let mut world = World::new();
        acts.into_iter().for_each(|act| world.act(act));
        world.act(Act::Switch);
        while world.counters.requests_active > 0 {
            world.act(Act::End);
        }
        for _ in 0..5 {
            world.act(Act::BeginFlush);
            while let Some(worker) = (0..WORKERS).find(|worker| !world.workers[*worker].queue.is_empty()) {
                world.act(Act::Take(worker));
            }
            while world.counters.requests_active > 0 {
                world.act(Act::End);
            }
            world.act(Act::Deliver);
        }
        prop_assert!(world.proven);
    }
}
