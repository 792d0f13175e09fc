//! How long wakes took, as the held connections of this node saw it.

use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Histograms in seconds, over held connections.
#[derive(Debug, Clone)]
pub struct WakeTimes {
    /// From held to connected to an endpoint.
    pub forwarded: Histogram,
    /// From held to the first byte of the answer.
    pub first_byte: Histogram,
}

impl Default for WakeTimes {
    fn default() -> Self {
        // 10 ms to 164 s.
        let buckets = || Histogram::new(exponential_buckets(0.01, 2.0, 15));
        Self { forwarded: buckets(), first_byte: buckets() }
    }
}

impl WakeTimes {
    pub(super) fn forwarded_after(&self, duration: Duration) {
        self.forwarded.observe(duration.as_secs_f64());
    }

    pub(super) fn first_byte_after(&self, duration: Duration) {
        self.first_byte.observe(duration.as_secs_f64());
    }
}
