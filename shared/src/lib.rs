//! What both sides of zenvoy speak: protos, ids, addresses, the pool of them, TLS options, metrics as text and telemetry set-up.

pub mod duration;
pub mod fault;
pub mod id;
pub mod metrics;
pub mod pool;
pub mod telemetry;
pub mod tls;

/// The messages and services of `proto/zenvoy/v1`.
pub mod proto {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::unwrap_used)]
    tonic::include_proto!("zenvoy.v1");

    /// The type URL under which proxies subscribe to [`HeldUpstream`].
    pub const HELD_UPSTREAM: &str = "type.googleapis.com/zenvoy.v1.HeldUpstream";
}
