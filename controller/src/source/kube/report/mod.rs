//! What users see on their objects: status and conditions of `Upstream`s, a condition on Services whose annotations are
//! wrong, and events. In: what the leader says and what the source found; out: patches, only where something changed.

mod desk;
mod events;
mod pace;
mod render;
#[cfg(test)]
mod tests;
mod writer;

use zenvoy_shared::id::UpstreamId;

pub use self::desk::Desk;
pub use self::writer::ReportWriter;
use crate::report::{Occasion, Reporter, Status};

/// Takes what the leader says; [`ReportWriter`] writes it.
#[derive(Clone)]
pub struct KubeReporter {
    desk: Desk,
}

impl KubeReporter {
    /// `desk` is the one of the source and of the writer.
    pub fn new(desk: Desk) -> Self {
        Self { desk }
    }
}

impl Reporter for KubeReporter {
    fn status(&self, upstream: &UpstreamId, status: Status) {
        self.desk.status(upstream, Some(status));
    }

    fn gone(&self, upstream: &UpstreamId) {
        self.desk.status(upstream, None);
    }

    fn happened(&self, occasion: Occasion) {
        self.desk.happened(&occasion);
    }

    fn leading(&self, leads: bool) {
        self.desk.leading(leads);
    }
}
