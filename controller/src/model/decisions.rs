//! Decisions: the records that replicas share through the store. Their JSON forms keep unknown fields (rule L4).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use zenvoy_shared::id::{ControllerId, DrainId, Episode, NodeEpoch, Uid, UpstreamId};

use super::Problem;

/// A revision of the store: total order over all writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub i64);

/// The leader's fencing token: the `mod_revision` of the `leader` key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub Revision);

/// Who a replica is: value of `leader` and of `controllers/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// This incarnation.
    pub id: ControllerId,
    /// Where its sessions and xDS are reached.
    pub address: String,
    /// Build version.
    pub version: String,
    /// Which record forms it can read (rule L4).
    pub protocol_level: u32,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A node that counts until there is proof that it is gone (rule N4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The start of the node that is known.
    pub epoch: NodeEpoch,
    /// The replica that has its session.
    pub controller: ControllerId,
    /// The Pod it lives in, if that object was seen when the session opened: once it is gone, so is the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodReference>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// One Pod object; another of the same name has another UID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: Uid,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl std::fmt::Display for PodReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What an activator address is used for: value of `ports/by-address/<ip:port>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum PortState {
    /// Stands in for an upstream.
    Mapped {
        /// Which.
        upstream: UpstreamId,
        /// Fields of later versions.
        #[serde(flatten)]
        unknown: Map<String, Value>,
    },
    /// Released, and not to be used for a while. Who allocates counts that on its own clock.
    Quarantined {
        /// When it ends by the clock of who wrote this, milliseconds since the Unix epoch: for people.
        until_unix_ms: u64,
        /// Fields of later versions.
        #[serde(flatten)]
        unknown: Map<String, Value>,
    },
}

/// One workload's wake: value of `wakes/<workload>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeRecord {
    /// The workload object it is about; another UID voids it (rule G4).
    pub uid: Uid,
    /// This wake.
    pub episode: Episode,
    /// The upstream that was demanded first.
    pub upstream: UpstreamId,
    /// W3C trace context of the first held connection.
    #[serde(default)]
    pub traceparent: String,
    /// How far it is.
    pub state: WakeState,
    /// When it was opened, milliseconds since the Unix epoch.
    pub opened_unix_ms: u64,
    /// Scale writes tried.
    #[serde(default)]
    pub attempts: u32,
    /// Why the last try failed; held clients are told while it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<RecordedProblem>,
    /// Ready endpoints at retirement, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
    /// The same for replicas whose view of the cluster is older (rule W2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A [`Problem`] in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedProblem {
    /// As [`Problem::reason`].
    pub reason: String,
    /// As [`Problem::message`].
    pub message: String,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl From<Problem> for RecordedProblem {
    fn from(Problem { reason, message }: Problem) -> Self {
        Self { reason, message, unknown: Map::new() }
    }
}

impl RecordedProblem {
    /// What is said of it.
    pub fn problem(&self) -> Problem {
        Problem { reason: self.reason.clone(), message: self.message.clone() }
    }
}

/// What served when a wake was retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The generation of the object that had asked for these pods: who knows an earlier one has not seen them.
    pub generation: i64,
    /// The first of the pods behind each upstream.
    pub pods: BTreeMap<UpstreamId, Vec<ReadyPod>>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A pod that was ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyPod {
    /// Pod address and container port.
    pub address: SocketAddr,
    /// The pod's UID, if the source knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Uid>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// created -> scaled -> retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WakeState {
    /// Demanded.
    Created,
    /// The scale write was answered.
    Scaled,
    /// A ready endpoint was seen: over.
    Retired,
}

impl WakeRecord {
    /// Whether the wake still goes on.
    pub fn is_open(&self) -> bool {
        self.state != WakeState::Retired
    }
}

/// One workload's drain: value of `drains/<workload>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// The workload object it is about; another UID voids it (rule G4).
    pub uid: Uid,
    /// This drain.
    pub id: DrainId,
    /// The upstreams on the workload when it was offered (rule D1).
    pub upstreams: Vec<UpstreamId>,
    /// How far it is.
    #[serde(flatten)]
    pub state: DrainState,
    /// When it was offered, milliseconds since the Unix epoch.
    pub offered_unix_ms: u64,
    /// Replicas before the drain: the next wake asks for as many (rule W3).
    pub replicas: u32,
    /// Fields of later versions.
    #[serde(flatten, deserialize_with = "beside_the_state")]
    pub unknown: Map<String, Value>,
}

