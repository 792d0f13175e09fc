//! What is served: resources whose content tells their name, whether clients take them, and what they refer to.

use std::collections::{BTreeMap, BTreeSet};

use zenvoy_xds::core::Change;

pub(crate) const KINDS: [&str; 4] = [
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
];
pub(crate) const CLUSTERS: usize = 0;
pub(crate) const ENDPOINTS: usize = 1;
pub(crate) const ROUTES: usize = 2;
pub(crate) const LISTENERS: usize = 3;

/// Names of each kind are `r0` and so on.
pub(crate) const NAMES: usize = 5;
/// Contents are numbers below; 0 is refused by clients. That of a route is the cluster it uses.
pub(crate) const CONTENTS: u8 = 5;
/// A content that uses nothing and is taken.
const NEUTRAL: u8 = 9;

pub(crate) fn names() -> impl Iterator<Item = String> {
    (0..NAMES).map(|name| format!("r{name}"))
}

pub(crate) fn kind_of(type_url: &str) -> usize {
    KINDS.iter().position(|kind| *kind == type_url).expect("a known type")
}

/// In state of the world, a response holds all of the kind.
pub(crate) fn is_full(kind: usize) -> bool {
    kind == CLUSTERS || kind == LISTENERS
}

pub(crate) fn content(name: &str, content: u8) -> Vec<u8> {
    format!("{name}={content}").into_bytes()
}

/// Clients refuse this content.
pub(crate) fn is_bad(content: &[u8]) -> bool {
    content.ends_with(b"=0")
}

/// The name of a resource, by its content.
pub(crate) fn name_of(content: &[u8]) -> String {
    String::from_utf8_lossy(content).split('=').next().unwrap_or_default().to_owned()
}

/// The cluster that a route uses, by its content.
pub(crate) fn used_by(route: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(route);
    let (_, content) = text.split_once('=')?;
    let number: usize = content.parse().ok()?;
    (1..NAMES).contains(&number).then(|| format!("r{number}"))
}

/// What one replica serves. No route uses a cluster that is not served: what makes and breaks comes in one change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Served {
    kinds: [BTreeMap<String, Vec<u8>>; 4],
    /// Routes that were not served at some time: a state-of-the-world client is never told.
    pub(crate) unserved: BTreeSet<String>,
}

impl Served {
    pub(crate) fn of(&self, kind: usize) -> &BTreeMap<String, Vec<u8>> {
        &self.kinds[kind]
    }

    /// Takes in changes of one kind, and says what has changed with what follows from them.
    pub(crate) fn change(&mut self, kind: usize, updates: Vec<(String, Option<u8>)>) -> Vec<Change> {
        let before = self.clone();
        for (name, number) in updates {
            match number {
                Some(number) => drop(self.kinds[kind].insert(name.clone(), content(&name, number))),
                None => drop(self.kinds[kind].remove(&name)),
            }
        }
        if kind == ROUTES {
            let used: Vec<String> = self.kinds[ROUTES].values().filter_map(|route| used_by(route)).collect();
            for cluster in used {
                let made = content(&cluster, 1);
                self.kinds[CLUSTERS].entry(cluster).or_insert(made);
            }
        }
        let clusters = self.kinds[CLUSTERS].clone();
        for (name, route) in &mut self.kinds[ROUTES] {
            if used_by(route).is_some_and(|cluster| !clusters.contains_key(&cluster)) {
                *route = content(name, NEUTRAL);
            }
        }
        self.since(&before)
    }

    /// All that clients refuse of what keeps them from giving up clusters is mended.
    pub(crate) fn mend(&mut self) -> Vec<Change> {
        let before = self.clone();
        for kind in [ROUTES, LISTENERS] {
            for (name, resource) in self.kinds[kind].iter_mut().filter(|(_, resource)| is_bad(resource)) {
                *resource = content(name, NEUTRAL);
            }
        }
        self.since(&before)
    }

    /// All of it, as a snapshot, which replaces what `other` serves.
    pub(crate) fn replace(&self, other: &mut Self) -> Vec<Change> {
        let gone = other.kinds[ROUTES].keys().filter(|name| !self.kinds[ROUTES].contains_key(*name));
        let unserved = other.unserved.iter().chain(gone).cloned().collect();
        *other = Self { kinds: self.kinds.clone(), unserved };
        let of_kind = |kind: usize| {
            self.kinds[kind]
                .iter()
                .map(move |(name, content)| Change::set(KINDS[kind], &**name, content.clone()))
        };
        (0..KINDS.len()).flat_map(of_kind).collect()
    }

    fn since(&mut self, before: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (kind, type_url) in KINDS.iter().enumerate() {
            let (old, new) = (&before.kinds[kind], &self.kinds[kind]);
            for (name, content) in new.iter().filter(|(name, content)| old.get(*name) != Some(content)) {
                changes.push(Change::set(*type_url, &**name, content.clone()));
            }
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                changes.push(Change::remove(*type_url, &**name));
                if kind == ROUTES {
                    self.unserved.insert(name.clone());
                }
            }
        }
        changes
    }
}
