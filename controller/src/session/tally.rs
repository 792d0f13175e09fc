//! What all nodes together say of each upstream. In: one node's words, as they change; out: who has been idle for how long on
//! all of them, and who is demanded. Each answer, and each change, costs the same however many nodes there are. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zenvoy_shared::id::{NodeId, UpstreamId};

use super::nodes::{Activity, Moment};

/// Since when an upstream has been idle on a node: nanoseconds on this replica's clock, less than nothing where that does
/// not reach back so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Since(i128);

impl Since {
    /// Of what is idle.
    pub(super) fn of(activity: &Activity) -> Option<Self> {
        match activity {
            Activity::Idle { already, at } => Some(Self(nanos(at.0) - nanos(*already))),
            Activity::Active | Activity::Unknown => None,
        }
    }

    fn until(self, now: Moment) -> Duration {
        duration(nanos(now.0) - self.0)
    }

    fn after(self, pause: Duration) -> Moment {
        Moment(duration(self.0.saturating_add(nanos(pause))))
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / 4)
}

fn duration(nanos: i128) -> Duration {
    let nanos = u128::try_from(nanos).unwrap_or_default();
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).unwrap_or_default())
}

/// The nodes' words, by upstream.
#[derive(Debug, Default)]
pub(super) struct Tally {
    nodes: usize,
    idle: BTreeMap<UpstreamId, BTreeSet<(Since, NodeId)>>,
    demand: BTreeMap<UpstreamId, BTreeSet<(u64, NodeId)>>,
    /// Upstreams by the number of nodes on which they are idle.
    by_count: BTreeMap<usize, BTreeSet<UpstreamId>>,
}

impl Tally {
    pub(super) fn joins(&mut self) {
        self.nodes += 1;
    }

    pub(super) fn leaves(&mut self) {
        self.nodes = self.nodes.saturating_sub(1);
    }

    /// Since when an upstream has been idle on `node`, before and from now on.
    pub(super) fn idle(
        &mut self,
        node: &NodeId,
        upstream: &UpstreamId,
        before: Option<Since>,
        after: Option<Since>,
    ) {
        let said = self.idle.entry(upstream.clone()).or_default();
        let old = said.len();
        changed(said, node, before, after);
        let new = said.len();
        if new == 0 {
            self.idle.remove(upstream);
        }
        if old == new {
            return;
        }
        if let Some(upstreams) = self.by_count.get_mut(&old) {
            upstreams.remove(upstream);
            if upstreams.is_empty() {
                self.by_count.remove(&old);
            }
        }
        if new > 0 {
            self.by_count.entry(new).or_default().insert(upstream.clone());
        }
    }

    /// Since when `node` has held a connection for an upstream, before and from now on.
    pub(super) fn demand(
        &mut self,
        node: &NodeId,
        upstream: &UpstreamId,
        before: Option<u64>,
        after: Option<u64>,
    ) {
        let said = self.demand.entry(upstream.clone()).or_default();
        changed(said, node, before, after);
        if said.is_empty() {
            self.demand.remove(upstream);
        }
    }

    /// Who was idle last, of those that are idle on every node.
    fn last(&self, upstream: &UpstreamId) -> Option<&(Since, NodeId)> {
        self.idle.get(upstream).filter(|said| said.len() == self.nodes)?.last()
    }

    /// Whether it has been idle on every node, and on this one the shortest.
    pub(super) fn is_last(&self, node: &NodeId, upstream: &UpstreamId) -> bool {
        self.last(upstream).is_some_and(|(_, last)| last == node)
    }

    /// The upstreams that one node keeps from being idle on all.
    pub(super) fn kept_by_one(&self) -> impl Iterator<Item = &UpstreamId> {
        self.nodes
            .checked_sub(1)
            .and_then(|all_but_one| self.by_count.get(&all_but_one))
            .into_iter()
            .flatten()
    }

    /// For how long it has been idle on every node; `None` also without nodes.
    pub(super) fn idle_for(&self, upstream: &UpstreamId, now: Moment) -> Option<Duration> {
        self.last(upstream).map(|(since, _)| since.until(now))
    }

    /// When it will have been idle for so long on every node; at once without nodes.
    pub(super) fn idle_at(&self, upstream: &UpstreamId, idle_after: Duration) -> Option<Moment> {
        if self.nodes == 0 {
            return Some(Moment::default());
        }
        self.last(upstream).map(|(since, _)| since.after(idle_after))
    }

    /// All that is demanded.
    pub(super) fn demanded(&self) -> impl Iterator<Item = &UpstreamId> {
        self.demand.keys()
    }

    /// The node that has demanded it the longest.
    pub(super) fn demanding(&self, upstream: &UpstreamId) -> Option<&NodeId> {
        self.demand.get(upstream)?.first().map(|(_, node)| node)
    }
}

fn changed<T: Ord>(said: &mut BTreeSet<(T, NodeId)>, node: &NodeId, before: Option<T>, after: Option<T>) {
    if let Some(before) = before {
        said.remove(&(before, node.clone()));
    }
    if let Some(after) = after {
        said.insert((after, node.clone()));
    }
}
