//! What an operator sees of nodes and does with them, past any controller. In: the store; out: the nodes that count, and one
//! fewer of them (rule N4).

use std::collections::BTreeSet;

use zenvoy_shared::id::{ControllerId, NodeId};

use crate::model::{NodeRecord, Revision};
use crate::store::{Compare, Key, Room, Store, StoreError, Txn, TxnOutcome, Write};

/// A node that counts: no workload is scaled down before it has proven that it is quiet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNode {
    /// Which.
    pub id: NodeId,
    /// What its controller wrote when its session opened; `None`: in a form of a later version.
    pub record: Option<NodeRecord>,
    /// Whether that controller lives. Without it the node is between sessions, or gone.
    pub served: bool,
    revision: Revision,
}

/// A node was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// There is none of that name.
    #[error("node {0} is not known; `zenvoy node list` shows those that are")]
    Unknown(NodeId),
    /// It would come back with its next word, and its traffic would not be waited for until then.
    #[error(
        "controller {controller} still serves node {node}; end its proxy and Envoy first, or give --force when you know that they are gone"
    )]
    Served {
        /// Which.
        node: NodeId,
        /// By whom.
        controller: ControllerId,
    },
    /// It opened a session in this very moment.
    #[error("node {0} has just opened a session; it is not gone")]
    Alive(NodeId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All nodes that count, by name.
pub async fn list(store: &dyn Store) -> Result<Vec<KnownNode>, StoreError> {
    let live: BTreeSet<ControllerId> = store
        .read(Room::Controllers)
        .await?
        .entries
        .into_iter()
        .filter_map(|entry| match entry.key {
            Key::Controller(id) => Some(id),
            _ => None,
        })
        .collect();
    let entries = store.read(Room::Nodes).await?.entries;
    let nodes = entries.into_iter().filter_map(|entry| {
        let Key::Node(id) = entry.key else { return None };
        let record: Option<NodeRecord> = serde_json::from_slice(&entry.value).ok();
        let served = record.as_ref().is_some_and(|record| live.contains(&record.controller));
        Some(KnownNode { id, record, served, revision: entry.mod_revision })
    });
    Ok(nodes.collect())
}

/// Takes a node out of those that count. The caller answers for its traffic being gone; `even_if_served` also when a
/// live controller had its last session.
pub async fn forget(store: &dyn Store, id: &NodeId, even_if_served: bool) -> Result<(), ForgetError> {
    let known = list(store).await?.into_iter().find(|node| node.id == *id);
    let Some(node) = known else { return Err(ForgetError::Unknown(id.clone())) };
    if let Some(record) = node.record.filter(|_| node.served && !even_if_served) {
        return Err(ForgetError::Served { node: id.clone(), controller: record.controller });
    }
    let key = Key::Node(id.clone());
    let txn = Txn {
        compares: vec![Compare::WrittenAt(key.clone(), node.revision)],
        writes: vec![Write::Delete(key)],
    };
    match store.txn(txn).await? {
        TxnOutcome::Written(_) => Ok(()),
        TxnOutcome::Refused(_) if list(store).await?.iter().any(|node| node.id == *id) => {
            Err(ForgetError::Alive(id.clone()))
        }
        // By somebody else, or by this very transaction, which was not answered and sent again.
        TxnOutcome::Refused(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, encode};
    use zenvoy_shared::id::NodeEpoch;

    async fn with_node(controller_lives: bool) -> MemoryStore {
        let store = MemoryStore::new();
        let controller = ControllerId("01J".into());
        let record = NodeRecord {
            epoch: NodeEpoch("1".into()),
            controller: controller.clone(),
            pod: None,
            unknown: serde_json::Map::new(),
        };
        let mut writes = vec![Write::Put(Key::Node(NodeId("node-1".into())), encode(&record), None)];
        if controller_lives {
            writes.push(Write::Put(Key::Controller(controller), encode(&serde_json::json!({})), None));
        }
        store.txn(Txn { writes, ..Txn::default() }).await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_node_between_sessions_is_forgotten() {
        let store = with_node(false).await;
        forget(&store, &NodeId("node-1".into()), false).await.unwrap();
        assert!(list(&store).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_served_node_is_forgotten_only_by_force_and_an_unknown_one_is_named() {
        let store = with_node(true).await;
        let node = NodeId("node-1".into());
        assert!(matches!(forget(&store, &node, false).await, Err(ForgetError::Served { .. })));
        forget(&store, &node, true).await.unwrap();
        assert!(matches!(forget(&store, &node, true).await, Err(ForgetError::Unknown(_))));
    }
}
