//! The store of a cluster: etcd, below one prefix. Every call has a deadline; any member may answer.

mod failure;
mod members;
mod probe;
mod seen;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Compare as EtcdCompare, CompareOp, ConnectOptions, GetOptions, GetResponse, KeyValue, PutOptions,
    ResponseHeader, Txn as EtcdTxn, TxnOp,
};
use tokio::sync::mpsc;
use tracing::{debug, warn};
use zenvoy_shared::tls::{Live, Role, TlsFiles};

use self::members::{Call, Haste, Members};
use self::seen::Seen;
use super::{
    Compare, Entry, History, Key, LeaseId, Room, Snapshot, Store, StoreError, Txn, TxnOutcome, WATCH_BUFFER,
    WatchEvent, Write,
};
use crate::model::Revision;

/// How to reach etcd.
#[derive(Clone, Default)]
pub struct EtcdOptions {
    /// All members, as `http://host:2379`.
    pub endpoints: Vec<String>,
    /// Separates clusters that share one etcd: keys lie below `/zenvoy/v1/<cluster>/`. Not empty, no `/`.
    pub cluster: String,
    /// TLS material, where the endpoints are `https`. It may change: new connections use what the files say then.
    pub tls: TlsFiles,
    /// User and password, where authentication is on.
    pub user: Option<(String, String)>,
}

impl std::fmt::Debug for EtcdOptions {
    // Passwords do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.user.as_ref().map(|(name, _)| name);
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("cluster", &self.cluster)
            .field("tls", &self.tls)
            .field("user", &user)
            .finish()
    }
}

/// How often a connection is proved alive. etcd hangs up on whoever asks more often than every 5 s.
const PING_EVERY: Duration = Duration::from_secs(6);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Records read at once.
const PAGE: i64 = 1_000;
/// etcd itself limits what a record and a page may be; the client's default of 4 MiB is less than a page of either.
const MESSAGE_LIMIT: usize = i32::MAX as usize;

/// Decisions in etcd.
#[derive(Clone)]
pub struct EtcdStore {
    members: Arc<Members>,
    /// As given.
    endpoints: String,
    prefix: String,
    met_unknown: Arc<AtomicBool>,
    seen: Arc<Seen>,
}

impl EtcdStore {
    /// As [`EtcdStore::open`], and asks etcd once, so that bad options end a start.
    ///
    /// # Errors
    /// [`StoreError::Options`] and [`StoreError::Denied`]: it would not work later either.
    pub async fn connect(options: &EtcdOptions) -> Result<Self, StoreError> {
        let store = Self::open(options).await?;
        match store.read(Room::Leader).await {
            Err(error) if !error.could_retry() => Err(error),
            Err(error) => {
                warn!(%error, "etcd is away; it is tried again, and nothing new is mapped or drained until it is back");
                Ok(store)
            }
            Ok(_) => Ok(store),
        }
    }

    /// Opens the store. Members that are away are tried again at each call.
    ///
    /// # Errors
    /// [`StoreError::Options`]: it would not work later either.
    pub async fn open(options: &EtcdOptions) -> Result<Self, StoreError> {
        if options.cluster.is_empty() || options.cluster.contains('/') {
            let cluster = &options.cluster;
            let why = format!("{cluster:?} does not name a cluster: give a name without '/'");
            return Err(StoreError::Options(why));
        }
        let tls = tls(options).await?;
        Ok(Self {
            members: Arc::new(Members::new(&options.endpoints, &connect_options(options), tls.as_ref())?),
            endpoints: options.endpoints.join(","),
            prefix: format!("/zenvoy/v1/{}/", options.cluster),
            met_unknown: Arc::default(),
            seen: Arc::default(),
        })
    }

    /// The endpoint of the member that is asked now.
    pub fn member(&self) -> &str {
        self.members.endpoint()
    }

    fn path(&self, key: impl std::fmt::Display) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The first key of a room, and the first after all of them.
    fn range(&self, room: Room) -> (Vec<u8>, Vec<u8>) {
        let first = self.path(room.prefix()).into_bytes();
        let mut end = first.clone();
        match (room, end.last_mut()) {
            // A room of one key, which others may begin with.
            (Room::Leader, _) => end.push(0),
            // Prefixes end in '/', so there is a next byte.
            (_, Some(last)) => *last += 1,
            (_, None) => {}
        }
        (first, end)
    }

    /// The record, unless its key is one that this version does not know (rule L4).
    fn entry(&self, kv: &KeyValue) -> Option<Entry> {
        let path = String::from_utf8_lossy(kv.key());
        let key: Result<Key, _> = path.strip_prefix(&self.prefix).unwrap_or(&path).parse();
        match key {
            Ok(key) => {
                let value = Bytes::copy_from_slice(kv.value());
                Some(Entry { key, value, mod_revision: Revision(kv.mod_revision()) })
            }
            Err(error) if self.met_unknown.swap(true, Ordering::Relaxed) => {
                debug!(%error, "skipped");
                None
            }
            Err(error) => {
                warn!(%error, "skipped, and all further ones: a later version of zenvoy may have written them");
                None
            }
        }
    }

    fn compare(&self, compare: &Compare) -> EtcdCompare {
        match compare {
            Compare::Absent(key) => EtcdCompare::create_revision(self.path(key), CompareOp::Equal, 0),
            Compare::WrittenAt(key, revision) => {
                EtcdCompare::mod_revision(self.path(key), CompareOp::Equal, revision.0)
            }
            Compare::UnchangedSince(room, revision) => {
                let (first, end) = self.range(*room);
                EtcdCompare::mod_revision(first, CompareOp::Less, revision.0.saturating_add(1))
                    .with_range(end)
            }
        }
    }

