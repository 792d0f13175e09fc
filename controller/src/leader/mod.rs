//! Who may write decisions. In: the store; out: the term, whose revision guards every write of the leader (section 6).

mod alone;
mod election;
mod history;
mod lease;
mod lock;
mod term;

pub use election::{Election, Next, Observed, Written};
pub use lease::LeaseOptions;
pub use term::{claim, observe as observe_term, take_over};

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::{Replica, Term};
use crate::replica::Event;
use crate::store::{Store, StoreError};

/// How replicas agree on a leader.
#[derive(Clone)]
pub enum Electing {
    /// There is one replica only.
    Alone,
    /// By a Lease of Kubernetes.
    Lease(LeaseOptions),
}

/// How a replica stands in the election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It leads, in this term.
    Leads(Term),
    /// It does not, or not yet.
    Follows,
    /// It must not, until a person helps: why, and what to do.
    Refuses(String),
}

/// A replica that stands for election, and whom it tells.
pub struct Candidate {
    /// Where the term lies.
    pub store: Arc<dyn Store>,
    /// Who stands.
    pub me: Replica,
    /// Before anything was heard of the store.
    pub started: Instant,
    /// When its lease in the store was last prolonged.
    pub heard: watch::Receiver<Option<Instant>>,
    /// Is told of its term.
    pub events: mpsc::Sender<Event>,
    /// Is told how it stands.
    pub standing: watch::Sender<Standing>,
}

impl Candidate {
    /// Stands for election until `stop`.
    ///
    /// # Errors
    /// [`StoreError::Restored`]: what this replica knows of the store is void.
    pub async fn run(self, electing: Electing, stop: CancellationToken) -> Result<(), StoreError> {
        match electing {
            Electing::Alone => alone::lead(self, stop).await,
            Electing::Lease(options) => lease::elect(options, self, stop).await,
        }
    }

    async fn tell(&self, standing: Standing) {
        let term = |standing: &Standing| match standing {
            Standing::Leads(term) => Some(*term),
            Standing::Follows | Standing::Refuses(_) => None,
        };
        let before = self.standing.send_replace(standing.clone());
        if term(&before) != term(&standing) {
            // A core that has ended needs no word.
            let _ = self.events.send(Event::Leads(term(&standing))).await;
        }
    }
}
