//! Leading as the only replica there is.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Candidate, Standing, take_over};
use crate::store::StoreError;

/// Takes the term over once, whoever had it. A replica that starts later does the same, and then this one's writes are
/// refused.
pub(super) async fn lead(candidate: Candidate, stop: CancellationToken) -> Result<(), StoreError> {
    let mut pause = Duration::from_millis(50);
    loop {
        match take_over(candidate.store.as_ref(), &candidate.me).await {
            Ok(Some(term)) => {
                candidate.tell(Standing::Leads(term)).await;
                stop.cancelled().await;
                return Ok(());
            }
            Ok(None) => {}
            Err(error @ StoreError::Restored { .. }) => return Err(error),
            Err(error) => warn!(%error, "the term cannot be taken over yet"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
        }
    }
}
