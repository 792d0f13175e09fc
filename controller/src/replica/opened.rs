//! Since when this replica has known each open wake, on its own clock: the clock of who opened it may be off. In: views; out:
//! how long a wake has been open. Bounded by the wakes that are open.

use std::collections::BTreeMap;
use std::time::Duration;

use zenvoy_shared::id::{Episode, WorkloadId};

use super::core::Core;
use crate::session::Moment;

/// The open wakes.
#[derive(Debug, Default)]
pub(super) struct Opened(BTreeMap<WorkloadId, (Episode, Moment)>);

impl Core {
    /// What a changed view says of it.
    pub(super) fn look_at_opened(&mut self, workload: &WorkloadId) {
        match self.inventory.view(workload).open_wake().map(|wake| &wake.record.episode) {
            Some(episode) if self.opened.0.get(workload).is_some_and(|(known, _)| known == episode) => {}
            Some(episode) => {
                let known = (episode.clone(), self.now.moment);
                self.opened.0.insert(workload.clone(), known);
            }
            None => drop(self.opened.0.remove(workload)),
        }
    }

    /// For how long this replica has known the wake that is open; zero when none is.
    pub(super) fn open_for(&self, workload: &WorkloadId) -> Duration {
        self.opened.0.get(workload).map(|(_, since)| since.until(self.now.moment)).unwrap_or_default()
    }
}
