//! The end of a server: its clients move on one after the other.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tonic::Status;

use super::Server;
use super::sync::lock;

pub(super) fn status() -> Status {
    Status::unavailable("this replica drains: reconnect to another one")
}

impl Server {
    /// Takes no new stream, and ends those there are one by one over the time `over`, so that their clients do not all
    /// come to the other replicas at once; each when the response on its way has gone out. Returns when all have ended,
    /// or after another `over` (at least a second) for those whose clients do not read.
    ///
    /// A client keeps its connection, and tries again on it, until the transport ends: begin the transport's graceful
    /// shutdown first, as `examples/serve_dir` does.
    pub async fn drain(&self, over: Duration) {
        let lines = lock(&self.shared.lines).close();
        let start = Instant::now();
        let pause = over.as_secs_f64() / lines.len().max(1) as f64;
        for (at, line) in lines.iter().enumerate() {
            sleep_until(start + Duration::from_secs_f64(pause * at as f64)).await;
            line.end(status());
        }
        // A timeout leaves clients that do not read: the end of their connections ends them.
        let _ = timeout(over.max(Duration::from_secs(1)), self.until_no_lines()).await;
    }

    pub(super) async fn until_no_lines(&self) {
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
