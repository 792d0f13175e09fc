//! What is counted at the port.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use zenvoy_shared::tls::TlsStatus;

/// What is counted, shared by all who count.
#[derive(Debug, Default)]
pub(super) struct Counts {
    handshakes: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

/// How it goes at the port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortStatus {
    /// The files, with mutual TLS; `None`: plaintext.
    pub tls: Option<TlsStatus>,
    /// Handshakes that succeeded since the start.
    pub handshakes: u64,
    /// Handshakes that failed since the start.
    pub handshakes_failed: u64,
    /// Sessions and streams refused since the start because their certificate is not for the node they named.
    pub identities_refused: u64,
}

impl Counts {
    pub(super) fn shaken(&self) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn status(&self, tls: Option<TlsStatus>) -> PortStatus {
        PortStatus {
            tls,
            handshakes: self.handshakes.load(Ordering::Relaxed),
            handshakes_failed: self.failed.load(Ordering::Relaxed),
            identities_refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
