//! The traffic of a test: what is always in use, what falls asleep and wakes again and again, and storms on what sleeps.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;
use zenvoy_e2e::load::{OpenStream, Record, Request};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Fleet;

use crate::journal::{Journal, unix_millis};

/// Services that fall asleep between requests.
const DOZERS: usize = 3;
/// Services that a storm wakes all at once.
const STORMED: usize = 12;

/// The services of a test.
#[derive(Debug, Clone)]
pub(crate) struct Services {
    /// Always in use, by short requests.
    pub(crate) busy: Backend,
    /// Always in use, by streams that never end.
    pub(crate) streamed: Backend,
    /// Asleep between requests.
    pub(crate) dozers: Vec<Backend>,
    /// Asleep until a storm.
    pub(crate) stormed: Vec<Backend>,
}

impl Services {
    pub(crate) fn new() -> Self {
        let many = |name: &str, count: usize, idle: &str| {
            (0..count)
                .map(|number| Backend::http(&format!("{name}-{number}")).set("idle-after", idle))
                .collect()
        };
        Self {
            // Soon idle, if ever: what is in use must not be scaled down all the same.
            busy: Backend::http("busy").set("idle-after", "1s"),
            streamed: Backend::http("streamed").set("idle-after", "1s"),
            dozers: many("dozer", DOZERS, "1s"),
            stormed: many("stormed", STORMED, "2s"),
        }
    }

    pub(crate) fn all(&self) -> Vec<Backend> {
        let many = self.dozers.iter().chain(&self.stormed);
        [&self.busy, &self.streamed].into_iter().chain(many).cloned().collect()
    }
}

/// Clients that go on until they are stopped.
pub(crate) struct Traffic {
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

type Stopped = watch::Receiver<bool>;

impl Traffic {
    /// Starts it through all nodes.
    pub(crate) fn start(fleet: &Fleet, services: &Services, journal: &Journal, seed: u64) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for node in 0..fleet.nodes.len() {
            let busy = fleet.http(node, &services.busy, "/slow?ms=50");
            clients.spawn(use_always(journal.clone(), node, services.busy.clone(), busy, stopped.clone()));
            let streamed = fleet.http(node, &services.streamed, "/stream?ms=100");
            clients.spawn(stream_always(
                journal.clone(),
                node,
                services.streamed.clone(),
                streamed,
                stopped.clone(),
            ));
        }
        for (number, dozer) in services.dozers.iter().enumerate() {
            let requests =
                (0..fleet.nodes.len()).map(|node| fleet.http(node, dozer, "/slow?ms=20")).collect();
            let random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
            clients.spawn(use_now_and_then(
                journal.clone(),
                dozer.clone(),
                requests,
                random,
                stopped.clone(),
            ));
        }
        Self { stop, clients }
    }

    /// Stops it; every client ends what it is at.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        until::done("all clients are through", self.clients.join_all()).await;
    }
}

async fn use_always(journal: Journal, node: usize, backend: Backend, request: Request, stopped: Stopped) {
    while !*stopped.borrow() {
        let record = journal.send(node, backend.name(), &request).await;
        // A node that is down refuses at once, and would be asked thousands of times.
        let pause = if record.result.is_ok() { 50 } else { 200 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

async fn use_now_and_then(
    journal: Journal,
    backend: Backend,
    through: Vec<Request>,
    mut random: StdRng,
    mut stopped: Stopped,
) {
    while !*stopped.borrow() {
        let node = random.random_range(0..through.len());
        journal.send(node, backend.name(), &through[node]).await;
        // From before it is idle to after it is gone.
        let pause = Duration::from_millis(random.random_range(500..3500));
        let _ = tokio::time::timeout(pause, stopped.wait_for(|stopped| *stopped)).await;
    }
}

async fn stream_always(
    journal: Journal,
    node: usize,
    backend: Backend,
    request: Request,
    mut stopped: Stopped,
) {
    while !*stopped.borrow() {
        let began = std::time::Instant::now();
        let opened = OpenStream::of(&request).await;
        let from = unix_millis();
        let failure = match opened {
            Err(failure) => failure,
            Ok(mut stream) => {
                let broken = async {
                    loop {
                        if let Err(failure) = stream.next().await {
                            return failure;
                        }
                    }
                };
                tokio::select! {
                    failure = broken => failure,
                    _ = stopped.wait_for(|stopped| *stopped) => return journal.streamed(backend.name(), from),
                }
            }
        };
        journal.broke(node, backend.name(), began, failure);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Requests to many cold services through all nodes at once, under way.
pub(crate) struct Storm(JoinSet<Record>);

impl Storm {
    /// Starts it: each of these is asked for through each node.
    pub(crate) fn start(fleet: &Fleet, backends: &[Backend], journal: &Journal) -> Self {
        let mut clients = JoinSet::new();
        for backend in backends {
            for node in 0..fleet.nodes.len() {
                let (journal, name) = (journal.clone(), backend.name().to_owned());
                let request = fleet.http(node, backend, "/");
                clients.spawn(async move { journal.send(node, &name, &request).await });
            }
        }
        Self(clients)
    }

    /// Waits for all answers.
    pub(crate) async fn over(self) {
        until::done("the storm is over", self.0.join_all()).await;
    }

    /// Waits for the answers of a storm that may take longer than other things.
    ///
    /// # Panics
    /// When it is not over by then.
    pub(crate) async fn over_within(self, limit: Duration) {
        let over = tokio::time::timeout(limit, self.0.join_all()).await;
        assert!(over.is_ok(), "the storm is not over within {limit:?}");
    }
}
