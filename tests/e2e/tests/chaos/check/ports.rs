//! I3: port mappings, at every moment of etcd's history.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use zenvoy_e2e::store::Change;

/// No service is removed in these tests: an upstream has one address for ever, and an address one upstream.
pub(super) fn found(history: &[Change]) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut by_address: BTreeMap<&str, &str> = BTreeMap::new();
    let mut by_upstream: BTreeMap<&str, &str> = BTreeMap::new();
    for change in history {
        let revision = change.revision;
        if let Some(address) = change.key.strip_prefix("ports/by-address/") {
            let mapped = change.record.as_ref().filter(|record| record["state"] == "mapped");
            let Some(upstream) = mapped.and_then(|record| record["upstream"].as_str()) else {
                found.insert(format!("I3: {address} was given up at revision {revision}"));
                continue;
            };
            if let Some(before) = by_address.insert(address, upstream).filter(|before| *before != upstream) {
                found
                    .insert(format!("I3: {address} went from {before} to {upstream} at revision {revision}"));
            }
        } else if let Some(upstream) = change.key.strip_prefix("ports/by-upstream/") {
            let Some(address) = change.record.as_ref().and_then(Value::as_str) else {
                found.insert(format!("I3: {upstream} lost its address at revision {revision}"));
                continue;
            };
            if let Some(before) = by_upstream.insert(upstream, address).filter(|before| *before != address) {
                found
                    .insert(format!("I3: {upstream} went from {before} to {address} at revision {revision}"));
            }
        }
    }
    let turned: BTreeMap<&str, &str> =
        by_address.iter().map(|(address, upstream)| (*upstream, *address)).collect();
    if turned != by_upstream {
        found.insert(format!("I3: by address {by_address:?}, by upstream {by_upstream:?}"));
    }
    found.into_iter().collect()
}
