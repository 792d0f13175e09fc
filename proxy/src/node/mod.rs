//! This node's one account of its connections: what stands where, what is demanded, who is idle, what is proven quiet,
//! and which Envoys live. In: what connections, Envoys and the session do; out: news for the session, and status.

mod account;
mod envoys;
mod place;
#[cfg(test)]
mod tests;

pub use account::{Account, Counts};
pub use envoys::{EnvoyId, Seen};
pub use place::{Place, Refused, Standing};

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use tracing::info;
use zenvoy_shared::id::{DrainId, NodeEpoch, NodeId, UpstreamId};
use zenvoy_shared::proto;

use self::envoys::Envoys;
use crate::activity::counters::Flush;
use crate::activity::quiet::{Own, Proofs};
use crate::activity::{Activities, Activity};
use crate::demand::{Demands, Reason};
use crate::table::{Held, Refused as TableRefused, Table, Verdict};

/// Reports of first bytes that wait for a session; beyond, the oldest is forgotten: they are for display.
const MOST_TIMINGS: usize = 1024;

/// A moment on both clocks: the monotonic one decides, the other is compared with Envoy's stamps and shown to people.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Monotonic.
    pub at: Instant,
    /// Since the Unix epoch.
    pub unix: Duration,
}

impl Moment {
    /// Reads both clocks.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { at: Instant::now(), unix }
    }

    /// Nanoseconds since the Unix epoch.
    pub fn unix_nanos(self) -> u64 {
        u64::try_from(self.unix.as_nanos()).unwrap_or(u64::MAX)
    }

    fn unix_ms(self) -> i64 {
        i64::try_from(self.unix.as_millis()).unwrap_or(i64::MAX)
    }
}

/// What controllers are told of this node at the end of its last session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing: its Envoy may still send traffic to pods, and the node counts on (rule N4).
    Return,
    /// Its Envoy has drained and will not come back.
    Forget,
}

/// What the session has not been told yet.
#[derive(Debug, Default, PartialEq)]
pub struct News {
    /// The whole demand, if the set has changed.
    pub demand: Option<proto::Demand>,
    /// Changes of activity, if there are any.
    pub activity: Option<proto::Activity>,
    /// Proofs that are complete.
    pub quiet: Vec<proto::Quiet>,
    /// First bytes of answers of held connections.
    pub timings: Vec<proto::WakeTiming>,
}

/// The account, shared by all that acts on this node. Its lock is held for short sections only.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    table: Arc<Table>,
    /// How many connections may be held in total.
    max_held: u32,
    books: Mutex<Books>,
    news: Notify,
    epoch: watch::Sender<NodeEpoch>,
}

#[derive(Debug)]
struct Books {
    accounts: HashMap<UpstreamId, Account>,
    /// Connections that wait, are held, or are being released, of all upstreams.
    waiting: u32,
    demands: Demands,
    demand_changed: bool,
    activities: Activities,
    proofs: Proofs,
    proven: Vec<DrainId>,
    timings: VecDeque<proto::WakeTiming>,
    envoys: Envoys,
    flushes: u64,
    farewell: Option<Farewell>,
}

impl Node {
    /// The account of a node that begins: nothing is open, nothing is known. `silence`: see [`Activities::new`].
    pub fn new(id: NodeId, table: Arc<Table>, max_held: u32, silence: Duration) -> Arc<Self> {
        let books = Books {
            accounts: HashMap::new(),
            waiting: 0,
            demands: Demands::default(),
            demand_changed: false,
            activities: Activities::new(silence),
            proofs: Proofs::default(),
            proven: Vec::new(),
            timings: VecDeque::new(),
            envoys: Envoys::default(),
            flushes: 0,
            farewell: None,
        };
        let epoch = watch::Sender::new(NodeEpoch::fresh());
        Arc::new(Self { id, table, max_held, books: Mutex::new(books), news: Notify::new(), epoch })
    }

    /// Which node this is.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// Which start of it, and when that changes (rule N5).
    pub fn epoch(&self) -> watch::Receiver<NodeEpoch> {
        self.epoch.subscribe()
    }

