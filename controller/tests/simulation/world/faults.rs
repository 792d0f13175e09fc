//! What goes wrong.

use zenvoy_controller::model::{Fact, Problem, Target, UpstreamFacts, UpstreamSpec};
use zenvoy_controller::replica::{Event, Said, SessionId};
use zenvoy_controller::store::Key;
use zenvoy_shared::id::UpstreamId;

use super::{World, name};

impl World {
    pub(super) fn fault(&mut self, node: usize, replica: usize) {
        match self.pick(50) {
            0..18 => self.moods(node, replica),
            18..26 => drop(self.session_opens(node, replica)),
            26..29 => drop(self.session_breaks(node)),
            29..32 => self.another_leads(replica),
            32 => self.crash(replica),
            33..35 => self.start_again(replica),
            35..37 => self.lease_ends(replica),
            37..39 => self.store_falls_silent(),
            39..41 => self.store_goes_or_returns(replica),
            41 => self.lease_is_given_up(replica),
            42..44 => self.pauses_or_runs(replica),
            44 => self.node_restarts(node),
            45 => self.proxy_restarts(node),
            46 => self.node_leaves(node),
            47 => self.service_comes_or_goes(),
            48 => self.quota_fills_or_empties(),
            _ => self.resync(replica),
        }
        if !self.rules.no_timer && self.pick(4) == 0 {
            self.timer_forgets(node);
        }
        if !self.rules.one_fate && self.pick(3) == 0 {
            self.nodes[node].ads = replica;
        }
    }

