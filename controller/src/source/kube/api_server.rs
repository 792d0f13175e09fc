//! The API server as logs and readiness name it. Many watches fail together when it is away: that is told once.

use std::fmt;
use std::time::Instant;

use tracing::{debug, warn};
use zenvoy_shared::fault::Faults;

/// Where it is, and what of its failures was told.
#[derive(Debug, Default)]
pub(super) struct ApiServer {
    url: String,
    faults: Faults,
}

impl ApiServer {
    pub(super) fn new(url: String) -> Self {
        Self { url, faults: Faults::default() }
    }

    /// A call failed, and is made again.
    pub(super) fn failed(&self, what: &str, fault: &str) {
        if self.faults.is_news(fault, Instant::now()) {
            warn!("{self} cannot be read: {what}: {fault}; it is tried again");
        } else {
            debug!(what, fault, "not read; it is tried again");
        }
    }
}

impl fmt::Display for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Kubernetes API at {}", self.url)
    }
}
