//! The end of a server: its clients move on one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tonic::Status;

use super::line::Line;
use super::{Server, lock};

pub(super) fn status() -> Status {
    Status::unavailable("this replica drains: reconnect to another one")
}

impl Server {
    /// Takes no new stream, and ends those there are one by one over the time `over`, so that their clients do not all
    /// come to the other replicas at once; each when the response on its way has gone out. Returns when all have ended,
    /// or after another `over` (at least a second) for those whose clients do not read.
    pub async fn drain(&self, over: Duration) {
        self.shared.draining.store(true, Ordering::Release);
        let lines: Vec<Arc<Line>> = lock(&self.shared.lines).values().cloned().collect();
        let pause = over.checked_div(u32::try_from(lines.len()).unwrap_or(u32::MAX)).unwrap_or_default();
        for line in lines {
            line.end(status());
            tokio::time::sleep(pause).await;
        }
        // A timeout leaves clients that do not read: the end of their connections ends them.
        let _ = tokio::time::timeout(over.max(Duration::from_secs(1)), self.until_no_lines()).await;
    }

    async fn until_no_lines(&self) {
        loop {
            let mut closed = std::pin::pin!(self.shared.line_closed.notified());
            closed.as_mut().enable();
            if lock(&self.shared.lines).is_empty() {
                return;
            }
            closed.await;
        }
    }
}
