//! Registrations of nodes, and the proof that one is gone (rule N4).

use zenvoy_shared::id::NodeId;

use super::{Executor, Gone, Outcome};
use crate::model::NodeRecord;
use crate::store::{Key, Txn, WatchEvent, Write, encode};

impl Executor {
    /// Writes a node's record. Only a Pod that was seen may later prove by its absence that the node is gone: a mistaken
    /// name would prove it at once.
    pub(super) async fn register(&self, node: NodeId, mut record: NodeRecord) -> (Outcome, Vec<WatchEvent>) {
        if let Some(pod) = &record.pod {
            let seen = self.scaler.pod_exists(pod).await;
            if !matches!(seen, Ok(true)) {
                let reason =
                    seen.err().map_or_else(|| "there is no such Pod".into(), |error| error.to_string());
                tracing::warn!(%node, %pod, reason, "if this node dies without a word, an operator must forget it");
                record.pod = None;
            }
        }
        let writes = vec![Write::Put(Key::Node(node), encode(&record), None)];
        self.write(Txn { writes, ..Txn::default() }).await
    }

    /// Takes the node out of those that count, if the Pod that it lived in is gone.
    #[tracing::instrument(name = "node.gone", skip_all, fields(node = %gone.node, pod = %gone.pod))]
    pub(super) async fn prove_gone(&self, gone: Gone) -> (Outcome, Vec<WatchEvent>) {
        match self.scaler.pod_exists(&gone.pod).await {
            Ok(true) => (Outcome::NotYet, Vec::new()),
            Ok(false) => {
                tracing::info!("the Pod of an unreachable node is deleted: the node no longer counts");
                let writes = vec![Write::Delete(Key::Node(gone.node))];
                self.write(Txn { compares: gone.compares, writes }).await
            }
            Err(error) => {
                tracing::warn!(%error, "whether the node is gone is not known yet");
                (Outcome::NotYet, Vec::new())
            }
        }
    }
}
