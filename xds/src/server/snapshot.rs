//! One group's resources and the streams that are served them. Every call is a short turn under one lock; whoever is
//! to look again is woken after it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::broadcast;
use tonic::Status;

use super::entry::Entry;
use super::line::Line;
use super::requests::Request;
use super::sync::{Mutex, MutexGuard, lock};
use super::waits::{Awaited, Wait, Waits};
use super::{Event, Group, Outcome, StreamStatus};
use crate::core::{
    Answer, ChangeSet, Hub, Limits, RequestError, Response, StreamId, TypeUrl, Variant, Version,
};

/// The resources of one group. Clones share them.
#[derive(Debug, Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    group: Group,
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) hub: Hub,
    lines: HashMap<StreamId, Arc<Line>>,
    /// There is something to serve, even if it is nothing.
    ready: bool,
    /// It is no longer served: whoever comes now comes too late.
    ended: bool,
    pub(super) waits: Waits,
}

impl Snapshot {
    pub(super) fn new(
        group: Group,
        limits: Limits,
        identifier: String,
        events: broadcast::Sender<Event>,
    ) -> Self {
        let ready = group == Group::default();
        let hub = Hub::new(limits, identifier);
        let state = State { hub, lines: HashMap::new(), ready, ended: false, waits: Waits::default() };
        Self { inner: Arc::new(Inner { group, state: Mutex::new(state), events }) }
    }

    /// Takes in changes, all at once. From any thread. The first time, even with no change at all, makes a group other
    /// than the default one ready: until then its clients are not answered.
    pub fn apply(&self, changes: impl Into<ChangeSet>) {
        self.change(changes, Hub::apply);
    }

    /// Makes `changes` all there is of a type: what is not among them is removed. Otherwise as [`Self::apply`].
    pub fn replace(&self, type_url: impl Into<TypeUrl>, changes: impl Into<ChangeSet>) {
        let type_url = type_url.into();
        self.change(changes, |hub, changes| hub.replace(&type_url, changes));
    }

    /// Makes `changes` all there is of every type: a whole snapshot, in one turn. Otherwise as [`Self::apply`].
    pub fn replace_all(&self, changes: impl Into<ChangeSet>) {
        self.change(changes, Hub::replace_all);
    }

    fn change(
        &self,
        changes: impl Into<ChangeSet>,
        change: impl FnOnce(&mut Hub, ChangeSet) -> Vec<StreamId>,
    ) {
        // Made before the lock is taken: the caller's iterator may take its time, and may look at what is served.
        let changes: ChangeSet = changes.into();
        let woken: Vec<Arc<Line>> = {
            let mut state = self.lock();
            let woken = change(&mut state.hub, changes);
            state.waits.returned(state.hub.returned());
            if std::mem::replace(&mut state.ready, true) {
                woken.iter().filter_map(|id| state.lines.get(id).cloned()).collect()
            } else {
                state.lines.values().cloned().collect()
            }
        };
        woken.iter().for_each(|line| line.waker.wake());
    }

    /// Sends a resource again to each client that has refused it as it is served now, and to no other. Without this it is
    /// sent again when it changes, or to a client that comes back: what was refused for a cause outside of it, as a
    /// listener whose port was in use, may be taken later. Whoever calls this again and again lets more and more time pass.
    pub fn offer_again(&self, type_url: impl Into<TypeUrl>, name: &str) {
        let type_url = type_url.into();
        let woken: Vec<Arc<Line>> = {
            let mut state = self.lock();
            let woken = state.hub.offer_again(&type_url, name);
            woken.iter().filter_map(|id| state.lines.get(id).cloned()).collect()
        };
        woken.iter().for_each(|line| line.waker.wake());
    }

    /// What is served of a resource: its version and its encoded message.
    pub fn get(&self, type_url: impl Into<TypeUrl>, name: &str) -> Option<(Version, bytes::Bytes)> {
        self.lock().hub.get(&type_url.into(), name)
    }

    /// How many resources of a type are served.
    pub fn len(&self, type_url: impl Into<TypeUrl>) -> usize {
        self.lock().hub.len(&type_url.into())
    }

    /// Whether nothing of a type is served.
    pub fn is_empty(&self, type_url: impl Into<TypeUrl>) -> bool {
        self.len(type_url) == 0
    }

    /// How many times a resource was encoded.
    pub fn encoded(&self) -> u64 {
        self.lock().hub.encoded()
    }

    /// The connected nodes, once for each stream, with the version of the resource that it has applied; `None`: nothing
    /// yet, or its removal.
    pub fn acked(&self, type_url: impl Into<TypeUrl>, name: &str) -> Vec<(String, Option<Version>)> {
        let acked = self.lock().hub.acked(&type_url.into(), name);
        acked.into_iter().map(|(node, version)| (node.to_string(), version)).collect()
    }

