//! Replicas that stand for election on one API server and one store, and what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Map;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zenvoy_controller::leader::{Candidate, Electing, LeaseOptions, Standing};
use zenvoy_controller::model::{Replica as Me, Revision, Term};
use zenvoy_controller::replica::Event;
use zenvoy_controller::store::{
    History, LeaseId, MemoryStore, Room, Snapshot, Store, StoreError, Txn, TxnOutcome, WatchEvent, keep_lease,
};
use zenvoy_shared::id::ControllerId;

use crate::api::Api;

pub(crate) const TTL: Duration = Duration::from_secs(15);

/// A store as one replica reaches it: the way may be cut, and the answers of transactions be lost.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    store: MemoryStore,
    pub(crate) cut: Arc<AtomicBool>,
    pub(crate) loses_answers: Arc<AtomicBool>,
    history: watch::Receiver<Option<History>>,
}

impl Reached {
    async fn reach(&self) {
        if self.cut.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Store for Reached {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.reach().await;
        let outcome = self.store.txn(txn).await;
        if self.loses_answers.swap(false, Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the answer is lost".into()));
        }
        outcome
    }

    async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
        self.reach().await;
        self.store.read(room).await
    }

    async fn history(&self) -> Result<History, StoreError> {
        self.reach().await;
        let told = *self.history.borrow();
        match told {
            Some(history) => Ok(history),
            None => self.store.history().await,
        }
    }

    async fn watch(&self, after: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        self.store.watch(after).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.reach().await;
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.reach().await;
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.reach().await;
        self.store.revoke(lease).await
    }
}

/// Where replicas meet.
#[derive(Debug, Clone)]
pub(crate) struct Meeting {
    pub(crate) api: Api,
    pub(crate) store: MemoryStore,
    /// What the store says of itself, where that is not the truth.
    pub(crate) history: watch::Sender<Option<History>>,
}

impl Meeting {
    pub(crate) fn new() -> Self {
        let (api, store) = (Api::default(), MemoryStore::new());
        Self { api, store, history: watch::Sender::new(None) }
    }

    pub(crate) fn replica(&self, name: &str) -> Replica {
        let store = Reached {
            store: self.store.clone(),
            cut: Arc::default(),
            loses_answers: Arc::default(),
            history: self.history.subscribe(),
        };
        let me = Me {
            id: ControllerId(name.into()),
            address: String::new(),
            version: String::new(),
            protocol_level: 1,
            unknown: Map::new(),
        };
        let (events, mut told) = mpsc::channel(16);
        let (standing, stands) = watch::channel(Standing::Follows);
        let (heard, hears) = watch::channel(None);
        let (leases, mut granted) = mpsc::channel(4);
        let (stop, started) = (CancellationToken::new(), Instant::now());
        let kept: Arc<dyn Store> = Arc::new(store.clone());
        let mut beside = tokio::task::JoinSet::new();
        beside.spawn(keep_lease(kept.clone(), TTL, leases, heard, stop.clone()));
        beside.spawn(async move { while granted.recv().await.is_some() {} });
        let terms = watch::Sender::new(None);
        let leads = terms.subscribe();
        beside.spawn(async move {
            while let Some(event) = told.recv().await {
                let Event::Leads(term) = event else { panic!("{event:?}") };
                terms.send_replace(term);
            }
        });
        let candidate = Candidate { store: kept, me, started, heard: hears, events, standing };
        let electing = Electing::Lease(LeaseOptions {
            client: self.api.client(),
            namespace: "zenvoy".into(),
            name: "zenvoy".into(),
            ttl: TTL,
        });
        let election = tokio::spawn(candidate.run(electing, stop.clone()));
        Replica { store, stop, leads, stands, election, beside }
    }
}

pub(crate) struct Replica {
    pub(crate) store: Reached,
    pub(crate) stop: CancellationToken,
    pub(crate) leads: watch::Receiver<Option<Term>>,
    pub(crate) stands: watch::Receiver<Standing>,
    pub(crate) election: JoinHandle<Result<(), StoreError>>,
    beside: tokio::task::JoinSet<()>,
}

impl Replica {
    /// Until it leads; says in which term.
    pub(crate) async fn until_leads(&mut self) -> Term {
        let leads = tokio::time::timeout(TTL * 100, self.leads.wait_for(Option::is_some)).await;
        leads.expect("it leads in time").expect("it stands").expect("waited for")
    }

    pub(crate) async fn until_follows(&mut self) {
        let follows = tokio::time::timeout(TTL * 100, self.leads.wait_for(Option::is_none)).await;
        follows.expect("it steps down in time").expect("it stands");
    }

    /// Dies without a word.
    pub(crate) fn kill(self) {
        self.election.abort();
        drop(self.beside);
    }

    /// What the store says of itself went to this replica's mind as an end.
    pub(crate) async fn ended(self) -> Result<(), StoreError> {
        let ended = tokio::time::timeout(TTL * 100, self.election).await;
        ended.expect("it ends in time").expect("no panic")
    }
}
