//! The proxy's status, as `/status` shows it and `zenvoy up` uses it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::watch;
use zenvoy_shared::id::{ActivatorAddress, DrainId, NodeEpoch, NodeId, Protocol, UpstreamId};
use zenvoy_shared::tls::{Live, TlsStatus};

use crate::activity::Activity;
use crate::hold::Holder;
use crate::node::{Counts, Node};
use crate::session::{SessionState, SessionStatus};
use crate::table::{Held, Table, Verdict};
use crate::transport::AcceptCounts;

/// What status is made of.
#[derive(Debug)]
pub struct View {
    pub(crate) node: Arc<Node>,
    pub(crate) table: Arc<Table>,
    pub(crate) holder: Arc<Holder>,
    pub(crate) accepts: Arc<AcceptCounts>,
    pub(crate) session: watch::Receiver<SessionStatus>,
    pub(crate) tls: Option<Live>,
}

/// The proxy's status.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Which node.
    pub node: NodeId,
    /// Which start of it.
    pub epoch: NodeEpoch,
    /// The proxy's version.
    pub version: &'static str,
    /// Whether a controller has ever sent the whole table.
    pub ready: bool,
    /// The session.
    pub session: SessionView,
    /// The certificate and its files; `None`: plaintext.
    pub tls: Option<TlsStatus>,
    /// Envoys that live; more than one, or none: activity is unknown.
    pub envoys: usize,
    /// Flushes of Envoy's statistics taken in since the proxy's start.
    pub flushes: u64,
    /// Connections that wait or are held.
    pub waiting: u32,
    /// Drains for which a quiet proof is asked for.
    pub proofs_asked: Vec<DrainId>,
    /// By upstream.
    pub upstreams: Vec<UpstreamStatus>,
}

/// The session.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SessionView {
    /// There is one.
    Open {
        /// The replica's id.
        controller: String,
        /// Where it is.
        address: SocketAddr,
        /// For so long, milliseconds.
        for_ms: u64,
    },
    /// One is being opened.
    Opening {
        /// Why there is none.
        last_error: Option<String>,
    },
}

/// One upstream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpstreamStatus {
    /// Which.
    pub upstream: UpstreamId,
    /// Its activator address.
    pub activator: ActivatorAddress,
    /// What its clients speak.
    pub protocol: Protocol,
    /// What is done with a connection now.
    #[serde(flatten)]
    pub verdict: VerdictView,
    /// What is known of its traffic.
    pub activity: ActivityStatus,
    /// Its demand, if it is demanded.
    pub demand: Option<DemandStatus>,
    /// Its connections through the proxy.
    pub connections: ConnectionCounts,
}

/// What is done with a connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum VerdictView {
    /// Held.
    Hold {
        /// For this drain.
        #[serde(skip_serializing_if = "Option::is_none")]
        drain: Option<DrainId>,
    },
    /// Relayed.
    Forward {
        /// To these.
        endpoints: Vec<SocketAddr>,
    },
    /// Answered.
    Fail {
        /// With this word.
        reason: String,
        /// And this sentence.
        message: String,
    },
}

/// What is known of an upstream's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ActivityStatus {
    /// Something is open.
    Active,
    /// Nothing for so long.
    Idle {
        /// Milliseconds.
        for_ms: u64,
    },
    /// Envoy's statistics do not arrive.
    Unknown,
}

/// A demand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DemandStatus {
    /// Since when, milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// W3C trace context of the wake.
    pub traceparent: String,
}

/// Connections through the proxy; `now` those there are, the others since the proxy's start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // as in `Counts`
pub struct ConnectionCounts {
    pub silent_now: u32,
    pub held_now: u32,
    pub releasing_now: u32,
    pub relayed_now: u32,
    pub arrived: u64,
    pub held: u64,
    pub relayed: u64,
    pub gone: u64,
    pub refused: u64,
    pub failed: BTreeMap<String, u64>,
    pub bytes_to_server: u64,
    pub bytes_to_client: u64,
}

impl View {
    /// Whether a controller has ever sent the whole table.
    pub fn is_ready(&self) -> bool {
        self.session.borrow().table_received
    }

    /// The status now.
    pub fn status(&self) -> Status {
        let now = Instant::now();
        let session = self.session.borrow().clone();
        let mut all = self.table.all();
        all.sort_by(|a, b| a.upstream.cmp(&b.upstream));
        Status {
            node: self.node.id().clone(),
            epoch: self.node.epoch().borrow().clone(),
            version: env!("CARGO_PKG_VERSION"),
            ready: session.table_received,
            session: match session.state {
                SessionState::Open { controller, address, since } => {
                    SessionView::Open { controller, address, for_ms: ms_between(since, now) }
                }
                SessionState::Opening { last_error } => SessionView::Opening { last_error },
            },
            tls: self.tls.as_ref().map(Live::status),
            envoys: self.node.envoys(),
            flushes: self.node.flushes(),
            waiting: self.node.waiting(),
            proofs_asked: self.node.asked_proofs(),
            upstreams: all.iter().map(|held| self.upstream(held, now)).collect(),
        }
    }

    fn upstream(&self, held: &Held, now: Instant) -> UpstreamStatus {
        let (counts, demand) = self.node.counts(&held.upstream);
        UpstreamStatus {
            upstream: held.upstream.clone(),
            activator: held.activator,
            protocol: held.protocol,
            verdict: match held.verdict_at(now) {
                Verdict::Hold { drain } => VerdictView::Hold { drain: drain.clone() },
                Verdict::Forward(endpoints) => VerdictView::Forward { endpoints: endpoints.clone() },
                Verdict::Fail { reason, message, .. } => {
                    VerdictView::Fail { reason: reason.clone(), message: message.clone() }
                }
            },
            activity: match self.node.activity(&held.upstream) {
                Activity::Active => ActivityStatus::Active,
                Activity::Idle { since } => ActivityStatus::Idle { for_ms: ms_between(since, now) },
                Activity::Unknown => ActivityStatus::Unknown,
            },
            demand: demand.map(|reason| DemandStatus {
                since_unix_ms: reason.since_unix_nanos / 1_000_000,
                traceparent: reason.trace.to_string(),
            }),
            connections: counts.into(),
        }
    }
}

impl From<Counts> for ConnectionCounts {
    fn from(counts: Counts) -> Self {
        Self {
            silent_now: counts.silent,
            held_now: counts.held,
            releasing_now: counts.releasing,
            relayed_now: counts.relaying,
            arrived: counts.arrived,
            held: counts.ever_held,
            relayed: counts.ever_relayed,
            gone: counts.gone,
            refused: counts.refused,
            failed: counts.failed,
            bytes_to_server: counts.bytes_to_server,
            bytes_to_client: counts.bytes_to_client,
        }
    }
}

fn ms_between(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}
