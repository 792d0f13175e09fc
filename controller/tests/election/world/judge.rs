//! What must hold at any time.

use super::{Replica, World};

/// Whoever is well for this long leads, or another does.
const PATIENCE_MS: u64 = 180_000;

impl World {
    /// What must hold at any time.
    pub(super) fn judge(&mut self) {
        let believing: Vec<usize> = (0..self.replicas.len())
            .filter(|at| self.replicas[*at].election.term(self.own(*at)).is_some())
            .collect();
        if let [one, other, ..] = believing[..] {
            let (one, other) = (&self.replicas[one].name, &self.replicas[other].name);
            self.violation = Some(format!("{one} and {other} lead at once"));
        }
        let now = self.now_ms;
        let is_well = |replica: &Replica| {
            replica.paused_until <= now
                && replica.without_store_until <= now
                && replica.without_api_until <= now
        };
        if believing.iter().any(|at| is_well(&self.replicas[*at])) {
            self.led_ms = now;
        }
        for replica in &mut self.replicas {
            if !is_well(replica) {
                replica.well_since = now;
            }
            let since = replica.well_since.max(self.led_ms);
            if now - since > PATIENCE_MS {
                self.violation = Some(format!("nobody leads since {since}, though {} could", replica.name));
            }
        }
    }
}