    /// The table's upstreams have changed: others are forgotten.
    pub fn track(&self, now: Moment) {
        let all = self.table.all();
        let mut books = self.lock();
        let Books { accounts, activities, .. } = &mut *books;
        activities.track(all.iter().map(|held| (held.upstream.clone(), held.protocol)), now.at);
        let mut gone = std::mem::take(accounts);
        for held in all {
            let account = gone.remove(&held.upstream).unwrap_or_default();
            if account.open() > 0 {
                activities.own(&held.upstream, account.open(), now.at);
            }
            accounts.insert(held.upstream.clone(), account);
        }
        accounts.extend(gone.into_iter().filter(|(_, account)| !account.is_empty()));
        drop(books);
        self.news.notify_one();
    }

    /// Takes in what an Envoy's `MetricsService` sink sent.
    pub fn flush(&self, envoy: EnvoyId, flush: &Flush, now: Moment) {
        let mut books = self.lock();
        let Books { envoys, activities, proofs, accounts, proven, flushes, .. } = &mut *books;
        if !envoys.is_only(envoy) {
            return;
        }
        *flushes += 1;
        activities.flush(flush, now.at);
        let own = |upstream: &UpstreamId| self.own(accounts, upstream);
        proven.extend(proofs.flush(flush, own, now.unix_ms()));
        drop(books);
        self.news.notify_one();
    }

    fn own(&self, accounts: &HashMap<UpstreamId, Account>, upstream: &UpstreamId) -> Option<Own> {
        let held = self.table.of(upstream)?;
        let drain = match &held.verdict {
            Verdict::Hold { drain } => drain.clone(),
            Verdict::Forward(_) | Verdict::Fail { .. } => None,
        };
        let open = accounts.get(upstream).map_or(0, Account::open);
        Some(Own { drain, open, protocol: held.protocol })
    }

    /// An Envoy's connection speaks. One that was not there before begins a new epoch (rule N5), but for the first.
    pub fn envoy_speaks(&self, envoy: EnvoyId, now: Moment) {
        let mut books = self.lock();
        let seen = books.envoys.speaks(envoy);
        let count = books.envoys.count();
        books.activities.envoys(count);
        if seen != Seen::Known {
            let which = if seen == Seen::First { "the first since the start" } else { "another than before" };
            info!(envoys = count, "an Envoy has connected: {which}");
        }
        if seen == Seen::Another {
            books.activities.replaced(now.at);
            books.proofs.restart(now.unix_ms());
            self.epoch.send_replace(NodeEpoch::fresh());
        }
        drop(books);
        self.news.notify_one();
    }

    /// An Envoy's connection is gone.
    pub fn envoy_gone(&self, envoy: EnvoyId, now: Moment) {
        let mut books = self.lock();
        if books.envoys.gone(envoy, now.at) {
            let count = books.envoys.count();
            books.activities.envoys(count);
            books.proofs.restart(now.unix_ms());
        }
        drop(books);
        self.news.notify_one();
    }

    /// How many Envoys live.
    pub fn envoys(&self) -> usize {
        self.lock().envoys.count()
    }

    /// How many flushes of Envoy's statistics were taken in.
    pub fn flushes(&self) -> u64 {
        self.lock().flushes
    }

    /// Whether an Envoy was ever here, since the proxy's start.
    pub fn had_envoy(&self) -> bool {
        self.lock().envoys.ever()
    }

    /// Since when no Envoy lives, if one ever did.
    pub fn without_envoy_since(&self) -> Option<Instant> {
        self.lock().envoys.none_since()
    }

    /// The controller does not take the demand for an upstream: what is held for it fails, and what comes does for a while.
    pub fn refuse(&self, upstream: &UpstreamId, refused: TableRefused) {
        self.table.refuse(upstream, refused);
    }

