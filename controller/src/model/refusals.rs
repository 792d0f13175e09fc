//! What nodes refuse of what they are served, as replicas tell each other.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zenvoy_shared::id::NodeId;

/// What the nodes with a session at a replica refuse: value of `refusals/<controller>`, one compact record; absent while
/// they refuse nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// What, by whom.
    pub refused: BTreeSet<Refusal>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A resource that a node does not take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// The type of the resource.
    pub type_url: String,
    /// Its name.
    pub name: String,
    /// The node.
    pub node: NodeId,
    /// Its Envoy's words, cut.
    pub message: String,
}
