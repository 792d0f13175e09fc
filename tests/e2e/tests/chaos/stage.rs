//! What a scenario plays on: a fleet with its services, and the journal of what clients saw.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use zenvoy_e2e::clock::Clock;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace_within;
use zenvoy_e2e::parts;
use zenvoy_e2e::store::Records;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Fleet;

use crate::check::{check, until_all_sleep, up_at};
use crate::journal::{Journal, unix_millis};
use crate::traffic::{Services, Storm, Traffic};

/// The longest any test of fixed scenarios may take.
const LIMIT: Duration = Duration::from_secs(240);

/// A request to what is up takes less, though its work takes 50 ms and a storm runs beside it: it waits for no fail-over.
const WARM: Duration = Duration::from_secs(1);

/// One at a time: a fleet needs all processors there are, and its scenarios measure.
static ALONE: Mutex<()> = Mutex::new(());

/// A fleet that runs.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) services: Services,
    pub(crate) journal: Journal,
    /// Those of the controllers, once they have been given some.
    pub(crate) clocks: Vec<Clock>,
}

/// Runs a test on a fleet of its own, and checks the invariants at its end.
pub(crate) fn on_a_fleet(play: impl AsyncFnOnce(&mut Stage) + Send + 'static) {
    run(LIMIT, parts::zenvoy(), play);
}

/// The same, with another limit.
pub(crate) fn on_a_fleet_within(limit: Duration, play: impl AsyncFnOnce(&mut Stage) + Send + 'static) {
    run(limit, parts::zenvoy(), play);
}

/// The same, on a fleet of another build.
pub(crate) fn on_a_fleet_of(program: PathBuf, play: impl AsyncFnOnce(&mut Stage) + Send + 'static) {
    run(LIMIT, program, play);
}

fn run(limit: Duration, program: PathBuf, play: impl AsyncFnOnce(&mut Stage) + Send + 'static) {
    alone(limit, async move || {
        let mut stage = Stage {
            fleet: Fleet::start_as(&program).await,
            services: Services::new(),
            journal: Journal::default(),
            clocks: Vec::new(),
        };
        stage.fleet.create(&stage.services.all()).await;
        play(&mut stage).await;
        stage.check().await;
    });
}

/// Runs a test that needs the machine for itself.
pub(crate) fn alone(limit: Duration, test: impl AsyncFnOnce() + Send + 'static) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    in_namespace_within(limit, test);
}

impl Stage {
    /// Starts the controllers again, one by one, each with a wall clock of its own.
    pub(crate) async fn give_clocks(&mut self) {
        for (number, controller) in self.fleet.controllers.iter_mut().enumerate() {
            let clock = Clock::new(&self.fleet.folder, &format!("controller-{}", number + 1));
            controller.wear(&clock);
            self.clocks.push(clock);
            controller.process().terminate().await;
            controller.start_again();
            controller.until_ready().await;
        }
        self.fleet.until_ready().await;
    }

    /// How often the term was taken over.
    pub(crate) async fn terms(&self) -> usize {
        let history = Records::of(&self.fleet.etcd[0]).await.history().await;
        history.iter().filter(|change| change.key == "leader").count()
    }

    /// Starts the traffic that always runs, and waits until what is always in use is up for all nodes: a fault that comes before
    /// would find nothing warm.
    pub(crate) async fn traffic(&self) -> Traffic {
        let traffic = Traffic::start(&self.fleet, &self.services, &self.journal, 1);
        let busy = self.services.busy.name();
        until::so("what is always in use is up", async || {
            let entries = self.journal.entries();
            (0..self.fleet.nodes.len()).all(|node| {
                entries
                    .iter()
                    .any(|entry| entry.node == node && entry.workload == busy && entry.served().is_some())
            })
        })
        .await;
        traffic
    }

    /// Wakes some of the services that sleep, through all nodes at once.
    pub(crate) fn storm(&self, on: &[Backend]) -> Storm {
        Storm::start(&self.fleet, on, &self.journal)
    }

    /// All parts run and reach each other: waits until nothing happens any more, and checks the invariants.
    pub(crate) async fn check(&mut self) {
        self.journal.no_more_excuses();
        check(&mut self.fleet, &self.services, &self.journal).await;
        let (requests, served) = self.journal.share();
        self.say(&format!("{served} of {requests} requests that ran through no killed part were served"));
    }

    /// Waits until what storms wake sleeps again.
    pub(crate) async fn until_calm(&self) {
        until_all_sleep(&self.fleet, &self.services.stormed).await;
    }

    /// Since then, something happened that requests to what is up saw nothing of. That all were served is for
    /// [`Self::check`].
    ///
    /// # Panics
    /// When one took longer, or there were none.
    pub(crate) fn assert_warm_saw_nothing(&self, since: u64) {
        let (requests, slowest) = self.journal.warm(self.services.busy.name(), since);
        self.say(&format!("the slowest of {requests} warm requests took {slowest:?}"));
        assert!(requests > 0, "no warm request was served, so nothing is proven");
        assert!(slowest < WARM, "a warm request took {slowest:?}");
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
