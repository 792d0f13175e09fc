//! What happens to accepted connections: they are held until their upstream can take them, then relayed, or they are
//! told why not. In: connections and the table's verdicts; out: demand, relays, answers.

mod answer;
mod client;
mod connection;
mod machine;
mod peer;
mod release;
mod times;

pub use client::{Client, First};
pub use machine::{Failure, Machine, Patience, Step, reason};
pub use release::{Pace, Releases};
pub use times::WakeTimes;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::node::Node;
use crate::table::Table;
use crate::transport::Accepted;

/// Takes accepted connections and sees each to its end.
#[derive(Debug)]
pub struct Holder {
    node: Arc<Node>,
    table: Arc<Table>,
    patience: Patience,
    releases: Mutex<Releases>,
    times: WakeTimes,
    connections: TaskTracker,
    give_up: CancellationToken,
    cut: CancellationToken,
}

impl Holder {
    /// A holder of connections for the upstreams of `table`.
    pub fn new(node: Arc<Node>, table: Arc<Table>, patience: Patience, pace: Pace) -> Arc<Self> {
        Arc::new(Self {
            node,
            table,
            patience,
            releases: Mutex::new(Releases::new(pace)),
            times: WakeTimes::default(),
            connections: TaskTracker::new(),
            give_up: CancellationToken::new(),
            cut: CancellationToken::new(),
        })
    }

    /// Sees a connection to its end, on a task of its own. One for no upstream is closed.
    pub fn take(self: &Arc<Self>, accepted: Accepted) {
        let Some(row) = self.table.get(accepted.activator) else {
            debug!(activator = %accepted.activator, "closed: no upstream has this address");
            return;
        };
        let holder = self.clone();
        self.connections.spawn(async move { holder.see(accepted.stream, row).await });
    }

    /// How long wakes took.
    pub fn times(&self) -> &WakeTimes {
        &self.times
    }

    /// Fails all connections that are still held, and those to come.
    pub fn give_up_held(&self) {
        self.give_up.cancel();
    }

    /// Resets all connections that are still relayed, and those to come.
    pub fn cut_relays(&self) {
        self.cut.cancel();
    }

    /// Returns when the last connection has ended, if no more are taken.
    pub async fn ended(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    fn slot(&self, endpoints: &[SocketAddr], avoid: Option<SocketAddr>) -> Option<(SocketAddr, Instant)> {
        let mut releases = self.releases.lock().unwrap_or_else(PoisonError::into_inner);
        releases.slot(endpoints, avoid, Instant::now())
    }
}
