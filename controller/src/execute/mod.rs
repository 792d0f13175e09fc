//! Carries out what was decided. In: a job, one at a time for each workload; out: how it ended. Irrevocable steps read by
//! quorum what they rely on (rule G1) and rest on comparisons, never on the view that asked for them.

mod drain;
mod job;
mod node;
mod wake;

pub use job::{Commit, Decided, Gone, Job, JobDone, Outcome, Subject};

use std::sync::Arc;

use crate::source::Scaler;
use crate::store::{Entry, Store, StoreError, Txn, TxnOutcome, WatchEvent, Write};

/// Has what jobs need. Clones share it.
#[derive(Clone)]
pub struct Executor {
    store: Arc<dyn Store>,
    scaler: Arc<dyn Scaler>,
}

impl Executor {
    /// On this store and this scaler.
    pub fn new(store: Arc<dyn Store>, scaler: Arc<dyn Scaler>) -> Self {
        Self { store, scaler }
    }

    /// Carries out `job`. Ends within the deadlines of the store's and the scaler's calls.
    pub async fn run(&self, job: Job) -> JobDone {
        match job {
            Job::Write { subject, txn } => {
                let writes = txn.writes.clone();
                let answer = match &subject {
                    Subject::Demand(_) => self.store.urgent_txn(txn).await,
                    _ => self.store.txn(txn).await,
                };
                let (outcome, written) = answered(answer, writes);
                JobDone { subject, outcome, written }
            }
            Job::Register { node, record } => {
                let (outcome, written) = self.register(node.clone(), record).await;
                JobDone { subject: Subject::Node(node), outcome, written }
            }
            Job::ProveGone(gone) => {
                let subject = Subject::Gone(gone.node.clone());
                let (outcome, written) = self.prove_gone(gone).await;
                JobDone { subject, outcome, written }
            }
            Job::WakeAlone { workload, write } => {
                let (outcome, written) = self.scale(&workload, &write).await;
                JobDone { subject: Subject::Demand(workload), outcome, written }
            }
            Job::Decide { workload, decided } => {
                let (outcome, written) = match decided {
                    Decided::ScaleUp(write) => self.scale(&workload, &write).await,
                    Decided::ScaleDown(down) => self.scale_down(&workload, down).await,
                    Decided::Commit(commit) => self.commit(&workload, commit).await,
                    Decided::Finish(finish) => self.finish(&workload, finish).await,
                };
                JobDone { subject: Subject::Workload(workload), outcome, written }
            }
        }
    }

    /// One transaction.
    async fn write(&self, txn: Txn) -> (Outcome, Vec<WatchEvent>) {
        let writes = txn.writes.clone();
        answered(self.store.txn(txn).await, writes)
    }
}

/// How a transaction ended; what it wrote comes back as steps of the store, so that nobody waits for the watch to bring them.
fn answered(answer: Result<TxnOutcome, StoreError>, writes: Vec<Write>) -> (Outcome, Vec<WatchEvent>) {
    match answer {
        Ok(TxnOutcome::Written(revision)) => {
            let steps = writes.into_iter().map(|write| match write {
                Write::Put(key, value, _) => WatchEvent::Put(Entry { key, value, mod_revision: revision }),
                Write::Delete(key) => WatchEvent::Deleted(key, revision),
            });
            (Outcome::Written(revision), steps.collect())
        }
        Ok(TxnOutcome::Refused(revision)) => (Outcome::Refused(revision), Vec::new()),
        Err(StoreError::LeaseEnded(_)) => (Outcome::LeaseEnded, Vec::new()),
        Err(error) => (Outcome::StoreFailed(error.to_string()), Vec::new()),
    }
}