    /// Whether every stream of the node that subscribes to this resource has applied what is served of it now; false
    /// when there is no such stream. A removed resource counts when its removal was applied.
    pub fn is_acked(&self, node: &str, type_url: impl Into<TypeUrl>, name: &str) -> bool {
        let (state, type_url) = (self.lock(), type_url.into());
        state.hub.is_acked(node, &type_url, name, state.hub.changed_at(&type_url, name))
    }

    /// Waits until every stream of the node that subscribes to this resource, and at least one, has applied what is
    /// served of it at the time of the call, or something later; or until one of them has refused it as it is served
    /// then, be it long ago: it is not sent that again, and whoever mends it waits again. Cancel it by dropping; give it a
    /// deadline.
    pub async fn until_acked(&self, node: &str, type_url: impl Into<TypeUrl>, name: &str) -> Outcome {
        let node = Some(node.into());
        Wait::new(self, Awaited { type_url: type_url.into(), name: name.into(), node }).outcome().await
    }

    /// Waits until all streams that subscribe to this resource have applied what is served of it at the time of the
    /// call, or something later, or one of them has refused it as it is served then, be it long ago; returns at once when
    /// there are none. Cancel it by dropping; give it a deadline.
    pub async fn until_acked_by_all(&self, type_url: impl Into<TypeUrl>, name: &str) -> Outcome {
        Wait::new(self, Awaited { type_url: type_url.into(), name: name.into(), node: None }).outcome().await
    }

    /// The streams that are served this group.
    pub fn streams(&self) -> Vec<StreamStatus> {
        let state = self.lock();
        let status = |(id, node, variant): (StreamId, &Arc<str>, Variant)| StreamStatus {
            stream: state.lines.get(&id).map_or(0, |line| line.id),
            group: self.inner.group.clone(),
            node: node.clone(),
            variant,
            types: state.hub.types(id),
        };
        state.hub.streams().map(status).collect()
    }

    pub(super) fn group(&self) -> &Group {
        &self.inner.group
    }

    /// Nothing was ever served, and nobody holds it but the list of groups, whose lock the caller has: a stream, or a
    /// caller's handle, would be left with resources that no one else sees.
    pub(super) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.inner) == 1 && !self.lock().ready
    }

    /// It is no longer served: its streams end.
    pub(super) fn end(&self) {
        let lines: Vec<Arc<Line>> = {
            let mut state = self.lock();
            state.ended = true;
            state.lines.values().cloned().collect()
        };
        lines.iter().for_each(|line| line.end(no_longer_served()));
    }

    /// A stream begins.
    pub(super) fn enter(
        &self,
        node: Arc<str>,
        variant: Variant,
        service: Option<TypeUrl>,
        line: &Arc<Line>,
    ) -> Result<Entry, Status> {
        let id = {
            let mut state = self.lock();
            if state.ended {
                return Err(no_longer_served());
            }
            let id = state.hub.open(node.clone(), variant, service);
            let id = id.map_err(|error| Status::resource_exhausted(error.to_string()))?;
            state.lines.insert(id, line.clone());
            id
        };
        let (group, stream) = (self.inner.group.clone(), line.id);
        self.tell(|| Event::Connected { group, node: node.clone(), stream });
        Ok(Entry::new(self.clone(), id, stream, node))
    }

    /// A stream has ended.
    pub(super) fn leave(&self, id: StreamId, node: &str) {
        let mut state = self.lock();
        state.hub.close(id);
        state.lines.remove(&id);
        state.waits.moved(node, state.hub.moved());
    }

    pub(super) fn request(
        &self,
        id: StreamId,
        node: &Arc<str>,
        request: Request,
    ) -> Result<Option<Answer>, RequestError> {
        let mut state = self.lock();
        let list = self.inner.events.receiver_count() > 0 || !state.waits.is_empty();
        let answer = request.hand_to(&mut state.hub, id, list);
        if let Ok(Some(answer)) = &answer {
            state.waits.answered(node, answer);
        }
        state.waits.moved(node, state.hub.moved());
        answer
    }

    pub(super) fn poll(&self, id: StreamId, node: &str) -> Option<Response> {
        let mut state = self.lock();
        if !state.ready {
            return None;
        }
        let response = state.hub.poll(id);
        state.waits.moved(node, state.hub.moved());
        response
    }

    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.inner.events.receiver_count() > 0 {
            // Nobody listening any more is no failure.
            let _ = self.inner.events.send(event());
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.inner.state)
    }
}

fn no_longer_served() -> Status {
    Status::unavailable("the group of this node is no longer served: reconnect")
}