    /// Outages are long enough to be noticed, and short enough for something to happen between them.
    pub(super) fn something_recovers(&mut self) {
        let replica = self.pick(self.replicas.len());
        let away = !self.replicas.iter().flatten().all(crate::replica::Replica::has_store);
        let paused = self.replicas[replica].as_ref().is_some_and(|replica| replica.paused);
        if away {
            self.store_goes_or_returns(replica);
        } else if paused {
            self.pauses_or_runs(replica);
        } else if self.api.state().refuses {
            self.quota_fills_or_empties();
        } else {
            self.start_again(replica);
        }
    }

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
        self.note(|| format!("node {node}'s worker stalls: {stalled}; replica {replica} lags: {lags}"));
    }

    // === nodes ===

    pub(super) fn session_breaks(&mut self, node: usize) -> bool {
        let Some((replica, session)) = self.nodes[node].session else { return false };
        self.note(|| format!("the session of node {node} breaks"));
        self.nodes[node].breaks();
        let name = name(node);
        self.with(replica, |replica, now| {
            replica.hears(Event::Said(name, session, Said::Closed), now);
            true
        })
    }

    pub(super) fn session_opens(&mut self, node: usize, replica: usize) -> bool {
        let runs = self.replicas[replica].as_ref().is_some_and(|replica| !replica.paused);
        if !runs || self.nodes[node].session.is_some() {
            return false;
        }
        self.note(|| format!("node {node} opens a session with replica {replica}"));
        self.sessions += 1;
        self.nodes[node].opens(replica, SessionId(self.sessions));
        true
    }

    fn node_restarts(&mut self, node: usize) {
        self.note(|| format!("node {node} restarts"));
        self.session_breaks(node);
        self.nodes[node].restarts();
    }

    /// Its Envoy's worker may be late meanwhile.
    fn proxy_restarts(&mut self, node: usize) {
        self.note(|| format!("the proxy of node {node} restarts"));
        self.session_breaks(node);
        self.nodes[node].proxy_restarts();
    }

    fn node_leaves(&mut self, node: usize) {
        if self.nodes[node].leaves() {
            self.note(|| format!("node {node} says goodbye"));
        }
    }

    /// Without rule N4.
    fn timer_forgets(&mut self, node: usize) {
        if self.nodes[node].session.is_none() {
            self.note(|| format!("a timer forgets node {node}"));
            self.store.delete(Key::Node(name(node)));
        }
    }

    // === replicas ===

    /// The Lease moved; the one that led may not know yet.
    pub(super) fn another_leads(&mut self, replica: usize) {
        self.note(|| format!("replica {replica} wins the Lease"));
        self.with_running(replica, |replica, _| {
            replica.candidate();
            true
        });
    }

    fn crash(&mut self, replica: usize) {
        let Some(mut dead) = self.replicas[replica].take() else { return };
        self.note(|| format!("replica {replica} crashes"));
        for node in 0..self.nodes.len() {
            if self.nodes[node].session.is_some_and(|(at, _)| at == replica) {
                self.nodes[node].breaks();
            }
        }
        dead.store_has_ended();
        if let Some(lease) = dead.lease {
            // The dead one's records go with its lease, some time later at best; at once is the harder case for acks.
            self.store.end_lease(lease);
        }
    }

    pub(super) fn start_again(&mut self, replica: usize) {
        if self.replicas[replica].is_none() {
            self.note(|| format!("replica {replica} starts again"));
            self.replicas[replica] = Some(self.fresh());
        }
    }

    /// The process stands still, is taken for dead, and goes on as if nothing had been.
    fn pauses_or_runs(&mut self, replica: usize) {
        let Some(paused) = self.replicas[replica].as_ref().map(|replica| replica.paused) else { return };
        self.note(|| format!("replica {replica} {}", if paused { "runs again" } else { "stands still" }));
        self.with(replica, |replica, _| {
            replica.paused = !paused;
            true
        });
        if !paused && self.pick(2) == 0 {
            for node in 0..self.nodes.len() {
                if self.nodes[node].session.is_some_and(|(at, _)| at == replica) {
                    self.session_breaks(node);
                }
            }
            self.lease_ends(replica);
            self.another_leads(1 - replica);
        }
    }

    pub(super) fn lease_ends(&mut self, replica: usize) {
        self.note(|| format!("the lease of replica {replica} ends"));
        self.with(replica, |replica, now| {
            replica.gives_up_lease(now);
            replica.store_has_ended();
            if replica.has_store() {
                replica.store_goes(false, now);
            }
            true
        });
    }

    /// Rule G3: the watch was compacted away.
    fn resync(&mut self, replica: usize) {
        self.note(|| format!("replica {replica} lists the store anew"));
        self.with_running(replica, |replica, now| {
            if replica.has_store() {
                replica.resync(now);
            }
            true
        });
    }

    // === the store and the API server ===

    fn store_falls_silent(&mut self) {
        if !self.store_fails {
            return;
        }
        self.note(|| "the store leaves some writes unanswered".into());
        let calls = u32::try_from(self.pick(4)).unwrap_or(0);
        self.store.state().unanswered = calls;
        self.api.state().unanswered = calls == 3;
    }

    /// One replica is cut off from the store, or all are.
    fn store_goes_or_returns(&mut self, replica: usize) {
        if !self.store_fails {
            return;
        }
        let goes = self.replicas.iter().flatten().all(crate::replica::Replica::has_store);
        let all = self.pick(2) == 0;
        let who = if all || !goes { "all".into() } else { format!("replica {replica}") };
        self.note(|| format!("the store {} for {who}", if goes { "goes" } else { "returns" }));
        for at in 0..self.replicas.len() {
            if all || !goes || at == replica {
                self.with(at, |replica, now| {
                    replica.store_goes(goes, now);
                    true
                });
            }
        }
    }

    /// A replica without the store takes its lease to have ended; the store ends it then, or later.
    fn lease_is_given_up(&mut self, replica: usize) {
        let later = self.pick(2) == 0;
        let given_up = self.with(replica, |replica, now| {
            let given_up = !replica.has_store() && replica.gives_up_lease(now);
            if !later {
                replica.store_has_ended();
            }
            given_up
        });
        if given_up {
            self.note(|| format!("replica {replica} takes its lease to have ended"));
        }
    }

    fn quota_fills_or_empties(&mut self) {
        let refuses = !self.api.state().refuses;
        self.api.state().refuses = refuses;
        self.note(|| format!("the quota has no room: {refuses}"));
    }

    /// Services that nobody calls, for their activator addresses (I3).
    fn service_comes_or_goes(&mut self) {
        let id = UpstreamId::new("shop", format!("extra-{}", self.pick(3)), 80);
        let comes = self.pick(2) == 0;
        self.note(|| format!("{id} {}", if comes { "comes" } else { "goes" }));
        let fact = if comes {
            let problem = Problem { reason: "NoTarget".into(), message: "nothing is behind it".into() };
            let (spec, target) = (UpstreamSpec::default(), Target::Unresolved(problem));
            Fact::Upstream(id, UpstreamFacts { spec, target, created: 0 })
        } else {
            Fact::UpstreamGone(id)
        };
        self.api.state().services.push(fact);
    }
}
