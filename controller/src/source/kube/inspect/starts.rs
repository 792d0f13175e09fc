//! Where the board leaves who starts, and the inspector takes it from. The newest word on a workload replaces what waits, so
//! that neither waits for the other, and what waits is bounded by the workloads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use zenvoy_shared::id::WorkloadId;

use crate::source::kube::board::Starting;

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub(in crate::source::kube) struct Starts {
    waiting: Arc<Mutex<BTreeMap<WorkloadId, Option<Starting>>>>,
    changed: Arc<Notify>,
}

impl Starts {
    /// Whether, and as what, these start now.
    pub(in crate::source::kube) fn leave(&self, starts: Vec<(WorkloadId, Option<Starting>)>) {
        if starts.is_empty() {
            return;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(starts);
        self.changed.notify_one();
    }

    /// All that waits.
    pub(super) fn take(&self) -> BTreeMap<WorkloadId, Option<Starting>> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something was left since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