/// Two flattened fields see the same map, and the state's own fields are not unknown.
fn beside_the_state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let mut unknown = Map::deserialize(deserializer)?;
    for known in ["state", "reason", "pinned", "condemned"] {
        unknown.remove(known);
    }
    Ok(unknown)
}

/// offered -> committed -> done, or cancelled before the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum DrainState {
    /// Traffic moves to the activator; any connection cancels.
    Offered,
    /// Withdrawn before the commit.
    Cancelled {
        /// Why, for people.
        reason: String,
    },
    /// Irrevocable (rule D10).
    Committed {
        /// What the scale-down patch carries (rules D6, D7).
        pinned: PinnedWorkload,
        /// Pods never to be used again (rule D9).
        condemned: Vec<Uid>,
    },
    /// Replicas were 0 and no pod lived (rule D8).
    Done {
        /// Pods never to be used again (rule D9).
        condemned: Vec<Uid>,
    },
}

/// The exact object a committed drain scales down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedWorkload {
    /// As quorum-read at the commit.
    pub resource_version: String,
    /// As quorum-read at the commit.
    pub generation: i64,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A replica's word that nodes are quiet: value of `drain-acks/<workload>/<controller>` (rule D4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainAck {
    /// For this drain only.
    pub drain: DrainId,
    /// Nodes vouched for, each with the `mod_revision` of its `nodes/` key.
    pub nodes: BTreeMap<String, Revision>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::super::{IdleVotes, VoteNodes, VoteShard};
    use super::*;

    /// What is read and written again is what was there.
    fn kept<T: Serialize + DeserializeOwned>(record: &Value) {
        let read: T = serde_json::from_value(record.clone()).expect("a record");
        let text = serde_json::to_string(&read).expect("JSON");
        assert_eq!(text.matches("\"state\"").count(), usize::from(record.get("state").is_some()), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), *record);
    }

    #[test]
    fn fields_of_later_versions_are_kept_in_every_record() {
        let later = json!({ "x": [1] });
        kept::<Replica>(
            &json!({ "id": "a", "address": "", "version": "9", "protocol_level": 9, "later": later }),
        );
        let pod = json!({ "namespace": "n", "name": "p", "uid": "u", "later": later });
        kept::<NodeRecord>(&json!({ "epoch": "e", "controller": "a", "pod": pod, "later": later }));
        kept::<PortState>(&json!({ "state": "mapped", "upstream": "shop/cart:80", "later": later }));
        kept::<PortState>(&json!({ "state": "quarantined", "until_unix_ms": 1, "later": later }));
        kept::<DrainAck>(&json!({ "drain": "d", "nodes": { "n": 1 }, "later": later }));
        kept::<IdleVotes>(&json!({ "workloads": [], "nodes": {}, "later": later }));
        kept::<VoteShard>(&json!({ "workloads": [], "later": later }));
        kept::<VoteNodes>(&json!({ "nodes": {}, "later": later }));
        kept::<WakeRecord>(&json!({
            "uid": "u", "episode": "e", "upstream": "shop/cart:80", "traceparent": "", "state": "created",
            "opened_unix_ms": 1, "attempts": 0, "later": later,
            "last_error": { "reason": "r", "message": "m", "later": later },
            "ready": {
                "generation": 2, "later": later,
                "pods": { "shop/cart:80": [{ "address": "10.42.0.1:80", "pod": "p", "later": later }] },
            },
        }));
        let pinned = json!({ "resource_version": "1", "generation": 1, "later": later });
        for state in [
            json!({ "state": "offered" }),
            json!({ "state": "cancelled", "reason": "r" }),
            json!({ "state": "committed", "pinned": pinned, "condemned": ["p"] }),
            json!({ "state": "done", "condemned": ["p"] }),
        ] {
            let mut record = json!({
                "uid": "u", "id": "d", "upstreams": ["shop/cart:80"], "offered_unix_ms": 1, "replicas": 1, "later": later,
            });
            record.as_object_mut().expect("an object").extend(state.as_object().expect("an object").clone());
            kept::<DrainRecord>(&record);
        }
    }
}
