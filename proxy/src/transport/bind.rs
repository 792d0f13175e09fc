//! Listen mode: each activator address of the table is bound as it appears and unbound when it goes. Connections that
//! were accepted live on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use zenvoy_shared::id::ActivatorAddress;

use super::{AcceptCounts, Accepted, accept_each, listen};
use crate::table::Table;

/// An address that is in use is tried again this often.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the table's addresses bound until `stop`; each connection goes to `found`.
pub async fn bind_all(
    table: &Table,
    found: impl Fn(Accepted) + Clone + Send + 'static,
    counts: &Arc<AcceptCounts>,
    stop: CancellationToken,
) {
    let mut layout = table.layout();
    let mut bound: HashMap<ActivatorAddress, CancellationToken> = HashMap::new();
    let loops = TaskTracker::new();
    loop {
        layout.mark_unchanged();
        let wanted: HashSet<ActivatorAddress> = table.addresses().into_iter().collect();
        bound.retain(|address, unbind| {
            let keep = wanted.contains(address);
            if !keep {
                debug!(%address, "unbound");
                unbind.cancel();
            }
            keep
        });
        let mut missing = false;
        for address in wanted {
            if bound.contains_key(&address) {
                continue;
            }
            match listen(address) {
                Ok(listener) => {
                    debug!(%address, "bound");
                    let unbind = stop.child_token();
                    bound.insert(address, unbind.clone());
                    let (found, counts) = (found.clone(), counts.clone());
                    loops.spawn(async move { accept_each(listener, found, &counts, unbind).await });
                }
                Err(error) => {
                    missing = true;
                    warn!(%error, "its upstream cannot be woken through this node until then");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = layout.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(RETRY), if missing => {}
        }
    }
    loops.close();
    loops.wait().await;
}
