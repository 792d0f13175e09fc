//! The parts do their work: what can be done is done, wherever the scheduler looks.

use zenvoy_controller::replica::{Event, Routes, ToNode};

use super::{World, name, number};
use crate::node::{To, Verdict};
use crate::replica::{Replica, Served};

impl World {
    pub(super) fn work(&mut self) {
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
        match self.pick(14) {
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
            8 => self.with_running(replica, |replica, now| !replica.lags && replica.watch(now)),
            9 => self.with_running(replica, |replica, now| !replica.lags && replica.see_object(now)),
            10 => self.with_running(replica, |replica, now| !replica.lags && replica.see_endpoints(now)),
            11 => self.with_running(replica, |replica, now| replica.catch_up(now) | replica.see_service(now)),
            12 => self.pick(20) == 0 && self.asks_again(node),
            _ => {
                let pick = self.pick(16);
                self.with_running(replica, |replica, now| {
                    replica.step_job(pick, now) | replica.step_take_over(now)
                })
            }
        }
    }

    pub(super) fn apply_worker(&mut self, node: usize) -> bool {
        let late = self.nodes[node].worker != self.nodes[node].main;
        if late {
            self.nodes[node].worker = self.nodes[node].main.clone();
            self.note(|| format!("node {node}'s worker follows"));
        }
        late
    }

    pub(super) fn deliver_said(&mut self, node: usize) -> bool {
        let Some((replica, session)) = self.nodes[node].session else { return false };
        if self.nodes[node].outbox.is_empty() || self.replicas[replica].as_ref().is_none_or(|it| it.paused) {
            return false;
        }
        let said = self.nodes[node].outbox.remove(0);
        self.note(|| format!("replica {replica} hears node {node}: {said:?}"));
        let name = name(node);
        self.with(replica, |replica, now| {
            replica.event(Event::Said(name, session, said), now);
            true
        });
        if self.nodes[node].gone && self.nodes[node].outbox.is_empty() {
            // It has said goodbye.
            self.session_breaks(node);
        }
        true
    }

    pub(super) fn deliver_told(&mut self, replica: usize) -> bool {
        let running = self.replicas[replica].as_mut().filter(|replica| !replica.paused);
        let told = running.and_then(|replica| replica.told.pop_front());
        let Some((node, session, message)) = told else { return false };
        let node = number(&node);
        if self.nodes[node].session != Some((replica, session)) {
            return true;
        }
        self.note(|| format!("node {node} hears: {message:?}"));
        match message {
            ToNode::Welcome(Routes::Activator) if self.asks_another(node, replica) => {}
            ToNode::Welcome(routes) => self.nodes[node].welcomed = Some(routes),
            ToNode::ProveQuiet { drain, .. } => self.nodes[node].asked = Some(drain),
            ToNode::WithdrawProof { .. } => self.nodes[node].asked = None,
            ToNode::Refuse(_) => {}
        }
        true
    }

    /// Rule N2: a replica that cannot register a node is taken only when no other can. The proxy asks while its session stands;
    /// here it moves, which is the harder case.
    fn asks_another(&mut self, node: usize, replica: usize) -> bool {
        let another = 1 - replica;
        let asked = self.nodes[node].unregistered_at.take() == Some(another);
        let runs = self.replicas[another].as_ref().is_some_and(|replica| !replica.paused);
        if asked || !runs || !self.rules.all_asked {
            return false;
        }
        self.session_breaks(node);
        self.session_opens(node, another);
        self.nodes[node].unregistered_at = Some(replica);
        true
    }

    /// The same, again and again.
    fn asks_again(&mut self, node: usize) -> bool {
        let relayed = self.nodes[node].welcomed == Some(Routes::Activator);
        let session = self.nodes[node].session.filter(|_| relayed);
        session.is_some_and(|(replica, _)| self.asks_another(node, replica))
    }

    /// What a node is served: once it was welcomed (rule N3), by its session's replica (rule N1), with the routes it was
    /// welcomed to (rule N2).
    fn serves(&self, node: usize) -> Option<&Served> {
        let node = &self.nodes[node];
        let (session, _) = node.session.filter(|_| !node.gone)?;
        let at = if self.rules.one_fate { session } else { node.ads };
        let replica: &Replica = self.replicas[at].as_ref()?;
        match node.welcomed {
            Some(Routes::Activator) if self.rules.relayed_unregistered => Some(&replica.relayed),
            Some(_) => Some(&replica.served),
            None => Some(&replica.served).filter(|_| !self.rules.registered_first),
        }
    }

    pub(super) fn apply_main(&mut self, node: usize) -> bool {
        let Some(served) = self.serves(node).map(|served| served.envoy.clone()) else { return false };
        if served == To::Nowhere || self.nodes[node].main == served {
            return false;
        }
        self.note(|| format!("node {node}'s Envoy: {served:?}"));
        self.nodes[node].main = served;
        true
    }

    pub(super) fn apply_proxy(&mut self, node: usize) -> bool {
        let Some(served) = self.serves(node).map(|served| served.proxy.clone()) else { return false };
        if served == Verdict::None || self.nodes[node].proxy == served {
            return false;
        }
        self.note(|| format!("node {node}'s proxy: {served:?}"));
        self.nodes[node].proxy = served;
        true
    }

    /// Envoy and the proxy of a node have ACKed what the replica serves now.
    pub(super) fn acked(&mut self, replica: usize) -> bool {
        let Some(running) = self.replicas[replica].as_ref() else { return false };
        let at = running.awaited.iter().position(|(node, _)| {
            let node = &self.nodes[number(node)];
            let mine = node.session.is_some_and(|(at, _)| at == replica);
            mine && node.welcomed == Some(Routes::Direct)
                && node.main == running.served.envoy
                && node.proxy == running.served.proxy
        });
        let Some(at) = at else { return false };
        self.with_running(replica, |replica, now| {
            let (node, switch) = replica.awaited.remove(at);
            replica.event(Event::Applied(node, switch), now);
            true
        })
    }

    pub(super) fn kubernetes(&mut self) -> bool {
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
            let pods = self.api.state().pods.clone();
            self.note(|| format!("Kubernetes: {pick}, pods {pods:?}"));
        }
        if ended.iter().any(|pod| self.nodes.iter().any(|node| node.open.contains(pod))) {
            self.violation = Some("I5: a pod was ended with a connection open".into());
        }
        changed && pick != 4
    }
}
