//! What a scenario plays on: a fleet with its services, and the journal of what clients saw.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace_within;
use zenvoy_e2e::zenvoy::Fleet;

use crate::check::{check, until_all_sleep, up_at};
use crate::journal::{Journal, unix_millis};
use crate::traffic::{Services, Storm, Traffic};

/// The longest any test of fixed scenarios may take.
const LIMIT: Duration = Duration::from_secs(240);

/// One at a time: a fleet needs all processors there are, and its scenarios measure.
static ALONE: Mutex<()> = Mutex::new(());

/// A fleet that runs.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) services: Services,
    pub(crate) journal: Journal,
}

/// Runs a test on a fleet of its own, and checks the invariants at its end.
pub(crate) fn on_a_fleet(play: impl AsyncFnOnce(&mut Stage) + Send + 'static) {
    on_a_fleet_within(LIMIT, play);
}

/// The same, with another limit.
pub(crate) fn on_a_fleet_within(limit: Duration, play: impl AsyncFnOnce(&mut Stage) + Send + 'static) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    in_namespace_within(limit, async || {
        let mut stage =
            Stage { fleet: Fleet::start().await, services: Services::new(), journal: Journal::default() };
        stage.fleet.create(&stage.services.all()).await;
        play(&mut stage).await;
        stage.check().await;
    });
}

impl Stage {
    /// Starts the traffic that always runs.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic::start(&self.fleet, &self.services, &self.journal, 1)
    }

    /// Wakes some of the services that sleep, through all nodes at once.
    pub(crate) fn storm(&self, on: &[Backend]) -> Storm {
        Storm::start(&self.fleet, on, &self.journal)
    }

    /// All parts run and reach each other: waits until nothing happens any more, and checks the invariants.
    pub(crate) async fn check(&mut self) {
        self.journal.no_more_excuses();
        check(&mut self.fleet, &self.services, &self.journal).await;
    }

    /// Waits until what storms wake sleeps again.
    pub(crate) async fn until_calm(&self) {
        until_all_sleep(&self.fleet, &self.services.stormed).await;
    }

    /// The longest time between a service's first request of those after `began_after`, or `since` when that was later, and
    /// the scale write for it.
    ///
    /// # Panics
    /// When one of them was not woken.
    pub(crate) fn slowest_wake(&self, of: &[Backend], began_after: u64, since: u64) -> Duration {
        let entries = self.journal.entries();
        let waits = of.iter().map(|backend| {
            let requests = entries.iter().filter(|entry| entry.workload == backend.name());
            let first = requests.map(|entry| entry.began).filter(|began| *began >= began_after).min();
            let first = first.unwrap_or_else(|| panic!("nobody asked for {}", backend.name()));
            let up = up_at(&self.fleet.audit(), backend, first);
            let up = up.unwrap_or_else(|| panic!("{} was not woken", backend.name()));
            Duration::from_millis(up.saturating_sub(first.max(since)))
        });
        waits.max().unwrap_or_default()
    }

    /// Says what happens, for those who read the output.
    pub(crate) fn say(&self, what: &str) {
        eprintln!("{} {what}", unix_millis());
    }
}
