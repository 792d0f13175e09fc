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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn history(changes: &[(&str, Value)]) -> Vec<Change> {
        let change = |(at, (key, record)): (usize, &(&str, Value))| Change {
            revision: i64::try_from(at).expect("few"),
            key: (*key).to_owned(),
            record: Some(record.clone()).filter(|record| !record.is_null()),
        };
        changes.iter().enumerate().map(change).collect()
    }

    fn mapped(upstream: &str) -> Value {
        json!({ "state": "mapped", "upstream": upstream })
    }

    #[test]
    fn a_mapping_that_stays_is_no_violation() {
        let found = found(&history(&[
            ("ports/by-address/a:1", mapped("shop/x:80")),
            ("ports/by-upstream/shop/x:80", json!("a:1")),
            ("ports/by-address/a:1", mapped("shop/x:80")),
        ]));
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn an_address_that_changes_hands_is_lost_or_stands_alone_is_found() {
        let cases = [
            (mapped("shop/y:80"), "a:1 went from shop/x:80 to shop/y:80"),
            (Value::Null, "a:1 was given up"),
        ];
        for (next, expected) in cases {
            let found = found(&history(&[
                ("ports/by-address/a:1", mapped("shop/x:80")),
                ("ports/by-upstream/shop/x:80", json!("a:1")),
                ("ports/by-address/a:1", next),
            ]));
            assert!(found.iter().any(|violation| violation.contains(expected)), "{expected}: {found:?}");
        }
        assert!(!found(&history(&[("ports/by-address/a:1", mapped("shop/x:80"))])).is_empty());
    }
}
