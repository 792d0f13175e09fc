//! The election's rim: a `coordination.k8s.io` Lease, and the term in the store. In: answers of the API server and the
//! store; out: [`Event::Leads`](crate::replica::Event::Leads).

mod store;

use std::time::Duration;

use kube::Client;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use zenvoy_shared::fault::{Faults, causes};

use super::election::{Election, Next, Written};
use super::lock::{Lock, LockError, Sight};
use super::{Candidate, Standing, claim, observe_term};
use crate::session::Moment;
use crate::store::{History, StoreError};

/// Where the replicas of one cluster meet.
#[derive(Clone)]
pub struct LeaseOptions {
    /// Reaches the API server.
    pub client: Client,
    /// The Lease's namespace: the controller's own.
    pub namespace: String,
    /// The Lease's name; one for each `--cluster`.
    pub name: String,
    /// How long a holder may be silent, and as long lives the replica's lease in the store; at least 3 s. What exceeds
    /// whole seconds is left out, as a Lease cannot say it.
    pub ttl: Duration,
}

const SILENT_API: &str = "the API server does not answer in time";
const SILENT_STORE: &str = "the store does not answer in time";
/// Between two steps, so that answers that contradict each other are not asked for at the speed of light.
const BREATH: Duration = Duration::from_millis(20);

struct Elector {
    options: LeaseOptions,
    lock: Lock,
    candidate: Candidate,
    election: Election,
    /// The Lease as it was last seen.
    sight: Sight,
    /// The store as it was last seen, and when it was looked at.
    store_seen: Option<History>,
    store_looked: Moment,
    told: Standing,
    faults: Faults,
}

/// Takes part in the election until `stop`, and gives the Lease back then, so that a successor need not wait.
///
/// # Errors
/// [`StoreError::Restored`]: what this replica knows of the store is void.
pub(super) async fn elect(
    options: LeaseOptions,
    candidate: Candidate,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let options = LeaseOptions { ttl: Duration::from_secs(options.ttl.as_secs().max(1)), ..options };
    let holder = candidate.me.id.to_string();
    let mut elector = Elector {
        lock: Lock::new(options.clone(), holder.clone()),
        election: Election::new(holder, options.ttl),
        options,
        candidate,
        sight: Sight::default(),
        store_seen: None,
        store_looked: Moment::default(),
        told: Standing::Follows,
        faults: Faults::default(),
    };
    let result = tokio::select! {
        result = elector.run() => result,
        () = stop.cancelled() => Ok(()),
    };
    elector.tell(Standing::Follows).await;
    if elector.election.holds() {
        elector.release().await;
    }
    result
}

