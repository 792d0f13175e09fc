//! The records of the store beside wakes and drains, as the watch and the own writes bring them. Steps may arrive twice and
//! out of order (an own write is known before the watch brings it); the revision of each key tells what is newer. Pure.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Map;
use zenvoy_shared::id::{ActivatorAddress, ControllerId, NodeEpoch, NodeId, UpstreamId, WorkloadId};

use super::votes::{Cast, Votes};
use crate::model::{
    DrainAck, DrainRecord, IdleVotes, NodeRecord, PortState, Replica, Revision, Versioned, VoteNodes,
    VoteShard, WakeRecord,
};
use crate::store::{Compare, Entry, Key};

/// One record, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    Leader(Replica),
    Controller(Replica),
    Node(NodeRecord),
    Port(PortState),
    Address(ActivatorAddress),
    Wake(WakeRecord),
    Drain(DrainRecord),
    Ack(DrainAck),
    Votes(IdleVotes),
    VoteShard(VoteShard),
    VoteNodes(VoteNodes),
}

/// Reads the record of an entry. What a later version wrote in another form is unknown, which is not the same as absent.
pub(super) fn read(entry: &Entry) -> Result<Record, serde_json::Error> {
    fn json<T: DeserializeOwned>(entry: &Entry) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&entry.value)
    }
    match &entry.key {
        Key::Leader => json(entry).map(Record::Leader),
        Key::Controller(_) => json(entry).map(Record::Controller),
        Key::Node(_) => json(entry).map(Record::Node),
        Key::PortByAddress(_) => json(entry).map(Record::Port),
        Key::PortByUpstream(_) => json(entry).map(Record::Address),
        Key::Wake(_) => json(entry).map(Record::Wake),
        Key::Drain(_) => json(entry).map(Record::Drain),
        Key::DrainAck(..) => json(entry).map(Record::Ack),
        Key::IdleVotes(_) => json(entry).map(Record::Votes),
        Key::VoteShard(..) => json(entry).map(Record::VoteShard),
        Key::VoteNodes(_) => json(entry).map(Record::VoteNodes),
    }
}

/// What is known of the store.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) leader: Option<Versioned<Replica>>,
    pub(super) controllers: BTreeMap<ControllerId, Versioned<Replica>>,
    pub(super) nodes: BTreeMap<NodeId, Versioned<NodeRecord>>,
    /// `None`: it is used for something unknown.
    pub(super) ports: BTreeMap<ActivatorAddress, Versioned<Option<PortState>>>,
    /// `None`: there is one, and it cannot be read.
    pub(super) addresses: BTreeMap<UpstreamId, Versioned<Option<ActivatorAddress>>>,
    pub(super) acks: BTreeMap<WorkloadId, BTreeMap<ControllerId, Versioned<DrainAck>>>,
    pub(super) votes: Votes,
}

impl Records {
    /// Sets a record that is not a wake or drain. True if that is news: the answer to an own write and the watch bring the
    /// same record.
    pub(super) fn set(&mut self, key: Key, record: Record, revision: Revision) -> bool {
        match (key, record) {
            (Key::Leader, Record::Leader(record)) => {
                let news = self.leader.as_ref().is_none_or(|known| known.revision < revision);
                if news {
                    self.leader = Some(Versioned { record, revision });
                }
                news
            }
            (Key::Controller(id), Record::Controller(record)) => {
                self.votes.joins(&id);
                newer(&mut self.controllers, id, record, revision)
            }
            (Key::Node(id), Record::Node(record)) => {
                let news = newer(&mut self.nodes, id.clone(), record, revision);
                if news {
                    self.votes.node(&id, Some(revision));
                }
                news
            }
            (Key::PortByAddress(at), Record::Port(record)) => {
                newer(&mut self.ports, at, Some(record), revision)
            }
            (Key::PortByUpstream(id), Record::Address(record)) => {
                newer(&mut self.addresses, id, Some(record), revision)
            }
            (Key::DrainAck(workload, id), Record::Ack(record)) => {
                newer(self.acks.entry(workload).or_default(), id, record, revision)
            }
            (Key::IdleVotes(id), Record::Votes(votes)) => self.votes.cast(&id, Cast::Whole(votes), revision),
            (Key::VoteShard(id, shard), Record::VoteShard(votes)) => {
                self.votes.cast(&id, Cast::Shard(shard, votes), revision)
            }
            (Key::VoteNodes(id), Record::VoteNodes(nodes)) => {
                self.votes.cast(&id, Cast::Nodes(nodes), revision)
            }
            _ => false,
        }
    }

