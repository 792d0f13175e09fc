//! Kubernetes: the object and its pods.

use super::{Drain, Object, Pod, PodState, World};

impl World {
    pub(super) fn living(&self, wanted: impl Fn(PodState) -> bool) -> Vec<Pod> {
        self.pods.iter().filter(|(_, state)| wanted(**state)).map(|(pod, _)| *pod).collect()
    }

    pub(super) fn start_pod(&mut self) {
        if self.object.replicas > 0 && self.living(|state| state != PodState::Terminating).is_empty() {
            self.born += 1;
            self.pods.insert(self.born, PodState::Starting);
        }
    }

    pub(super) fn change_pods(&mut self, from: PodState, to: Option<PodState>) {
        for pod in self.living(|state| state == from) {
            let _before = match to {
                Some(to) => self.pods.insert(pod, to),
                None => self.pods.remove(&pod),
            };
        }
    }

    pub(super) fn end_pods(&mut self) {
        if self.object.replicas > 0 {
            return;
        }
        for pod in self.living(|state| state != PodState::Terminating) {
            if self.open.contains(&pod) {
                self.violation = Some("a pod was ended with a connection open");
            }
            if let Some((Drain::Committed { condemned, .. }, _)) = &self.drain
                && !condemned.contains(&pod)
            {
                self.violation = Some("a drain ended a pod that was started after its commit");
            }
            self.pods.insert(pod, PodState::Terminating);
        }
    }

    /// A patch that carries a version: the API server refuses any other than the present one.
    pub(super) fn patch(&mut self, replicas: u32, version: u8) {
        if version == self.object.version {
            self.object = Object { replicas, version: version + 1 };
        }
    }
}
