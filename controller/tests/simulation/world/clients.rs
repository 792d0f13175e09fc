//! Clients come and go.

use super::World;
use crate::api::{Pod, PodState};

impl World {
    pub(super) fn client_connects(&mut self, node: usize) {
        let pick = self.pick(16);
        let reached = self.nodes[node].connect(pick);
        self.note(|| format!("a client connects to node {node}: {reached:?}"));
        self.reach(node, reached);
    }

    pub(super) fn client_leaves(&mut self, node: usize) {
        if self.nodes[node].open.pop().is_some() {
            self.note(|| format!("a client leaves node {node}"));
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

    /// What is held is released to a pod, or answered with a reason.
    pub(super) fn release(&mut self, node: usize) -> bool {
        let pick = self.pick(16);
        let released = self.nodes[node].release(pick);
        if released.is_some() {
            self.note(|| format!("node {node} releases a held connection to {released:?}"));
        }
        self.reach(node, released);
        let failed = self.nodes[node].fails();
        if failed {
            self.note(|| format!("node {node} fails what it holds"));
        }
        released.is_some() || failed
    }
}
