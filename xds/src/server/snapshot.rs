//! One group's resources and the streams that are served them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, broadcast, watch};

use super::{Event, Group, RejectedStatus, StreamStatus, TypeStatus, Variant, lock};
use crate::core::{Catalog, Change, DeltaStream, TypeUrl, Version};

/// The resources of one group. Clones share them.
#[derive(Debug, Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    group: Group,
    state: Mutex<State>,
    /// Counts what can make a resource acknowledged, so that those who wait look again.
    steps: watch::Sender<u64>,
    events: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) catalog: Catalog,
    pub(super) streams: HashMap<u64, Client>,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) node: Arc<str>,
    pub(super) stream: DeltaStream,
    pub(super) wake: Arc<Notify>,
}

impl Snapshot {
    pub(super) fn new(group: Group, events: broadcast::Sender<Event>) -> Self {
        let inner = Inner { group, state: Mutex::default(), steps: watch::Sender::default(), events };
        Self { inner: Arc::new(inner) }
    }

    /// Takes in changes, all at once. From any thread.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) {
        let mut state = self.lock();
        let State { catalog, streams } = &mut *state;
        for change in changes {
            let (type_url, name) = (change.type_url.clone(), change.name.clone());
            if catalog.apply(change) {
                streams.values_mut().for_each(|client| client.stream.on_change(&type_url, &name));
            }
        }
        streams.values().for_each(|client| client.wake.notify_one());
    }

    /// The connected nodes, each with the version of the resource it has applied; `None`: nothing yet, or its removal.
    pub fn acked(&self, type_url: &TypeUrl, name: &str) -> Vec<(String, Option<Version>)> {
        let state = self.lock();
        let version = |client: &Client| client.stream.acked(type_url, name).cloned().flatten();
        state.streams.values().map(|client| (client.node.to_string(), version(client))).collect()
    }

    /// Whether every stream of the node that subscribes to this resource has applied what is served of it now; false
    /// when there is no such stream. A removed resource counts when its removal was applied.
    pub fn is_acked(&self, node: &str, type_url: &TypeUrl, name: &str) -> bool {
        let state = self.lock();
        let served = state.catalog.get(type_url, name).map(|resource| resource.version.clone());
        let mut subscribed = state
            .streams
            .values()
            .filter(|client| &*client.node == node && client.stream.subscribes(type_url, name))
            .map(|client| client.stream.acked(type_url, name) == Some(&served))
            .peekable();
        subscribed.peek().is_some() && subscribed.all(|acked| acked)
    }

    /// Waits until [`Self::is_acked`]. Cancel it by dropping; give it a deadline.
    pub async fn until_acked(&self, node: &str, type_url: &TypeUrl, name: &str) {
        let mut steps = self.inner.steps.subscribe();
        loop {
            steps.mark_unchanged();
            if self.is_acked(node, type_url, name) || steps.changed().await.is_err() {
                return;
            }
        }
    }

    /// The streams that are served this group.
    pub fn streams(&self) -> Vec<StreamStatus> {
        let state = self.lock();
        let status = |(id, client): (&u64, &Client)| StreamStatus {
            stream: *id,
            group: self.inner.group.clone(),
            node: client.node.clone(),
            variant: Variant::Delta,
            types: types(&client.stream),
        };
        state.streams.iter().map(status).collect()
    }

    pub(super) fn group(&self) -> &Group {
        &self.inner.group
    }

    pub(super) fn step(&self, event: Event) {
        self.inner.steps.send_modify(|steps| *steps = steps.wrapping_add(1));
        // Nobody listening is no failure.
        let _ = self.inner.events.send(event);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.inner.state)
    }
}

fn types(stream: &DeltaStream) -> Vec<TypeStatus> {
    let rejected = |type_url| {
        stream
            .rejections(type_url)
            .map(|(name, version, message)| RejectedStatus {
                name: name.clone(),
                version: version.clone(),
                message: message.clone(),
            })
            .collect()
    };
    stream
        .subscriptions()
        .map(|(type_url, wildcard, names, unsettled)| TypeStatus {
            type_url: type_url.clone(),
            wildcard,
            names,
            unsettled,
            rejected: rejected(type_url),
        })
        .collect()
}
