//! One upstream's connections on this node: how many stand where, and what came of the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Standing;
use crate::relay::Relayed;

/// What is counted of one upstream. What only grows begins at the proxy's start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections whose first byte is awaited.
    pub silent: u32,
    /// Connections held, for which a wake is demanded.
    pub held: u32,
    /// Connections for which an endpoint is being dialled.
    pub releasing: u32,
    /// Connections that are relayed.
    pub relaying: u32,
    /// Connections that arrived, ever.
    pub arrived: u64,
    /// Connections that were held, ever.
    pub ever_held: u64,
    /// Connections that were relayed, ever.
    pub ever_relayed: u64,
    /// Held connections whose client went away, ever.
    pub gone: u64,
    /// Connections refused because too many were held, ever.
    pub refused: u64,
    /// Connections failed, ever, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Bytes relayed from clients to servers, ever.
    pub bytes_to_server: u64,
    /// Bytes relayed from servers to clients, ever.
    pub bytes_to_client: u64,
}

/// The account of one upstream.
#[derive(Debug, Default)]
pub struct Account {
    pub(super) counts: Counts,
    pub(super) relayed: Arc<Relayed>,
}

/// Reasons come from the controller: a bound keeps a broken one from filling the memory.
const MOST_REASONS: usize = 64;

impl Account {
    /// What is counted now.
    pub fn counts(&self) -> Counts {
        Counts {
            bytes_to_server: self.relayed.to_server(),
            bytes_to_client: self.relayed.to_client(),
            ..self.counts.clone()
        }
    }

    /// Connections that are activity (rule D3): held, being released, relayed. One whose first byte is still awaited
    /// is not: it may close without being demand, and if it speaks it is held, which starts a proof over.
    pub(super) fn open(&self) -> u32 {
        self.counts.held + self.counts.releasing + self.counts.relaying
    }

    /// Connections that count against the caps.
    pub(super) fn waiting(&self) -> u32 {
        self.counts.silent + self.counts.held + self.counts.releasing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open() + self.counts.silent == 0
    }

    pub(super) fn fail(&mut self, reason: &str) {
        let failed = &mut self.counts.failed;
        let reason =
            if failed.contains_key(reason) || failed.len() < MOST_REASONS { reason } else { "Other" };
        *failed.entry(reason.into()).or_default() += 1;
    }

    pub(super) fn at(&mut self, standing: Standing) -> Option<&mut u32> {
        match standing {
            Standing::Arrived => None,
            Standing::Silent => Some(&mut self.counts.silent),
            Standing::Held => Some(&mut self.counts.held),
            Standing::Releasing => Some(&mut self.counts.releasing),
            Standing::Relaying => Some(&mut self.counts.relaying),
        }
    }
}
