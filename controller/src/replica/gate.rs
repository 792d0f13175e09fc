//! Which nodes may be served xDS, and with which routes: those that were welcomed (rules N2, N3). Others wait.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tonic::Status;
use zenvoy_shared::id::NodeId;
use zenvoy_xds::server::{Admit, Group, Peer};

use super::{Routes, SessionId};
use crate::port::Access;

/// An Envoy whose proxy has not opened its session by then is told so.
const PATIENCE: Duration = Duration::from_secs(30);

/// What nodes with activator routes only are served.
pub(super) fn relayed() -> Group {
    Group::new("relayed")
}

/// The welcomed nodes.
#[derive(Debug)]
pub(super) struct Gate {
    access: Access,
    open: watch::Sender<BTreeMap<NodeId, (SessionId, Routes)>>,
}

impl Gate {
    pub(super) fn new(access: Access) -> Self {
        Self { access, open: watch::Sender::default() }
    }

    /// The node may be served as long as that session stands.
    pub(super) fn open(&self, node: NodeId, session: SessionId, routes: Routes) {
        self.open.send_modify(|open| {
            open.insert(node, (session, routes));
        });
    }

    /// The session is gone.
    pub(super) fn close(&self, node: &NodeId, session: SessionId) {
        self.open.send_if_modified(|open| {
            let closes = open.get(node).is_some_and(|(known, _)| *known == session);
            if closes {
                open.remove(node);
            }
            closes
        });
    }
}

#[tonic::async_trait]
impl Admit for Gate {
    async fn admit(&self, peer: &Peer) -> Result<Group, Status> {
        let node = NodeId(peer.node.id.clone());
        self.access.check(&node, peer.certificates.as_ref().map(|chain| chain.as_slice()))?;
        let mut open = self.open.subscribe();
        let opened = tokio::time::timeout(PATIENCE, open.wait_for(|open| open.contains_key(&node))).await;
        if let Ok(Ok(open)) = opened
            && let Some((_, routes)) = open.get(&node)
        {
            return Ok(match routes {
                Routes::Direct => Group::default(),
                Routes::Activator => relayed(),
            });
        }
        Err(Status::failed_precondition(format!(
            "node {node:?} has no session with this controller: Envoy must reach ADS through the zenvoy proxy beside it \
             (zenvoy bootstrap prints such a configuration)",
            node = node.0
        )))
    }
}