    /// A proof is asked for: Envoy has ACKed the switch of these upstreams.
    pub fn prove_quiet(&self, drain: DrainId, upstreams: Vec<UpstreamId>, now: Moment) {
        self.lock().proofs.ask(drain, upstreams, now.unix_ms());
    }

    /// A proof is no longer asked for.
    pub fn withdraw_proof(&self, drain: &DrainId) {
        let mut books = self.lock();
        books.proofs.withdraw(drain);
        books.proven.retain(|proven| proven != drain);
    }

    /// A held connection got the first byte of its answer.
    pub fn first_byte(&self, timing: proto::WakeTiming) {
        let mut books = self.lock();
        if books.timings.len() >= MOST_TIMINGS {
            books.timings.pop_front();
        }
        books.timings.push_back(timing);
        drop(books);
        self.news.notify_one();
    }

    /// Decides what the last session says at its end.
    pub fn part(&self, farewell: Farewell) {
        self.lock().farewell = Some(farewell);
    }

    /// What was decided.
    pub fn farewell(&self) -> Option<Farewell> {
        self.lock().farewell
    }

    /// When [`Node::expire`] is due.
    pub fn expires_at(&self) -> Option<Instant> {
        self.lock().activities.expires_at()
    }

    /// Time has passed.
    pub fn expire(&self, now: Instant) {
        self.lock().activities.expire(now);
        self.news.notify_one();
    }

    /// The first message of a session: everything (rule V1); it counts as told. Proofs are asked for anew.
    pub fn hello(&self, now: Moment) -> proto::Hello {
        let mut books = self.lock();
        books.demand_changed = false;
        books.proofs.clear();
        books.proven.clear();
        proto::Hello {
            demand: Some(books.demands.whole()),
            activity: Some(books.activities.whole(now.at)),
            ..self.introduction()
        }
    }

    /// Who it is, and nothing else.
    pub fn introduction(&self) -> proto::Hello {
        proto::Hello {
            node: self.id.0.clone(),
            epoch: self.epoch.borrow().0.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            protocol_level: crate::PROTOCOL_LEVEL,
            ..proto::Hello::default()
        }
    }

    /// Waits until there may be news. One session at a time.
    pub async fn until_news(&self) {
        self.news.notified().await;
    }

    /// What the session has not been told; it counts as told.
    pub fn news(&self, now: Moment) -> News {
        let mut books = self.lock();
        let epoch = &self.epoch.borrow().0.clone();
        let demand = std::mem::take(&mut books.demand_changed).then(|| books.demands.whole());
        let activity = Some(books.activities.changes(now.at)).filter(|changes| !changes.upstreams.is_empty());
        let proven = std::mem::take(&mut books.proven).into_iter();
        let quiet = proven.map(|drain| proto::Quiet { drain_id: drain.0, epoch: epoch.clone() }).collect();
        News { demand, activity, quiet, timings: books.timings.drain(..).collect() }
    }

    /// What is known of one upstream's traffic.
    pub fn activity(&self, upstream: &UpstreamId) -> Activity {
        self.lock().activities.get(upstream)
    }

    /// The counts of one upstream, and why it is demanded.
    pub fn counts(&self, upstream: &UpstreamId) -> (Counts, Option<Reason>) {
        let books = self.lock();
        let counts = books.accounts.get(upstream).map(Account::counts).unwrap_or_default();
        (counts, books.demands.get(upstream).cloned())
    }

    /// How many connections wait or are held, of all upstreams.
    pub fn waiting(&self) -> u32 {
        self.lock().waiting
    }

    /// How many connections are relayed, of all upstreams.
    pub fn relaying(&self) -> u32 {
        self.lock().accounts.values().map(|account| account.counts().relaying).sum()
    }

    /// The drains for which a proof is asked for.
    pub fn asked_proofs(&self) -> Vec<DrainId> {
        self.lock().proofs.drains().cloned().collect()
    }

    /// A connection for an upstream has arrived.
    pub fn arrive(self: &Arc<Self>, held: &Held) -> Place {
        Place::new(self.clone(), held.upstream.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        // Each change of the books is complete before anything that could panic.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
