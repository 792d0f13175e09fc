//! The table's subscription: `HeldUpstream` resources, all of them, by delta ADS.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node as WireNode;
use tracing::warn;
use zenvoy_shared::id::NodeId;
use zenvoy_shared::proto::{HELD_UPSTREAM, HeldUpstream};
use zenvoy_xds::client::{Names, Typed};
use zenvoy_xds::core::ClientState;

use crate::table::{Held, InvalidHeld, Table};

/// What the proxy subscribes to; it survives the streams, so that a new one is sent only what differs.
pub(super) fn state(node: &NodeId) -> ClientState {
    let node = WireNode { id: node.0.clone(), cluster: "zenvoy-proxy".into(), ..Default::default() };
    ClientState::new(node).watch(HELD_UPSTREAM, Names::All)
}

/// Puts what comes into the table.
pub(super) struct Subscription<'a, F> {
    table: &'a Arc<Table>,
    received: F,
}

impl<'a, F: Fn()> Subscription<'a, F> {
    /// `received` is called after each response.
    pub(super) fn new(table: &'a Arc<Table>, received: F) -> Self {
        Self { table, received }
    }
}

impl<F: Fn()> Typed for Subscription<'_, F> {
    const TYPE_URL: &'static str = HELD_UPSTREAM;
    type Message = HeldUpstream;
    type Refusal = InvalidHeld;

    fn set(&mut self, name: &str, message: HeldUpstream) -> Result<(), InvalidHeld> {
        let checked = Held::try_from(message).and_then(|held| match held.upstream.to_string() {
            upstream if upstream == name => Ok(held),
            upstream => Err(InvalidHeld::Name { upstream, name: name.into() }),
        });
        let held = checked.inspect_err(|error| {
            warn!(name, %error, "a row of the table was refused; the last good one stays");
        })?;
        self.table.set(held);
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        // A name that is no upstream's was refused when it came.
        if let Ok(upstream) = name.parse() {
            self.table.remove(&upstream);
        }
    }

    fn done(&mut self) {
        self.table.said_all();
        (self.received)();
    }
}
