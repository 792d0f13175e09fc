//! The rim of a replica: gives the core its events, and carries out its effects. In: parts; out: a running replica.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use zenvoy_shared::fault::Faults;
use zenvoy_shared::id::ControllerId;
use zenvoy_shared::pool::PortPool;
use zenvoy_shared::proto::HELD_UPSTREAM;
use zenvoy_shared::tls::Live;
use zenvoy_xds::core::TypeUrl;

use super::effects::Hands;
use super::front::Front;
use super::tasks::{Tasks, done};
use super::{Blocking, Core, CoreOptions, Event, Now};
use crate::admin::{self, Lacks};
use crate::execute::Executor;
use crate::leader::{Candidate, Electing, Standing};
use crate::model::{Fact, Replica};
use crate::report::Reporter;
use crate::session::{DemandQuota, Moment};
use crate::source::{Scaler, Source, SourceError};
use crate::store::{LeaseId, Room, Store, StoreError, WatchEvent, keep_lease};
use crate::translate::{ListenerOptions, Names, type_url};

/// Which record forms this build can read (rule L4).
const PROTOCOL_LEVEL: u32 = super::votes::SHARDED_LEVEL;
/// Events that wait for the core, from each side.
const EVENTS: usize = 1024;

/// What a replica is told by its operator.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// Where xDS and sessions are served.
    pub listen: SocketAddr,
    /// The certificate and authorities for that, made for a controller. `None`: plaintext; whoever reaches the address may
    /// speak for any node.
    pub tls: Option<Live>,
    /// The address under which nodes reach that; `listen` when empty.
    pub advertise: String,
    /// Where health, readiness and status are served; nowhere when `None`.
    pub admin: Option<SocketAddr>,
    /// The addresses that may stand in for cold upstreams.
    pub pool: PortPool,
    /// How long a released address rests.
    pub quarantine: Duration,
    /// Where Envoys listen.
    pub listeners: ListenerOptions,
    /// How Services are called.
    pub names: Names,
    /// Drains on offer at once, at most; at least 1.
    pub max_offers: usize,
    /// This replica's own records end this long after it was last heard of; seconds.
    pub lease_ttl: Duration,
    /// How much each node may demand.
    pub quota: DemandQuota,
}

/// What a replica stands on.
pub struct Parts {
    /// Decisions.
    pub store: Arc<dyn Store>,
    /// Facts.
    pub source: Box<dyn Source>,
    /// Quorum reads and scale writes.
    pub scaler: Arc<dyn Scaler>,
    /// What people are told.
    pub reporter: Arc<dyn Reporter>,
    /// How a leader is found.
    pub electing: Electing,
}

/// A replica could not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// An address could not be listened on.
    #[error(
        "listen on {address} for {what}: {source}; end the process that uses it, or give another address"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What is served there.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Serving ended.
    #[error("serve xDS and sessions: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// The source ended.
    #[error("the source of facts ended: {0}")]
    Source(#[from] SourceError),
    /// The store is another one than before.
    #[error("{0}; this replica starts again on what is there")]
    Store(#[from] StoreError),
    /// A part of the process ended that must not.
    #[error("{0} ended unexpectedly; this is a fault of zenvoy, please report it")]
    Died(&'static str),
}

/// The clock of one replica.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn moment(self) -> Moment {
        Moment(self.0.elapsed())
    }

    fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { moment: self.moment(), unix_nanos: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX) }
    }
}

/// Runs a replica until `stop`.
pub async fn run(options: ReplicaOptions, parts: Parts, stop: CancellationToken) -> Result<(), ReplicaError> {
    let listener = listen(options.listen, "xDS and sessions").await?;
    let admin_listener = match options.admin {
        Some(address) => Some(listen(address, "health and status").await?),
        None => None,
    };
    let me = options.me();
    info!(controller = %me.id, listen = %options.listen, "the replica starts");
    let clock = Clock(Instant::now());
    let (ended, ended_events) = mpsc::channel(EVENTS);
    let (urgent, urgent_events) = mpsc::channel(EVENTS);
    let (facts, fact_events) = mpsc::channel(EVENTS);
    let (lease, lease_events) = mpsc::channel(4);
    let (heard, hears) = watch::channel(None);
    let (standing, standing_state) = watch::channel(Standing::Follows);
    let (lacks, lacks_state) = watch::channel(Lacks::EVERYTHING);
    let (blocking, blocking_state) = watch::channel(Vec::new());
    let front = Front::new(&me, options.tls.clone(), urgent.clone(), move || clock.moment());

    let mut tasks = Tasks::until(stop.clone());
    if let Some(listener) = admin_listener {
        let on = admin::Parts { source: parts.source.describe(), store: parts.store.describe() };
        let seen = admin::Seen { lacks: lacks_state, blocking: blocking_state, standing: standing_state };
        front.show(&mut tasks, listener, me.clone(), on, seen, &stop);
    }
    front.serve(&mut tasks, listener, urgent.clone(), &stop);
    tasks.spawn("the source", source(parts.source, facts, stop.clone()));
    let keeping = keep_lease(parts.store.clone(), options.lease_ttl, lease, heard, stop.clone());
    tasks.spawn("the lease", done(keeping));
    let Some((snapshot, steps)) = loaded(parts.store.as_ref(), &stop).await else { return tasks.end().await };
    let candidate = Candidate {
        store: parts.store.clone(),
        me: me.clone(),
        started: clock.0.into(),
        heard: hears,
        events: urgent,
        standing,
    };
    tasks.spawn("the election", elect(candidate, parts.electing, stop.clone()));
    let hands = front.hands(parts.reporter, Executor::new(parts.store, parts.scaler), ended);
    let mind = Mind { core: Core::new(options.core(me)), hands, clock, lacks, blocking };
    let inputs =
        Inputs { ended: ended_events, urgent: urgent_events, facts: fact_events, steps, lease: lease_events };
    tasks.spawn("the core", mind.live(WatchEvent::Resync(snapshot), inputs, stop));
    tasks.end().await
}

