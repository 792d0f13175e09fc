//! What the nodes with a session here have said. In: their messages and `now`; out: demand, idleness, quiet proofs. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zenvoy_shared::id::{DrainId, NodeEpoch, NodeId, UpstreamId};

use super::tally::{Since, Tally};
use crate::model::Revision;

/// A node speaks of no more upstreams than this; there are fewer activator addresses on one loopback address.
const MOST_UPSTREAMS: usize = 65_536;

/// A moment on this replica's monotonic clock, since an origin of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// The moment `pause` later.
    pub fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(pause))
    }

    /// How long before `later` it was; zero if it was not.
    pub fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// What a node says of one upstream's traffic. Not said at all: unknown, and unknown is not idle (I5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// A request, stream or connection is open.
    Active,
    /// At this moment there had been nothing for so long, as the node stated it (rule V1). Kept apart, since a node may have
    /// been idle for longer than this replica's clock reaches back.
    Idle {
        /// For how long then.
        already: Duration,
        /// When it was said, on this replica's clock.
        at: Moment,
    },
    /// The node cannot tell.
    Unknown,
}

impl Activity {
    /// From "idle for `already`", said at `now`.
    pub fn idle_for(already: Duration, now: Moment) -> Self {
        Self::Idle { already, at: now }
    }
}

/// Why one upstream is demanded on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// W3C trace context of the first held connection.
    pub traceparent: String,
    /// When it was held, nanoseconds since the Unix epoch; for display.
    pub since_unix_nanos: u64,
}

/// One node's last word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Which start of it.
    pub epoch: NodeEpoch,
    /// The `mod_revision` of its `nodes/` key, once written (rule N3).
    pub registered: Option<Revision>,
    demand: BTreeMap<UpstreamId, Demand>,
    /// Held as well, but beyond the node's quota: it wakes nothing, and is no quiet either.
    over_quota: BTreeSet<UpstreamId>,
    activity: BTreeMap<UpstreamId, Activity>,
    /// Proofs that stand, each with the upstreams it is about.
    quiet: BTreeMap<DrainId, BTreeSet<UpstreamId>>,
}

/// All nodes with a session at this replica.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: BTreeMap<NodeId, Node>,
    tally: Tally,
}

/// What a node that came or went has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Upstreams that became demanded, or ceased.
    pub demanded: BTreeSet<UpstreamId>,
    /// Upstreams that may be idle on all nodes now, or sooner than before. Those that no longer are so are not named.
    pub idle: BTreeSet<UpstreamId>,
}

impl Nodes {
    /// A session opened: everything the node says now replaces what was known.
    pub fn open(
        &mut self,
        id: NodeId,
        epoch: NodeEpoch,
        demand: BTreeMap<UpstreamId, Demand>,
        activity: impl IntoIterator<Item = (UpstreamId, Activity)>,
    ) -> Moved {
        let anew = self.nodes.contains_key(&id);
        let mut moved = self.close(&id);
        moved.demanded.extend(demand.keys().cloned());
        let activity: BTreeMap<_, _> = activity.into_iter().take(MOST_UPSTREAMS).collect();
        if anew {
            // It may be idle now on what it was not before.
            let idle = activity.iter().filter(|(_, activity)| Since::of(activity).is_some());
            moved.idle.extend(idle.map(|(upstream, _)| upstream.clone()));
        }
        self.tally.joins();
        for (upstream, activity) in &activity {
            self.tally.idle(&id, upstream, None, Since::of(activity));
        }
        for (upstream, held) in &demand {
            self.tally.demand(&id, upstream, None, Some(held.since_unix_nanos));
        }
        let (over_quota, quiet) = (BTreeSet::new(), BTreeMap::new());
        let node = Node { epoch, registered: None, demand, over_quota, activity, quiet };
        self.nodes.insert(id, node);
        moved
    }

