//! What an elector sees of the store beside its term: whether it is the one that was led on (rule L3).

use std::time::Instant;

use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::{Elector, LeaseOptions, Sight};
use crate::leader::history::{self, ACCEPT, Break};
use crate::leader::{Standing, observe_term};
use crate::model::Term;
use crate::store::StoreError;

impl Elector {
    /// Whether the term is still this replica's: whoever was paused may have taken it over before it noticed that the
    /// Lease is lost.
    pub(super) async fn look_at_term(&mut self) -> Result<(), StoreError> {
        match timeout(self.patience_with_store(), observe_term(self.candidate.store.as_ref())).await {
            Ok(Ok(current)) => self.election.term_is(current.map(Term)),
            Ok(Err(error @ StoreError::Restored { .. })) => return Err(error),
            // Rule L1 watches over this.
            Ok(Err(_)) | Err(_) => {}
        }
        Ok(())
    }

    /// Says whether the store answered.
    pub(super) async fn look_at_store(&mut self) -> Result<bool, StoreError> {
        match timeout(self.patience_with_store(), self.candidate.store.history()).await {
            Ok(Ok(found)) => {
                self.store_seen = Some(found);
                self.store_looked = self.now();
                return Ok(true);
            }
            Ok(Err(error @ StoreError::Restored { .. })) => return Err(error),
            Ok(Err(error)) => debug!(%error, "the store cannot be looked at"),
            Err(_) => debug!("the store cannot be looked at in time"),
        }
        Ok(false)
    }

    /// Rule L3. What is known of the store may be older than what the Lease says, so it is looked at anew before it is
    /// found to have gone back.
    pub(super) async fn judge_store(&mut self, sight: &Sight) -> Result<(), StoreError> {
        let led_on = sight.led_on();
        let behind = match (self.store_seen, led_on) {
            (None, _) => true,
            (Some(seen), led_on) => led_on.is_some_and(|led_on| !seen.continues(led_on)),
        };
        let due = behind || self.store_looked.until(self.now()) >= self.options.ttl / 10;
        let answered = due && self.look_at_store().await?;
        if behind && !answered {
            // Nothing is known that could be judged.
            return Ok(());
        }
        let Some(found) = self.store_seen else { return Ok(()) };
        let judged = history::judge(led_on, sight.accepted(), found);
        self.election.trust_store(judged.is_ok());
        match judged {
            Err(broken) => self.refuse(&broken).await,
            Ok(()) if matches!(self.told, Standing::Refuses(_)) => {
                info!("etcd is accepted: this replica stands for election again");
                self.tell(Standing::Follows).await;
            }
            Ok(()) => {}
        }
        Ok(())
    }

    async fn refuse(&mut self, broken: &Break) {
        let LeaseOptions { namespace, name, .. } = &self.options;
        let refusal = format!(
            "{broken}. Nothing new is woken, mapped or drained. Once every node that was connected before is connected again or \
             gone for good: kubectl -n {namespace} annotate --overwrite lease {name} {ACCEPT}={}",
            broken.acceptance()
        );
        if self.faults.is_news(&refusal, Instant::now()) {
            warn!("no replica leads: {refusal}");
        }
        self.tell(Standing::Refuses(refusal)).await;
    }
}