    fn write(&self, write: &Write) -> TxnOp {
        match write {
            Write::Put(key, value, lease) => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                TxnOp::put(self.path(key), value.as_ref(), options)
            }
            Write::Delete(key) => TxnOp::delete(self.path(key), None),
        }
    }

    async fn carry_out(&self, txn: Txn, haste: Haste) -> Result<TxnOutcome, StoreError> {
        let lease = txn.writes.iter().find_map(|write| match write {
            Write::Put(_, _, lease) => *lease,
            Write::Delete(_) => None,
        });
        let compares: Vec<EtcdCompare> = txn.compares.iter().map(|compare| self.compare(compare)).collect();
        let writes: Vec<TxnOp> = txn.writes.iter().map(|write| self.write(write)).collect();
        let request = EtcdTxn::new().when(compares).and_then(writes);
        let before = self.seen.now();
        let call = self.members.call(Call { repeatable: txn.voids_itself(), lease, haste }, |client| {
            let (mut client, request) = (client.kv_client(), request.clone());
            async move { client.txn(request).await }
        });
        let (_, answer) = call.await?;
        self.seen.note(before, answer.header())?;
        let revision = revision(answer.header());
        Ok(if answer.succeeded() { TxnOutcome::Written(revision) } else { TxnOutcome::Refused(revision) })
    }

    /// Records from `first` on, at `at` or, when that is `None`, now.
    async fn page(&self, first: &[u8], end: &[u8], at: Option<i64>) -> Result<GetResponse, StoreError> {
        let before = self.seen.now();
        let read = self.members.call(Call::REPEATABLE, |client| {
            let options = GetOptions::new().with_range(end).with_limit(PAGE).with_revision(at.unwrap_or(0));
            let mut client = client.kv_client().max_decoding_message_size(MESSAGE_LIMIT);
            let first = first.to_vec();
            async move { client.get(first, Some(options)).await }
        });
        let (_, page) = read.await?;
        self.seen.note(before, page.header())?;
        Ok(page)
    }
}

fn connect_options(options: &EtcdOptions) -> ConnectOptions {
    let mut connect = ConnectOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_keep_alive(PING_EVERY, PING_TIMEOUT)
        .with_keep_alive_while_idle(true)
        // A member that is cut off from its leader says so, instead of letting calls and watches wait.
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let Some((name, password)) = &options.user {
        connect = connect.with_user(name, password);
    }
    connect
}

/// The TLS files, followed; `None` where none are given.
async fn tls(options: &EtcdOptions) -> Result<Option<Live>, StoreError> {
    if options.tls == TlsFiles::default() {
        return Ok(None);
    }
    if let Some(plain) = options.endpoints.iter().find(|endpoint| !endpoint.starts_with("https://")) {
        let why = format!("TLS files are given, but {plain} is not https");
        return Err(StoreError::Options(why));
    }
    let live = Live::open(options.tls.clone(), Role::Stranger).await;
    live.map(Some).map_err(|error| StoreError::Options(error.to_string()))
}

fn revision(header: Option<&ResponseHeader>) -> Revision {
    Revision(header.map_or(0, ResponseHeader::revision))
}

#[async_trait]
impl Store for EtcdStore {
    fn describe(&self) -> String {
        format!("etcd at {}", self.endpoints)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.carry_out(txn, Haste::None).await
    }

    async fn urgent_txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.carry_out(txn, Haste::Urgent).await
    }

    async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
        let (mut first, end) = self.range(room);
        let mut at = None;
        let mut entries = Vec::new();
        loop {
            // The first page fixes the revision of all.
            let page = self.page(&first, &end, at).await?;
            let fixed = *at.get_or_insert(revision(page.header()).0);
            entries.extend(page.kvs().iter().filter_map(|kv| self.entry(kv)));
            match page.kvs().last() {
                Some(last) if page.more() => {
                    first = last.key().to_vec();
                    first.push(0);
                }
                _ => {
                    entries.sort_by(|a, b| a.key.cmp(&b.key));
                    return Ok(Snapshot { revision: Revision(fixed), entries });
                }
            }
        }
    }

    async fn history(&self) -> Result<History, StoreError> {
        let (first, end) = self.range(Room::Leader);
        let page = self.page(&first, &end, None).await?;
        Ok(seen::history(page.header()))
    }

    async fn watch(&self, after: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        let (steps, receiver) = mpsc::channel(WATCH_BUFFER);
        tokio::spawn(watch::run(self.clone(), after, steps));
        Ok(receiver)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        // Rounded up: nobody may find the lease ended sooner than it asked for.
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(whole).unwrap_or(i64::MAX).max(1);
        // Done twice, the first one ends by itself.
        let call = self.members.call(Call::REPEATABLE, |client| {
            let mut client = client.lease_client();
            async move { client.grant(seconds, None).await }
        });
        Ok(LeaseId(call.await?.1.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let call = self.members.call(Call { lease: Some(lease), ..Call::REPEATABLE }, |client| {
            let mut client = client.lease_client();
            // The client sends the first request and waits for its answer: nothing more is needed of the stream.
            async move { client.keep_alive(lease.0).await.map(drop) }
        });
        call.await.map(drop)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        // Not repeatable: the second one would find it ended.
        let call =
            self.members.call(Call { repeatable: false, lease: Some(lease), haste: Haste::None }, |client| {
                let mut client = client.lease_client();
                async move { client.revoke(lease.0).await }
            });
        call.await.map(drop)
    }
}
