//! Clients, Envoy and the proxy.

use super::{CLIENTS, Drain, Pod, PodState, Rules, To, World};

impl World {
    pub(super) fn connect(&mut self, rules: Rules) {
        if self.clients == CLIENTS {
            return;
        }
        self.clients += 1;
        match (self.worker, self.proxy) {
            (To::Pod(pod), _) | (To::Activator(_), To::Pod(pod)) => self.reach(pod),
            (To::Activator(_), To::Activator(_)) => {
                self.held += 1;
                if rules.connection_cancels {
                    self.acked = None;
                }
            }
        }
    }

    pub(super) fn release(&mut self) {
        if let (To::Pod(pod), 1..) = (self.proxy, self.held) {
            self.held -= 1;
            self.reach(pod);
        }
    }

    pub(super) fn reach(&mut self, pod: Pod) {
        match self.pods.get(&pod) {
            Some(PodState::Ready) => self.open.push(pod),
            _ => self.violation = Some("a connection was sent to a pod that does not serve"),
        }
    }

    /// Rule D3, as the node sees it: nothing open, nothing held, the switch has passed every worker.
    pub(super) fn acknowledge(&mut self, rules: Rules) {
        let Some((Drain::Offered, _)) = self.drain else { return };
        let switched = To::Activator(Some(self.drains));
        let quiet = self.main == switched
            && (self.worker == switched || !rules.flush_barrier)
            && self.proxy == switched
            && self.held == 0
            && self.open.is_empty();
        if quiet {
            self.acked = Some(self.drains);
        }
    }
}
