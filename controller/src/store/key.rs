//! Where records lie. The text form is what etcd has, below the cluster's prefix.

use std::fmt;
use std::str::FromStr;

use zenvoy_shared::id::{ActivatorAddress, ControllerId, NodeId, UpstreamId, WorkloadId};

use crate::model::Shard;

/// The place of one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The leader of this term.
    Leader,
    /// A live replica.
    Controller(ControllerId),
    /// A node that counts.
    Node(NodeId),
    /// What an activator address is used for.
    PortByAddress(ActivatorAddress),
    /// The activator address of an upstream.
    PortByUpstream(UpstreamId),
    /// A workload's wake.
    Wake(WorkloadId),
    /// A workload's drain.
    Drain(WorkloadId),
    /// A replica's word for a workload's drain.
    DrainAck(WorkloadId, ControllerId),
    /// A replica's idle votes, all in one.
    IdleVotes(ControllerId),
    /// A replica's idle votes on the workloads of a shard.
    VoteShard(ControllerId, Shard),
    /// The nodes that a replica's idle votes speak for.
    VoteNodes(ControllerId),
    /// What the nodes of a replica refuse.
    Refusals(ControllerId),
}

/// All keys of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Room {
    /// Everything.
    All,
    /// The leader.
    Leader,
    /// The live replicas.
    Controllers,
    /// The nodes that count.
    Nodes,
    /// Port mappings, by address and by upstream.
    Ports,
    /// Wakes.
    Wakes,
    /// Drains.
    Drains,
    /// Acknowledgements of drains.
    DrainAcks,
    /// Idle votes.
    IdleVotes,
    /// What nodes refuse.
    Refusals,
}

impl Room {
    /// What all its keys begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Leader => "leader",
            Self::Controllers => "controllers/",
            Self::Nodes => "nodes/",
            Self::Ports => "ports/",
            Self::Wakes => "wakes/",
            Self::Drains => "drains/",
            Self::DrainAcks => "drain-acks/",
            Self::IdleVotes => "idle-votes/",
            Self::Refusals => "refusals/",
        }
    }

    /// Whether `key` lies in it.
    pub fn holds(self, key: &Key) -> bool {
        self == Self::All || self == key.room()
    }
}

impl Key {
    /// The room it lies in.
    pub fn room(&self) -> Room {
        match self {
            Self::Leader => Room::Leader,
            Self::Controller(_) => Room::Controllers,
            Self::Node(_) => Room::Nodes,
            Self::PortByAddress(_) | Self::PortByUpstream(_) => Room::Ports,
            Self::Wake(_) => Room::Wakes,
            Self::Drain(_) => Room::Drains,
            Self::DrainAck(..) => Room::DrainAcks,
            Self::IdleVotes(_) | Self::VoteShard(..) | Self::VoteNodes(_) => Room::IdleVotes,
            Self::Refusals(_) => Room::Refusals,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.room().prefix())?;
        match self {
            Self::Leader => Ok(()),
            Self::Controller(id) | Self::IdleVotes(id) | Self::Refusals(id) => id.fmt(f),
            Self::Node(id) => id.fmt(f),
            Self::PortByAddress(address) => write!(f, "by-address/{address}"),
            Self::PortByUpstream(upstream) => write!(f, "by-upstream/{upstream}"),
            Self::Wake(workload) | Self::Drain(workload) => workload.fmt(f),
            Self::DrainAck(workload, id) => write!(f, "{workload}/{id}"),
            Self::VoteShard(id, shard) => write!(f, "{id}/{shard}"),
            Self::VoteNodes(id) => write!(f, "{id}/nodes"),
        }
    }
}

/// A key that this version of zenvoy does not write.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store holds an unknown key {0:?} under zenvoy's prefix")]
pub struct UnknownKey(String);

impl FromStr for Key {
    type Err = UnknownKey;

    fn from_str(text: &str) -> Result<Self, UnknownKey> {
        parse(text).ok_or_else(|| UnknownKey(text.into()))
    }
}

fn parse(text: &str) -> Option<Key> {
    if text == Room::Leader.prefix() {
        return Some(Key::Leader);
    }
    let (room, rest) = text.split_once('/')?;
    if rest.is_empty() {
        return None;
    }
    match room {
        "controllers" => Some(Key::Controller(ControllerId(rest.into()))),
        "nodes" => Some(Key::Node(NodeId(rest.into()))),
        "wakes" => rest.parse().ok().map(Key::Wake),
        "drains" => rest.parse().ok().map(Key::Drain),
        "idle-votes" => match rest.split_once('/') {
            None => Some(Key::IdleVotes(ControllerId(rest.into()))),
            Some((controller, "nodes")) => Some(Key::VoteNodes(ControllerId(controller.into()))),
            Some((controller, shard)) => {
                Some(Key::VoteShard(ControllerId(controller.into()), shard.parse().ok()?))
            }
        },
        "refusals" => Some(Key::Refusals(ControllerId(rest.into()))),
        "drain-acks" => {
            let (workload, controller) = rest.rsplit_once('/')?;
            Some(Key::DrainAck(workload.parse().ok()?, ControllerId(controller.into())))
        }
        "ports" => match rest.split_once('/')? {
            ("by-address", address) => address.parse().ok().map(Key::PortByAddress),
            ("by-upstream", upstream) => upstream.parse().ok().map(Key::PortByUpstream),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reads_back_what_it_prints_and_lies_in_its_room() {
        let workload = WorkloadId::new("shop", "Deployment.apps", "cart");
        let controller = ControllerId("01J".into());
        let keys = [
            Key::Leader,
            Key::Controller(controller.clone()),
            Key::Node(NodeId("node-1".into())),
            Key::PortByAddress("127.0.0.1:20000".parse().unwrap()),
            Key::PortByUpstream(UpstreamId::new("shop", "cart", 80)),
            Key::Wake(workload.clone()),
            Key::Drain(workload.clone()),
            Key::DrainAck(workload, controller.clone()),
            Key::IdleVotes(controller.clone()),
            Key::VoteShard(
                controller.clone(),
                Shard::of(&WorkloadId::new("shop", "Deployment.apps", "cart")),
            ),
            Key::VoteNodes(controller.clone()),
            Key::Refusals(controller),
        ];
        for key in keys {
            let text = key.to_string();
            assert_eq!(text.parse::<Key>().unwrap(), key);
            assert!(text.starts_with(key.room().prefix()), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        for text in
            ["", "leaders", "nodes/", "ports/by-name/x", "wakes/cart", "drain-acks/a/b/c", "idle-votes/a/64"]
        {
            assert_eq!(text.parse::<Key>(), Err(UnknownKey(text.into())));
        }
    }
}
