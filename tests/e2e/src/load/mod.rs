//! Clients that record what happened to them: one request, many at once, or a steady stream of them.

mod client;
mod report;

use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::until;
use client::Client;
pub use client::{Open, OpenStream, Request};
pub use report::{Record, Report};

/// Requests that one client of a steady load sends over one connection before it takes a new one.
const REQUESTS_PER_CONNECTION: usize = 20;

/// Sends one request on a connection of its own.
pub async fn once(request: &Request) -> Record {
    exchange(&mut None, request).await
}

/// Sends a request from so many clients at once, each on a connection of its own.
///
/// # Panics
/// When one is not over within a minute.
pub async fn together(request: &Request, clients: usize) -> Report {
    all(std::iter::repeat_n(request.clone(), clients)).await
}

/// Sends all of these at once, each on a connection of its own.
///
/// # Panics
/// When one is not over within a minute.
pub async fn all(requests: impl IntoIterator<Item = Request>) -> Report {
    let mut tasks = JoinSet::new();
    for request in requests {
        tasks.spawn(async move { once(&request).await });
    }
    Report(until::done("all clients are through", tasks.join_all()).await)
}

/// Clients that send one request after the other until they are stopped.
#[derive(Debug)]
pub struct Steady {
    stop: watch::Sender<bool>,
    clients: JoinSet<Vec<Record>>,
}

impl Steady {
    /// Starts so many.
    pub fn start(request: &Request, clients: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        for _ in 0..clients {
            running.spawn(steadily(request.clone(), stopped.clone()));
        }
        Self { stop, clients: running }
    }

    /// Stops them after the request that each is at, and says what all saw.
    ///
    /// # Panics
    /// When one is not over within a minute.
    pub async fn stop(self) -> Report {
        self.stop.send_replace(true);
        let records = until::done("all clients are through", self.clients.join_all()).await;
        Report(records.into_iter().flatten().collect())
    }
}

async fn steadily(request: Request, stopped: watch::Receiver<bool>) -> Vec<Record> {
    let mut records = Vec::new();
    let mut client = None;
    while !*stopped.borrow() {
        let record = exchange(&mut client, &request).await;
        let renew = record.result.is_err() || records.len() % REQUESTS_PER_CONNECTION == 0;
        records.push(record);
        if renew {
            client = None;
        }
    }
    records
}

/// One request over the client that there is, or a new one.
async fn exchange(client: &mut Option<Client>, request: &Request) -> Record {
    let started = Instant::now();
    let mut first_byte = None;
    let result = async {
        let mut connected = match client.take() {
            Some(connected) => connected,
            None => Client::connect(request).await?,
        };
        let answer = connected.exchange(request, &mut first_byte).await?;
        if connected.is_reusable() {
            *client = Some(connected);
        }
        Ok(answer)
    };
    let result = result.await;
    Record { started, first_byte, ended: Instant::now(), result }
}