impl ReplicaOptions {
    fn me(&self) -> Replica {
        let listen = || self.listen.to_string();
        Replica {
            id: ControllerId::fresh(),
            address: Some(self.advertise.clone()).filter(|given| !given.is_empty()).unwrap_or_else(listen),
            version: env!("CARGO_PKG_VERSION").into(),
            protocol_level: PROTOCOL_LEVEL,
            unknown: serde_json::Map::new(),
        }
    }

    fn core(self, me: Replica) -> CoreOptions {
        CoreOptions {
            me,
            pool: self.pool,
            quarantine: self.quarantine,
            listeners: self.listeners,
            names: self.names,
            max_offers: self.max_offers.max(1),
            quota: self.quota,
        }
    }
}

async fn elect(
    candidate: Candidate,
    electing: Electing,
    stop: CancellationToken,
) -> Result<(), ReplicaError> {
    Ok(candidate.run(electing, stop).await?)
}

async fn source(
    source: Box<dyn Source>,
    facts: mpsc::Sender<Fact>,
    stop: CancellationToken,
) -> Result<(), ReplicaError> {
    Ok(source.run(facts, stop).await?)
}

async fn listen(address: SocketAddr, what: &'static str) -> Result<TcpListener, ReplicaError> {
    TcpListener::bind(address).await.map_err(|source| ReplicaError::Listen { address, what, source })
}

/// Everything in the store, and the steps after it; `None` when stopped before the store answered.
async fn loaded(
    store: &dyn Store,
    stop: &CancellationToken,
) -> Option<(crate::store::Snapshot, mpsc::Receiver<WatchEvent>)> {
    let mut pause = Duration::from_millis(100);
    let faults = Faults::default();
    loop {
        let attempt = async {
            let snapshot = store.read(Room::All).await?;
            let steps = store.watch(snapshot.revision).await?;
            Ok::<_, crate::store::StoreError>((snapshot, steps))
        };
        let attempt = tokio::select! {
            () = stop.cancelled() => return None,
            attempt = attempt => attempt,
        };
        match attempt {
            Ok(loaded) => return Some(loaded),
            Err(error) if faults.is_news(&error.to_string(), Instant::now()) => {
                warn!("{} cannot be read yet: {error}", store.describe());
            }
            Err(error) => debug!(%error, "the store cannot be read yet"),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
        }
    }
}

struct Inputs {
    /// How jobs ended: the next step of a wake that has begun goes before one that begins, so that in a storm the API server
    /// has writes to do from the first wake on.
    ended: mpsc::Receiver<Event>,
    /// What nodes and the election say.
    urgent: mpsc::Receiver<Event>,
    facts: mpsc::Receiver<Fact>,
    steps: mpsc::Receiver<WatchEvent>,
    lease: mpsc::Receiver<Option<LeaseId>>,
}

impl Inputs {
    /// The next event, what holds connections first; `None` when one side has ended.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            event = self.ended.recv() => event,
            event = self.urgent.recv() => event,
            step = self.steps.recv() => step.map(Event::Store),
            lease = self.lease.recv() => lease.map(Event::Lease),
            fact = self.facts.recv() => fact.map(Event::Fact),
        }
    }
}

struct Mind {
    core: Core,
    hands: Hands,
    clock: Clock,
    lacks: watch::Sender<Lacks>,
    blocking: watch::Sender<Vec<Blocking>>,
}

impl Mind {
    async fn live(
        mut self,
        first: WatchEvent,
        mut inputs: Inputs,
        stop: CancellationToken,
    ) -> Result<(), ReplicaError> {
        self.think(Event::Store(first));
        loop {
            let due = self.core.next_due();
            let wait = due.map(|due| due.0.saturating_sub(self.clock.moment().0));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                died = self.hands.died() => return Err(ReplicaError::Died(died)),
                event = inputs.next() => match event {
                    Some(event) => self.think(event),
                    None => break,
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => self.think(Event::Tick),
            }
        }
        Ok(())
    }

    fn think(&mut self, event: Event) {
        for effect in self.core.handle(event, self.clock.now()) {
            self.hands.carry_out(effect);
        }
        let lacks = self.core.lacks();
        self.lacks.send_if_modified(|known| std::mem::replace(known, lacks) != lacks);
        let blocking = self.core.blocking();
        self.blocking.send_if_modified(|known| {
            let changed = *known != blocking;
            *known = blocking;
            changed
        });
    }
}

/// What a node must have applied of an upstream before it has switched.
pub(super) fn switched_types() -> [TypeUrl; 2] {
    [TypeUrl::from(type_url::ENDPOINTS), TypeUrl::from(HELD_UPSTREAM)]
}
