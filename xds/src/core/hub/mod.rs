//! One group's resources and the streams that are served them. In: content changes, requests, and "this stream can take
//! a response now"; out: responses, answers, and which streams to ask. A change costs what its subscribers cost, an
//! answer what the answered response held.

mod look;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use slab::Slab;

use super::event::{Answer, Exceeded, RequestError};
use super::limits::Limits;
use super::resource::{Change, ChangeSet, TypeUrl};
use super::stream::{Around, Stream, Tables};
use super::table::{Replaced, StreamKey, Table};
use super::wire::{Response, Variant};

pub use look::{RejectedStatus, TypeStatus};

/// A stream that is open. The number is given to another one after it has been closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(StreamKey);

/// What a group serves and to whom.
#[derive(Debug)]
pub struct Hub {
    tables: Tables,
    streams: Slab<Stream>,
    by_node: HashMap<Arc<str>, Vec<StreamKey>>,
    /// Counts the changes, from 1 on; all of one [`Hub::apply`] are one.
    seq: u64,
    limits: Limits,
    identifier: String,
    encoded: u64,
    moved: Vec<TypeUrl>,
    returned: Vec<(TypeUrl, Arc<str>)>,
}

impl Hub {
    /// Nothing to serve and no streams. `identifier` names this server in responses; may be empty.
    pub fn new(limits: Limits, identifier: String) -> Self {
        Self {
            tables: Tables::new(),
            streams: Slab::new(),
            by_node: HashMap::new(),
            seq: 1,
            limits,
            identifier,
            encoded: 0,
            moved: Vec::new(),
            returned: Vec::new(),
        }
    }

    /// Takes in changes, all at once. Returns the streams that have something to say since and had nothing before.
    pub fn apply(&mut self, changes: impl Into<ChangeSet>) -> Vec<StreamId> {
        let ChangeSet { changes, type_versions } = changes.into();
        self.seq += 1;
        self.returned.clear();
        let mut woken = Vec::new();
        for Change { type_url, name, content } in changes {
            let table = table_of(&mut self.tables, &type_url);
            let set = content.is_some();
            if let Some(replaced) = table.change(&name, content, self.seq) {
                self.encoded += u64::from(set);
                if tell(table, &mut self.streams, &replaced, self.seq, &mut woken) {
                    self.returned.push((type_url.clone(), name));
                }
                table.release(replaced.slot);
            }
            if !set && table.is_unused() {
                self.tables.remove(&type_url);
            }
        }
        for (type_url, version) in type_versions {
            let table = table_of(&mut self.tables, &type_url);
            table.set_version(version);
            if table.is_unused() {
                self.tables.remove(&type_url);
            }
        }
        woken
    }

    /// Makes `changes` all there is of a type: what is not among them is removed. Otherwise as [`Self::apply`]; changes
    /// of another type are taken in as they are.
    pub fn replace(&mut self, type_url: &TypeUrl, changes: impl Into<ChangeSet>) -> Vec<StreamId> {
        self.replace_where(|table| table.type_url == *type_url, changes.into())
    }

    /// Makes `changes` all there is of every type: a whole snapshot. Otherwise as [`Self::apply`].
    pub fn replace_all(&mut self, changes: impl Into<ChangeSet>) -> Vec<StreamId> {
        self.replace_where(|_| true, changes.into())
    }

    /// Also removes what is served in these tables and not named.
    fn replace_where(&mut self, these: impl Fn(&Table) -> bool, mut set: ChangeSet) -> Vec<StreamId> {
        let named: HashSet<(&TypeUrl, &str)> =
            set.changes.iter().map(|change| (&change.type_url, &*change.name)).collect();
        let served = self
            .tables
            .values()
            .filter(|table| these(table))
            .flat_map(|table| table.served().map(|(_, slot)| (&table.type_url, &slot.name)));
        let gone = served.filter(|(type_url, name)| !named.contains(&(*type_url, &***name)));
        let gone: Vec<Change> =
            gone.map(|(type_url, name)| Change::remove(type_url.clone(), name.clone())).collect();
        set.changes.extend(gone);
        self.apply(set)
    }

    /// Sends a resource again to each stream that has refused it as it is served now: what was refused may be taken later,
    /// as a listener whose port was in use. Returns the streams that have something to say since and had nothing before.
    pub fn offer_again(&mut self, type_url: &TypeUrl, name: &str) -> Vec<StreamId> {
        let Some(table) = self.tables.get_mut(type_url) else { return Vec::new() };
        let Some(slot) = table.find(name) else { return Vec::new() };
        let kind = (table.rank, type_url.clone());
        let mut woken = Vec::new();
        for (_, stream) in &mut self.streams {
            let offered = stream
                .subscription_mut(&kind)
                .is_some_and(|subscription| subscription.offer_again(table, slot));
            if offered && !std::mem::replace(&mut stream.woken, true) {
                woken.push(StreamId(stream.key));
            }
        }
        woken
    }