    /// A session broke: nothing the node said counts any more.
    pub fn close(&mut self, id: &NodeId) -> Moved {
        let Some(node) = self.nodes.remove(id) else { return Moved::default() };
        let is_idle = |upstream: &UpstreamId| node.activity.get(upstream).and_then(Since::of);
        let kept = self.tally.kept_by_one().filter(|upstream| is_idle(upstream).is_none());
        let mut idle: BTreeSet<UpstreamId> = kept.cloned().collect();
        for (upstream, activity) in &node.activity {
            if self.tally.is_last(id, upstream) {
                idle.insert(upstream.clone());
            }
            self.tally.idle(id, upstream, Since::of(activity), None);
        }
        for (upstream, held) in &node.demand {
            self.tally.demand(id, upstream, Some(held.since_unix_nanos), None);
        }
        self.tally.leaves();
        Moved { demanded: node.demand.into_keys().collect(), idle }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node's `nodes/` key was written.
    pub fn register(&mut self, id: &NodeId, revision: Revision) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.registered = Some(revision);
        }
    }

    /// The whole set the node demands now. A demand withdraws the node's quiet proofs about that upstream (rule D4).
    /// Returns what became demanded or ceased.
    pub fn demand(&mut self, id: &NodeId, demand: BTreeMap<UpstreamId, Demand>) -> BTreeSet<UpstreamId> {
        let Some(node) = self.nodes.get_mut(id) else { return BTreeSet::new() };
        let old = std::mem::replace(&mut node.demand, demand);
        for (upstream, held) in &old {
            self.tally.demand(id, upstream, Some(held.since_unix_nanos), None);
        }
        for (upstream, held) in &node.demand {
            self.tally.demand(id, upstream, None, Some(held.since_unix_nanos));
        }
        for upstream in node.demand.keys() {
            node.quiet.retain(|_, proven| !proven.contains(upstream));
        }
        let ended = old.keys().filter(|upstream| !node.demand.contains_key(*upstream));
        let began = node.demand.keys().filter(|upstream| !old.contains_key(*upstream));
        ended.chain(began).cloned().collect()
    }

    /// The node's activity on one upstream changed. Anything but idleness withdraws the node's quiet proofs about it
    /// (rule D4).
    pub fn activity(&mut self, id: &NodeId, upstream: UpstreamId, activity: Activity) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if !matches!(activity, Activity::Idle { .. }) {
            node.quiet.retain(|_, proven| !proven.contains(&upstream));
        }
        // What is beyond the bound stays unknown, and unknown is not idle.
        if node.activity.len() < MOST_UPSTREAMS || node.activity.contains_key(&upstream) {
            let before = node.activity.get(&upstream).and_then(Since::of);
            self.tally.idle(id, &upstream, before, Since::of(&activity));
            node.activity.insert(upstream, activity);
        }
    }

    /// The node holds connections for these as well, and they do not count: they are beyond its quota.
    pub fn over_quota(&mut self, id: &NodeId, refused: BTreeSet<UpstreamId>) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        node.quiet.retain(|_, proven| proven.is_disjoint(&refused));
        node.over_quota = refused;
    }

    /// Whether the node's demand for `upstream` counts.
    pub fn demands(&self, id: &NodeId, upstream: &UpstreamId) -> bool {
        self.nodes.get(id).is_some_and(|node| node.demand.contains_key(upstream))
    }

    /// The node proved quiet for a drain of `upstreams`. A proof of another epoch is void (rule N5), and so is one that
    /// crossed a demand.
    pub fn quiet(&mut self, id: &NodeId, epoch: &NodeEpoch, drain: DrainId, upstreams: BTreeSet<UpstreamId>) {
        let node = self.nodes.get_mut(id).filter(|node| node.epoch == *epoch);
        if let Some(node) = node
            && !upstreams.iter().any(|upstream| node.demand.contains_key(upstream))
            && node.over_quota.is_disjoint(&upstreams)
        {
            node.quiet.insert(drain, upstreams);
        }
    }

    /// A drain is over: its proofs are forgotten.
    pub fn forget_drain(&mut self, drain: &DrainId) {
        for node in self.nodes.values_mut() {
            node.quiet.remove(drain);
        }
    }

    /// Nothing heard counts as proof any more (rule G3).
    pub fn drop_proofs(&mut self) {
        self.nodes.values_mut().for_each(|node| node.quiet.clear());
    }

    /// The demand for `upstream` that is held the longest, if any node has one.
    pub fn demanded(&self, upstream: &UpstreamId) -> Option<&Demand> {
        self.nodes.get(self.tally.demanding(upstream)?)?.demand.get(upstream)
    }

    /// All that some node demands.
    pub fn all_demanded(&self) -> impl Iterator<Item = &UpstreamId> {
        self.tally.demanded()
    }

    /// How long every node says that `upstream` has been idle; `None` while active or unknown on one, or without nodes.
    pub fn idle_for(&self, upstream: &UpstreamId, now: Moment) -> Option<Duration> {
        self.tally.idle_for(upstream, now)
    }

    /// When every node will have said that `upstream` has been idle for at least `idle_after` (rule V2), if nobody says
    /// anything more; `None` if it cannot. At once without nodes: a replica without sessions votes as well.
    pub fn idle_at(&self, upstream: &UpstreamId, idle_after: Duration) -> Option<Moment> {
        self.tally.idle_at(upstream, idle_after)
    }

    /// The nodes this replica can vouch for in `drain`, each with its registration, if it can for all it has (rule D4).
    pub fn vouched(&self, drain: &DrainId) -> Option<BTreeMap<String, Revision>> {
        self.nodes
            .iter()
            .map(|(id, node)| {
                let revision = node.registered.filter(|_| node.quiet.contains_key(drain))?;
                Some((id.0.clone(), revision))
            })
            .collect()
    }

    /// The nodes that are registered, each with its registration.
    pub fn registrations(&self) -> BTreeMap<String, Revision> {
        let registered = self.nodes.iter().filter_map(|(id, node)| Some((id.0.clone(), node.registered?)));
        registered.collect()
    }

    /// The nodes with a session here.
    pub fn ids(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }

    /// What a node said last.
    pub fn get(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// Whether the node's proof for the drain stands.
    pub fn has_proven(&self, id: &NodeId, drain: &DrainId) -> bool {
        self.nodes.get(id).is_some_and(|node| node.quiet.contains_key(drain))
    }

    /// A node that demands one of `upstreams`.
    pub fn demanding(&self, upstreams: &[UpstreamId]) -> Option<&NodeId> {
        upstreams.iter().find_map(|upstream| self.tally.demanding(upstream))
    }
}

#[cfg(test)]
mod tests;
