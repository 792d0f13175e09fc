//! Who waits for an acknowledgement. In: what streams have answered, or settled otherwise, and what has returned to a version
//! that was refused; out: wake-ups of those whose answer that may be, and of no others.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Snapshot;
use super::sync::Notify;
use crate::core::{Answer, TypeUrl};

/// What became of a resource at the clients that were waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a client may have refused the resource"]
pub enum Outcome {
    /// All have applied what was served at the time of the call, or something later.
    Applied,
    /// One has refused it as it is served now. It is not sent it again until it changes, or is offered again.
    Refused {
        /// The client's node.
        node: Arc<str>,
        /// Its own words, cut at 4 KiB.
        message: Arc<str>,
    },
}

impl Outcome {
    /// Whether all have applied it.
    pub fn is_applied(&self) -> bool {
        *self == Self::Applied
    }
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Awaited {
    pub(super) type_url: TypeUrl,
    pub(super) name: Arc<str>,
    /// `None`: by all nodes.
    pub(super) node: Option<Arc<str>>,
}

/// Wakes those who wait for the same.
#[derive(Debug, Default)]
struct Call {
    notify: Notify,
    /// How many refusals there may have been: looking for one can take a look at every stream.
    refusals: AtomicUsize,
}

/// All who wait in a group.
#[derive(Debug, Default)]
pub(super) struct Waits(HashMap<Awaited, Arc<Call>>);

impl Waits {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A client has answered a response. An ACK must come with the names of what it is about.
    pub(super) fn answered(&self, node: &Arc<str>, answer: &Answer) {
        if self.is_empty() {
            return;
        }
        for (name, _) in &answer.resources {
            for node in [None, Some(node.clone())] {
                let awaited = Awaited { type_url: answer.type_url.clone(), name: name.clone(), node };
                let Some(call) = self.0.get(&awaited) else { continue };
                call.refusals.fetch_add(usize::from(answer.refusal.is_some()), Ordering::Relaxed);
                call.notify.notify_waiters();
            }
        }
    }

    /// A client has settled something of these types otherwise than by an answer.
    pub(super) fn moved(&self, node: &str, types: &[TypeUrl]) {
        if types.is_empty() {
            return;
        }
        let whose = |awaited: &Awaited| awaited.node.as_ref().is_none_or(|of| **of == *node);
        for (awaited, call) in &self.0 {
            if whose(awaited) && types.contains(&awaited.type_url) {
                call.notify.notify_waiters();
            }
        }
    }

    /// These are served again as a client has refused them before.
    pub(super) fn returned(&self, resources: &[(TypeUrl, Arc<str>)]) {
        if self.is_empty() || resources.is_empty() {
            return;
        }
        let returned: HashSet<(&TypeUrl, &str)> =
            resources.iter().map(|(type_url, name)| (type_url, &**name)).collect();
        for (awaited, call) in &self.0 {
            if returned.contains(&(&awaited.type_url, &*awaited.name)) {
                call.refusals.fetch_add(1, Ordering::Relaxed);
                call.notify.notify_waiters();
            }
        }
    }
}

/// Someone waits; forgotten when dropped.
pub(super) struct Wait<'a> {
    snapshot: &'a Snapshot,
    awaited: Awaited,
    call: Arc<Call>,
    /// What was served at this count of changes is waited for, or something later.
    since: u64,
    /// So many refusals were looked at; `None`: nothing was yet.
    seen: Option<usize>,
}

impl<'a> Wait<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, awaited: Awaited) -> Self {
        let mut state = snapshot.lock();
        let since = state.hub.changed_at(&awaited.type_url, &awaited.name);
        let call = state.waits.0.entry(awaited.clone()).or_default().clone();
        drop(state);
        Self { snapshot, awaited, call, since, seen: None }
    }

    /// Until it is over.
    pub(super) async fn outcome(&mut self) -> Outcome {
        let call = self.call.clone();
        loop {
            let mut answered = pin!(call.notify.notified());
            answered.as_mut().enable();
            if let Some(outcome) = self.look() {
                return outcome;
            }
            answered.await;
        }
    }

    fn look(&mut self) -> Option<Outcome> {
        let Awaited { type_url, name, node } = &self.awaited;
        let state = self.snapshot.lock();
        let applied = match node {
            Some(node) => state.hub.is_acked(node, type_url, name, self.since),
            None => state.hub.is_acked_by_all(type_url, name, self.since),
        };
        if applied {
            return Some(Outcome::Applied);
        }
        let refusals = self.call.refusals.load(Ordering::Relaxed);
        if self.seen.replace(refusals) == Some(refusals) {
            return None;
        }
        let (node, message) = state.hub.refusal(node.as_deref(), type_url, name)?;
        Some(Outcome::Refused { node, message })
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut state = self.snapshot.lock();
        // One is the map's, one is this one's.
        if Arc::strong_count(&self.call) == 2 {
            state.waits.0.remove(&self.awaited);
        }
    }
}
