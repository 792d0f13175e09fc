//! A real Envoy with the bootstrap that `zenvoy bootstrap` prints.

use std::time::Duration;

use zenvoy_e2e::envoy::{ADMIN, Envoy};
use zenvoy_proxy::bootstrap::{BootstrapOptions, yaml};
use zenvoy_proxy::local::LocalAddress;
use zenvoy_shared::id::NodeId;

/// How often it flushes in tests.
pub(crate) const FLUSH: Duration = Duration::from_millis(200);

/// Starts it as `node`, beside the proxy at `proxy`.
pub(crate) fn start(node: &str, proxy: &LocalAddress) -> Envoy {
    let options = BootstrapOptions {
        stats_flush_interval: FLUSH,
        admin: Some(ADMIN),
        ..BootstrapOptions::new(NodeId(node.into()), proxy.clone())
    };
    Envoy::with(&yaml(&options))
}
