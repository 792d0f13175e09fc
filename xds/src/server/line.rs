//! What reaches a stream's body from outside: a call to look again, and a reason to end.

use std::sync::OnceLock;

use futures::task::AtomicWaker;
use tonic::Status;

/// One stream's, from its first byte to its last.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) id: u64,
    pub(super) waker: AtomicWaker,
    /// Set once: the stream ends with it when what is on its way has gone out.
    end: OnceLock<Status>,
}

impl Line {
    pub(super) fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    /// Ends the stream; the first reason counts.
    pub(super) fn end(&self, status: Status) {
        let _ = self.end.set(status);
        self.waker.wake();
    }

    pub(super) fn ended(&self) -> Option<Status> {
        self.end.get().cloned()
    }
}