impl Elector {
    /// Ends when the task that keeps the lease in the store has ended.
    async fn run(&mut self) -> Result<(), StoreError> {
        loop {
            let heard = *self.candidate.heard.borrow_and_update();
            if let Some(heard) = heard {
                self.election.heard_store(self.moment(heard));
            }
            let next = self.election.next(self.now());
            self.tell_term().await;
            let wait = self.act(next).await?;
            self.tell_term().await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = self.candidate.heard.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    fn moment(&self, at: Instant) -> Moment {
        Moment(at.duration_since(self.candidate.started))
    }

    fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    fn patience(&self) -> Duration {
        self.election.patience(self.now())
    }

    /// Beside the Lease nothing is waited for so long that a renewal came late.
    fn patience_with_store(&self) -> Duration {
        self.patience().min(self.options.ttl / 10)
    }

    async fn tell_term(&mut self) {
        match (self.election.term(self.now()), &self.told) {
            (Some(term), _) => self.tell(Standing::Leads(term)).await,
            (None, Standing::Leads(_)) => self.tell(Standing::Follows).await,
            (None, Standing::Follows | Standing::Refuses(_)) => {}
        }
    }

    /// Tells everybody how this replica stands, when that changed.
    async fn tell(&mut self, standing: Standing) {
        if self.told != standing {
            self.told = standing.clone();
            self.candidate.tell(standing).await;
        }
    }

    /// Does what is next; returns how long to wait before looking again.
    async fn act(&mut self, next: Next) -> Result<Duration, StoreError> {
        match next {
            Next::WaitUntil(until) => return Ok(self.now().until(until)),
            Next::Observe => self.observe().await?,
            Next::Acquire => self.hold().await,
            Next::Renew => {
                self.hold().await;
                self.look_at_store().await?;
                self.look_at_term().await?;
            }
            Next::TakeTerm => self.take_term().await?,
            Next::Release => {
                self.tell_term().await;
                self.release().await;
                self.election.released();
            }
        }
        Ok(BREATH)
    }

    /// Something is tried again; it is told now and then.
    fn failed(&mut self, what: &str, fault: &str) {
        if self.faults.is_news(fault, std::time::Instant::now()) {
            warn!(lease = self.options.name, "{what}: {fault}; it is tried again");
        } else {
            debug!(lease = self.options.name, fault, "{what}");
        }
        let now = self.now();
        self.election.failed(now);
    }

    /// Reads the Lease by quorum, and judges the store by it.
    async fn read(&mut self) -> Result<Option<Sight>, StoreError> {
        let read = timeout(self.patience(), self.lock.read()).await;
        match read.unwrap_or_else(|_| Err(SILENT_API.to_owned())) {
            Ok(sight) => {
                self.judge_store(&sight).await?;
                Ok(Some(sight))
            }
            Err(error) => {
                self.failed("the Lease cannot be read", &error);
                Ok(None)
            }
        }
    }

    async fn observe(&mut self) -> Result<(), StoreError> {
        if let Some(sight) = self.read().await? {
            let now = self.now();
            self.election.observed(sight.observed(), now);
            self.sight = sight;
        }
        Ok(())
    }

    async fn hold(&mut self) {
        let asked = self.now();
        let held = timeout(self.patience(), self.lock.hold(&self.sight, self.store_seen)).await;
        let written = match held {
            Ok(Ok(sight)) if sight.holder() == self.candidate.me.id.0 => {
                self.sight = sight;
                Written::Held
            }
            Ok(Ok(_) | Err(LockError::Conflict)) => Written::Conflict,
            Ok(Err(LockError::Failed(error))) => {
                self.failed("the Lease was not written", &error);
                Written::Unknown
            }
            Err(_) => {
                self.failed("the Lease was not written", SILENT_API);
                Written::Unknown
            }
        };
        let now = self.now();
        self.election.wrote(written, asked, now);
    }

    /// The term is observed first and the Lease read again after it. Whoever is paused between the two and the claim
    /// finds that its successor has taken over: the claim is compared with what was observed.
    async fn take_term(&mut self) -> Result<(), StoreError> {
        let store = self.candidate.store.clone();
        let observed = match timeout(self.patience(), observe_term(store.as_ref())).await {
            Ok(Ok(observed)) => observed,
            failed => return self.term_failed(failed),
        };
        let Some(sight) = self.read().await? else { return Ok(()) };
        let now = self.now();
        self.election.observed(sight.observed(), now);
        self.sight = sight;
        if self.election.next(now) != Next::TakeTerm {
            return Ok(());
        }
        match timeout(self.patience(), claim(store.as_ref(), &self.candidate.me, observed)).await {
            Ok(Ok(term)) => {
                self.election.took_term(term);
                Ok(())
            }
            failed => self.term_failed(failed),
        }
    }

    fn term_failed<T>(
        &mut self,
        failed: Result<Result<T, StoreError>, tokio::time::error::Elapsed>,
    ) -> Result<(), StoreError> {
        let fault = match failed {
            Ok(Err(error @ StoreError::Restored { .. })) => return Err(error),
            Ok(Err(error)) => causes(&error),
            Ok(Ok(_)) => return Ok(()),
            Err(_) => SILENT_STORE.to_owned(),
        };
        self.failed("the term cannot be taken over yet", &fault);
        Ok(())
    }

    async fn release(&mut self) {
        let released = async {
            loop {
                let sight = self.lock.read().await.map_err(LockError::Failed)?;
                if sight.holder() != self.candidate.me.id.0 {
                    return Ok(());
                }
                match self.lock.release(sight).await {
                    Err(LockError::Conflict) => {}
                    released => return released,
                }
            }
        };
        match timeout(self.options.ttl / 5, released).await {
            Ok(Ok(())) => info!(lease = self.options.name, "the Lease is given back"),
            Ok(Err(error)) => warn!(%error, "the Lease was not given back; it ends by itself"),
            Err(_) => warn!("the Lease was not given back in time; it ends by itself"),
        }
    }
}