    /// There is a record that cannot be read (rule L4), of another kind than a wake or drain. Who it is about counts, and
    /// what it says does not: a replica that has not voted, a node that nobody vouches for, an address in use.
    pub(super) fn set_unreadable(&mut self, key: Key, revision: Revision) -> bool {
        let stranger = |id| Replica {
            id,
            address: String::new(),
            version: String::new(),
            protocol_level: 0,
            unknown: Map::new(),
        };
        let record = match &key {
            Key::Leader => Record::Leader(stranger(ControllerId(String::new()))),
            Key::Controller(id) => Record::Controller(stranger(id.clone())),
            Key::Node(_) => {
                let (epoch, controller) = (NodeEpoch(String::new()), ControllerId(String::new()));
                Record::Node(NodeRecord { epoch, controller, pod: None, unknown: Map::new() })
            }
            Key::PortByAddress(at) => return newer(&mut self.ports, *at, None, revision),
            Key::PortByUpstream(id) => return newer(&mut self.addresses, id.clone(), None, revision),
            // What was said before is taken back.
            Key::DrainAck(..) | Key::IdleVotes(_) | Key::VoteShard(..) | Key::VoteNodes(_) => {
                return self.remove(&key, revision);
            }
            Key::Wake(_) | Key::Drain(_) => return false,
        };
        self.set(key, record, revision)
    }

    /// Which record forms every live replica can read (rule L4); `None` while there is no replica.
    pub(super) fn common_level(&self) -> Option<u32> {
        self.controllers.values().map(|replica| replica.record.protocol_level).min()
    }

    /// Takes out what was deleted at `revision`, unless it is known to have been written later. True if it was there.
    pub(super) fn remove(&mut self, key: &Key, revision: Revision) -> bool {
        match key {
            Key::Leader => self.leader.take_if(|known| known.revision <= revision).is_some(),
            Key::Controller(id) => {
                let gone = older(&mut self.controllers, id, revision);
                if gone {
                    self.votes.leaves(id);
                }
                gone
            }
            Key::Node(id) => {
                let gone = older(&mut self.nodes, id, revision);
                if gone {
                    self.votes.node(id, None);
                }
                gone
            }
            Key::PortByAddress(at) => older(&mut self.ports, at, revision),
            Key::PortByUpstream(id) => older(&mut self.addresses, id, revision),
            Key::DrainAck(workload, id) => {
                let Some(acks) = self.acks.get_mut(workload) else { return false };
                let gone = older(acks, id, revision);
                if acks.is_empty() {
                    self.acks.remove(workload);
                }
                gone
            }
            Key::IdleVotes(_) | Key::VoteShard(..) | Key::VoteNodes(_) => self.votes.withdraw(key, revision),
            Key::Wake(_) | Key::Drain(_) => false,
        }
    }

    /// The keys of everything known here.
    pub(super) fn keys(&self) -> Vec<Key> {
        let leader = self.leader.iter().map(|_| Key::Leader);
        let acks = self.acks.iter().flat_map(|(workload, acks)| {
            acks.keys().map(|controller| Key::DrainAck(workload.clone(), controller.clone()))
        });
        leader
            .chain(self.controllers.keys().cloned().map(Key::Controller))
            .chain(self.nodes.keys().cloned().map(Key::Node))
            .chain(self.ports.keys().copied().map(Key::PortByAddress))
            .chain(self.addresses.keys().cloned().map(Key::PortByUpstream))
            .chain(self.votes.keys())
            .chain(acks)
            .collect()
    }

    /// The activator address of an upstream.
    pub(super) fn address(&self, upstream: &UpstreamId) -> Option<ActivatorAddress> {
        self.addresses.get(upstream).and_then(|address| address.record)
    }

    /// The acknowledgements of a workload's drain, with the comparisons that hold as long as none changes.
    pub(super) fn acks_of(&self, workload: &WorkloadId) -> (BTreeMap<ControllerId, DrainAck>, Vec<Compare>) {
        let acks = self.acks.get(workload);
        let records = acks.into_iter().flatten().map(|(id, ack)| (id.clone(), ack.record.clone())).collect();
        let compares = acks
            .into_iter()
            .flatten()
            .map(|(id, ack)| Compare::WrittenAt(Key::DrainAck(workload.clone(), id.clone()), ack.revision))
            .collect();
        (records, compares)
    }
}

fn newer<K: Ord, T>(records: &mut BTreeMap<K, Versioned<T>>, key: K, record: T, revision: Revision) -> bool {
    let news = records.get(&key).is_none_or(|known| known.revision < revision);
    if news {
        records.insert(key, Versioned { record, revision });
    }
    news
}

fn older<K: Ord, T>(records: &mut BTreeMap<K, Versioned<T>>, key: &K, revision: Revision) -> bool {
    let gone = records.get(key).is_some_and(|known| known.revision <= revision);
    if gone {
        records.remove(key);
    }
    gone
}
