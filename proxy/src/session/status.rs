//! How the session goes, for status and metrics.

use std::net::SocketAddr;
use std::time::Instant;

use super::SessionError;

/// Whether there is a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// With this controller.
    Open {
        /// The replica's id.
        controller: String,
        /// Where it is.
        address: SocketAddr,
        /// Since when.
        since: Instant,
    },
    /// None; one is being opened.
    Opening {
        /// Why the last attempt failed or the last session broke, if there was one.
        last_error: Option<String>,
    },
}

/// The session's state and history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStatus {
    /// Now.
    pub state: SessionState,
    /// Sessions opened since the proxy's start.
    pub opened: u64,
    /// Sessions that broke, and attempts that failed, since the proxy's start.
    pub failed: u64,
    /// Whether a controller has ever sent the whole table. Without it, connections wait unaccepted.
    pub table_received: bool,
}

impl Default for SessionStatus {
    fn default() -> Self {
        let state = SessionState::Opening { last_error: None };
        Self { state, opened: 0, failed: 0, table_received: false }
    }
}

impl SessionStatus {
    pub(super) fn opened(&mut self, controller: String, address: SocketAddr) {
        self.opened += 1;
        self.state = SessionState::Open { controller, address, since: Instant::now() };
    }

    pub(super) fn lost(&mut self, error: &SessionError) {
        self.failed += 1;
        self.state = SessionState::Opening { last_error: Some(error.to_string()) };
    }
}
