//! The connection to a controller, as those see it who share it.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;
use zenvoy_shared::id::NodeEpoch;

/// One connection of one session. When anything on it breaks, everything on it ends.
#[derive(Debug, Clone)]
pub struct Uplink {
    /// For further streams to the same replica. It does not connect again.
    pub channel: Channel,
    /// The node's epoch when the session was opened.
    pub epoch: NodeEpoch,
    broken: CancellationToken,
    why: Arc<OnceLock<String>>,
}

impl Uplink {
    pub(super) fn new(channel: Channel, epoch: NodeEpoch) -> Self {
        Self { channel, epoch, broken: CancellationToken::new(), why: Arc::default() }
    }

    /// Ends everything on it when dropped.
    pub(super) fn guard(&self) -> DropGuard {
        self.broken.clone().drop_guard()
    }

    /// Ends everything on it.
    pub fn tear(&self, why: impl Into<String>) {
        let _ = self.why.set(why.into());
        self.broken.cancel();
    }

    /// Whether it has ended.
    pub fn is_broken(&self) -> bool {
        self.broken.is_cancelled()
    }

    /// Returns when it has ended, with the reason if it was torn.
    pub async fn broken(&self) -> String {
        self.broken.cancelled().await;
        self.why.get().cloned().unwrap_or_default()
    }
}