    /// A stream begins. `service` is the type of a single-type service.
    ///
    /// # Errors
    /// When the node's id is too long, or it has too many streams.
    pub fn open(
        &mut self,
        node: Arc<str>,
        variant: Variant,
        service: Option<TypeUrl>,
    ) -> Result<StreamId, Exceeded> {
        self.limits.short("a node id", &node)?;
        let of_node = self.by_node.get(&node).map_or(0, Vec::len);
        if of_node >= self.limits.streams_of_node {
            return Err(Exceeded::StreamsOfNode { limit: self.limits.streams_of_node, node });
        }
        let entry = self.streams.vacant_entry();
        let key = StreamKey::try_from(entry.key()).expect("fewer than 2^32 streams");
        entry.insert(Stream::new(key, node.clone(), variant, service));
        self.by_node.entry(node).or_default().push(key);
        Ok(StreamId(key))
    }

    /// A stream has ended: nothing of it is kept.
    pub fn close(&mut self, id: StreamId) {
        let Some(stream) = self.streams.try_remove(id.0 as usize) else { return };
        if let Some(of_node) = self.by_node.get_mut(&stream.node) {
            of_node.retain(|key| *key != id.0);
            if of_node.is_empty() {
                self.by_node.remove(&stream.node);
            }
        }
        self.moved.clear();
        stream.close(&mut self.tables, &mut self.moved);
    }

    /// Takes in a request of a delta stream; says what it answered, if anything. `list`: with names also if an ACK. One with a
    /// stale nonce, which is that of no unanswered response, answers nothing, and what it subscribes to counts.
    ///
    /// # Errors
    /// The stream must then end.
    pub fn delta(
        &mut self,
        id: StreamId,
        request: DeltaDiscoveryRequest,
        list: bool,
    ) -> Result<Option<Answer>, RequestError> {
        let (stream, mut around) = self.stream(id);
        stream.map_or(Ok(None), |stream| stream.delta(request, &mut around, list))
    }

    /// As [`Self::delta`], in state of the world. While the newest response is unanswered, the names of a request with a stale
    /// nonce count, and are dealt with when that is answered; later, such a request is ignored. One without a nonce is not
    /// stale.
    ///
    /// # Errors
    /// The stream must then end.
    pub fn sotw(
        &mut self,
        id: StreamId,
        request: DiscoveryRequest,
        list: bool,
    ) -> Result<Option<Answer>, RequestError> {
        let (stream, mut around) = self.stream(id);
        stream.map_or(Ok(None), |stream| stream.sotw(request, &mut around, list))
    }

    /// The stream can take a response: the next one, made of the newest content; `None`: there is nothing to say until
    /// the next request, or until [`Self::apply`] names the stream.
    pub fn poll(&mut self, id: StreamId) -> Option<Response> {
        let (stream, mut around) = self.stream(id);
        let stream = stream?;
        let response = stream.poll(&mut around);
        stream.woken = response.is_some();
        response
    }

    fn stream(&mut self, id: StreamId) -> (Option<&mut Stream>, Around<'_>) {
        self.moved.clear();
        let around = Around {
            tables: &mut self.tables,
            limits: &self.limits,
            seq: self.seq,
            identifier: &self.identifier,
            moved: &mut self.moved,
        };
        (self.streams.get_mut(id.0 as usize), around)
    }
}

/// The table of a type, made if need be.
fn table_of<'a>(tables: &'a mut Tables, type_url: &TypeUrl) -> &'a mut Table {
    tables.entry(type_url.clone()).or_insert_with(|| Table::new(type_url.clone()))
}

/// Tells those who subscribe to a changed resource. Whether one of them has refused it before as it is now.
fn tell(
    table: &mut Table,
    streams: &mut Slab<Stream>,
    replaced: &Replaced,
    seq: u64,
    woken: &mut Vec<StreamId>,
) -> bool {
    let mut refused = false;
    let kind = (table.rank, table.type_url.clone());
    let mut one = |table: &mut Table, key: StreamKey| {
        let Some(stream) = streams.get_mut(key as usize) else { return };
        if let Some(subscription) = stream.subscription_mut(&kind) {
            refused |= subscription.changed(table, replaced, seq);
        }
        if !std::mem::replace(&mut stream.woken, true) {
            woken.push(StreamId(key));
        }
    };
    for at in 0.. {
        let Some(key) = table.everyone.get(at) else { break };
        one(table, key);
    }
    for at in 0.. {
        let Some(key) = table.slot(replaced.slot).named.get(at) else { break };
        if !table.everyone.contains(key) {
            one(table, key);
        }
    }
    refused
}
