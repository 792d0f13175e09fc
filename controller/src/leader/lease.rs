//! The election's rim: a `coordination.k8s.io` Lease, and the term in the store. In: answers of the API server and the
//! store; out: [`Event::Leads`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use zenvoy_shared::fault::{Faults, causes};

use super::election::{Election, Next, Observed};
use super::take_over;
use crate::model::{Replica, Term};
use crate::replica::Event;
use crate::session::Moment;
use crate::store::Store;

/// Where the replicas of one cluster meet.
#[derive(Clone)]
pub struct LeaseOptions {
    /// Reaches the API server.
    pub client: Client,
    /// The Lease's namespace: the controller's own.
    pub namespace: String,
    /// The Lease's name; one for each `--cluster`.
    pub name: String,
    /// How long a holder may be silent; at least 3 s.
    pub ttl: Duration,
}

const NO_ANSWER: &str = "the API server does not answer in time";

struct Elector {
    options: LeaseOptions,
    leases: Api<Lease>,
    lock: LeaseLock,
    store: Arc<dyn Store>,
    me: Replica,
    election: Election,
    started: Instant,
    told: Option<Term>,
    faults: Faults,
    events: mpsc::Sender<Event>,
}

/// Takes part in the election until `stop`, and gives the Lease back then, so that a successor need not wait.
/// `reachable` says whether this replica's lease in the store lives.
pub async fn elect(
    options: LeaseOptions,
    store: Arc<dyn Store>,
    me: Replica,
    mut reachable: watch::Receiver<bool>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    let params = LeaseLockParams {
        lease_name: options.name.clone(),
        holder_id: me.id.to_string(),
        lease_ttl: options.ttl,
    };
    let mut elector = Elector {
        leases: Api::namespaced(options.client.clone(), &options.namespace),
        lock: LeaseLock::new(options.client.clone(), &options.namespace, params),
        election: Election::new(me.id.to_string(), options.ttl),
        options,
        store,
        me,
        started: Instant::now(),
        told: None,
        faults: Faults::default(),
        events,
    };
    while !stop.is_cancelled() {
        let alive = *reachable.borrow_and_update();
        elector.election.store_is(alive, elector.now());
        let next = elector.election.next(elector.now());
        elector.tell().await;
        let wait = elector.act(next).await;
        elector.tell().await;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
            changed = reachable.changed() => if changed.is_err() { break },
        }
    }
    let _ = elector.events.send(Event::Leads(None)).await;
    if elector.told.is_some() {
        elector.release().await;
    }
}

impl Elector {
    fn now(&self) -> Moment {
        Moment(self.started.elapsed())
    }

    /// Tells the replica when its term changed.
    async fn tell(&mut self) {
        let term = self.election.term(self.now());
        if term != self.told {
            self.told = term;
            let _ = self.events.send(Event::Leads(term)).await;
        }
    }

    /// Every call has this long: several fit into the time a holder has.
    fn patience(&self) -> Duration {
        self.options.ttl / 5
    }

    /// Does what is next; returns how long to wait before looking again.
    async fn act(&mut self, next: Next) -> Duration {
        match next {
            Next::WaitUntil(until) => return until.0.saturating_sub(self.now().0),
            Next::Observe => {
                self.observe().await;
                return self.patience() / 4;
            }
            Next::Acquire | Next::Renew => self.lock().await,
            Next::TakeTerm => self.take_term().await,
            Next::Release => {
                self.tell().await;
                self.release().await;
                self.election.released();
            }
        }
        Duration::from_millis(20)
    }

    async fn observe(&mut self) {
        match self.read().await {
            Ok(lease) => {
                let now = self.now();
                self.election.observed(lease, now);
            }
            Err(error) => self.failed("the Lease cannot be read", &error),
        }
    }

    /// Something is tried again; it is told now and then.
    fn failed(&mut self, what: &str, fault: &str) {
        if self.faults.is_news(fault, Instant::now()) {
            warn!(lease = self.options.name, "{what}: {fault}; it is tried again");
        } else {
            debug!(lease = self.options.name, fault, "{what}");
        }
        let now = self.now();
        self.election.failed(now);
    }

    async fn read(&self) -> Result<Option<Observed>, String> {
        let read = tokio::time::timeout(self.patience(), self.leases.get_opt(&self.options.name)).await;
        let lease = read.map_err(|_| NO_ANSWER.to_owned())?.map_err(|error| causes(&error))?;
        Ok(lease.map(|lease| {
            let spec = lease.spec.clone().unwrap_or_default();
            let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
            Observed {
                holder: spec.holder_identity.unwrap_or_default(),
                resource_version: lease.resource_version().unwrap_or_default(),
                ttl: Duration::from_secs(seconds),
            }
        }))
    }

    async fn lock(&mut self) {
        let asked = self.now();
        match tokio::time::timeout(self.patience(), self.lock.try_acquire_or_renew()).await {
            Ok(Ok(LeaseLockResult::Acquired(_))) => self.election.answered(true, asked),
            Ok(Ok(LeaseLockResult::NotAcquired(_))) => self.election.answered(false, asked),
            Ok(Err(error)) => self.failed("the Lease was not written", &causes(&error)),
            Err(_) => self.failed("the Lease was not written", NO_ANSWER),
        }
    }

    /// Patches of the Lease carry no version, so two replicas may both believe that they won: the Lease is read again, and
    /// then the store decides.
    async fn take_term(&mut self) {
        let mine = match self.read().await {
            Ok(lease) => lease.is_some_and(|lease| lease.holder == self.me.id.0),
            Err(error) => return self.failed("the Lease cannot be read again", &error),
        };
        if !mine {
            let now = self.now();
            self.election.answered(false, now);
            return;
        }
        match tokio::time::timeout(self.patience(), take_over(self.store.as_ref(), &self.me)).await {
            Ok(Ok(term)) => self.election.took_term(term),
            Ok(Err(error)) => self.failed("the term cannot be taken over yet", &causes(&error)),
            Err(_) => self.failed("the term cannot be taken over yet", "the store does not answer in time"),
        }
    }

    async fn release(&self) {
        match tokio::time::timeout(self.patience(), self.give_back()).await {
            Ok(Ok(())) => info!(lease = self.options.name, "the Lease is given back"),
            Ok(Err(error)) => warn!(error, "the Lease was not given back; it ends by itself"),
            Err(_) => warn!("the Lease was not given back in time; it ends by itself"),
        }
    }

    /// A released Lease still counts for a second; its renewal is dated back, so that a successor need not wait for that.
    async fn give_back(&self) -> Result<(), String> {
        self.lock.step_down().await.map_err(|error| error.to_string())?;
        let patch = serde_json::json!({ "spec": { "renewTime": "1970-01-01T00:00:01.000000Z" } });
        let patched =
            self.leases.patch(&self.options.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(|_| ()).map_err(|error| error.to_string())
    }
}
