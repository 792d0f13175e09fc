//! Nodes that count and that no live replica hears (rule N4): since when, what proves that they are gone, and what to do. They
//! keep everything up until then.

use std::collections::BTreeMap;
use std::time::Duration;

use zenvoy_shared::id::NodeId;

use super::core::{Core, Later};
use super::event::Now;
use crate::execute::{Gone, Job, Subject};
use crate::session::Moment;
use crate::store::{Compare, Key};

/// A node that moves to another replica, or whose replica restarts, is heard again before this.
const MOVES: Duration = Duration::from_secs(10);

/// Between two looks at a Pod that exists still.
pub(super) const POD_PAUSE: Duration = Duration::from_secs(5);

/// Those nodes.
#[derive(Debug, Default)]
pub(super) struct Unreachable {
    nodes: BTreeMap<NodeId, Since>,
}

#[derive(Debug, Clone, Copy)]
struct Since {
    at: Now,
    told: bool,
}

/// A node that keeps workloads up, as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocking {
    /// Which.
    pub node: NodeId,
    /// Since when nobody hears it, milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// What helps.
    pub remedy: String,
}

impl Core {
    /// A node, a replica, or what a replica speaks for has changed.
    pub(super) fn look_at_unreachable(&mut self) {
        let silent = self.records.votes.unspoken_for().clone();
        self.unreachable.nodes.retain(|node, _| silent.contains(node));
        for node in silent {
            let since =
                *self.unreachable.nodes.entry(node.clone()).or_insert(Since { at: self.now, told: false });
            let at = since.at.moment.after(MOVES).max(self.now.moment);
            self.later.by(Later::Subject(Subject::Gone(node)), at);
        }
    }

    /// What the leader does about a node that nobody hears: its deleted Pod is the proof.
    pub(super) fn prove_gone(&mut self, node: &NodeId) -> Option<Job> {
        let (term, now) = (self.term?, self.now.moment);
        let since = self.unreachable.nodes.get_mut(node)?;
        if !is_over(since.at.moment, now) {
            // This look was due to an earlier silence, as before the first session is voted for.
            let at = since.at.moment.after(MOVES);
            self.later.by(Later::Subject(Subject::Gone(node.clone())), at);
            return None;
        }
        let tells = !std::mem::replace(&mut since.told, true);
        let record = self.records.nodes.get(node)?;
        if tells {
            tracing::warn!(%node, "no controller hears this node: nothing is scaled down. {}", remedy(node, record.record.pod.as_ref()));
        }
        let pod = record.record.pod.clone()?;
        let compares = vec![Self::guard(term), Compare::WrittenAt(Key::Node(node.clone()), record.revision)];
        Some(Job::ProveGone(Gone { node: node.clone(), pod, compares }))
    }

    /// The nodes that keep workloads up.
    pub fn blocking(&self) -> Vec<Blocking> {
        let now = self.now.moment;
        let over = self.unreachable.nodes.iter().filter(|(_, since)| is_over(since.at.moment, now));
        over.map(|(node, since)| Blocking {
            node: node.clone(),
            since_unix_ms: since.at.unix_ms(),
            remedy: remedy(node, self.records.nodes.get(node).and_then(|record| record.record.pod.as_ref())),
        })
        .collect()
    }
}

fn is_over(since: Moment, now: Moment) -> bool {
    since.after(MOVES) <= now
}

fn remedy(node: &NodeId, pod: Option<&crate::model::PodReference>) -> String {
    let forget = format!("when its proxy and Envoy are gone, run: zenvoy node forget {node}");
    match pod {
        Some(pod) => format!("it ends when the node comes back or its Pod {pod} is deleted; or, {forget}"),
        None => format!("{forget} (a proxy that knows its Pod needs no such help: --pod-uid)"),
    }
}
