//! The store of a cluster: etcd, below one prefix. Every call has a deadline; any member may answer.

mod watch;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare as EtcdCompare, CompareOp, ConnectOptions, GetOptions, Identity, KeyValue,
    PutOptions, TlsOptions, Txn as EtcdTxn, TxnOp,
};
use tokio::sync::mpsc;
use tonic::Code;
use zenvoy_shared::tls::TlsFiles;

use super::{
    Compare, Entry, LeaseId, Room, Snapshot, Store, StoreError, Txn, TxnOutcome, WATCH_BUFFER, Write,
};
use crate::model::Revision;

/// How to reach etcd.
#[derive(Debug, Clone, Default)]
pub struct EtcdOptions {
    /// All members, as `http://host:2379`.
    pub endpoints: Vec<String>,
    /// Separates clusters that share one etcd: keys lie below `/zenvoy/v1/<cluster>/`.
    pub cluster: String,
    /// TLS material, where the endpoints are `https`.
    pub tls: TlsFiles,
    /// User and password, where authentication is on.
    pub user: Option<(String, String)>,
}

/// A call that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Decisions in etcd.
#[derive(Clone)]
pub struct EtcdStore {
    client: Client,
    prefix: String,
}

impl EtcdStore {
    /// Connects. Members that are away now are tried again at each call.
    pub async fn connect(options: &EtcdOptions) -> Result<Self, StoreError> {
        let unavailable = |error: &dyn std::fmt::Display| {
            StoreError::Unavailable(format!("connect to etcd at {}: {error}", options.endpoints.join(", ")))
        };
        let mut connect = ConnectOptions::new()
            .with_timeout(CALL_TIMEOUT)
            .with_connect_timeout(CALL_TIMEOUT)
            .with_keep_alive(Duration::from_secs(5), Duration::from_secs(3))
            .with_keep_alive_while_idle(true);
        if let Some((name, password)) = &options.user {
            connect = connect.with_user(name, password);
        }
        if let Some(tls) = tls(&options.tls).map_err(|error| unavailable(&error))? {
            connect = connect.with_tls(tls);
        }
        let client =
            Client::connect(&options.endpoints, Some(connect)).await.map_err(|error| unavailable(&error))?;
        Ok(Self { client, prefix: format!("/zenvoy/v1/{}/", options.cluster) })
    }

    fn path(&self, key: impl std::fmt::Display) -> String {
        format!("{}{key}", self.prefix)
    }

    fn entry(&self, kv: &KeyValue) -> Result<Entry, StoreError> {
        let path = String::from_utf8_lossy(kv.key());
        let key = path.strip_prefix(&self.prefix).unwrap_or(&path).parse()?;
        let value = Bytes::copy_from_slice(kv.value());
        Ok(Entry { key, value, mod_revision: Revision(kv.mod_revision()) })
    }

    fn compare(&self, compare: Compare) -> EtcdCompare {
        match compare {
            Compare::Absent(key) => EtcdCompare::create_revision(self.path(key), CompareOp::Equal, 0),
            Compare::WrittenAt(key, revision) => {
                EtcdCompare::mod_revision(self.path(key), CompareOp::Equal, revision.0)
            }
            Compare::UnchangedSince(room, revision) => {
                let first = self.path(room.prefix());
                let end = after_prefix(&first);
                EtcdCompare::mod_revision(first, CompareOp::Less, revision.0.saturating_add(1))
                    .with_range(end)
            }
        }
    }

    fn write(&self, write: Write) -> TxnOp {
        match write {
            Write::Put(key, value, lease) => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                TxnOp::put(self.path(key), value.to_vec(), options)
            }
            Write::Delete(key) => TxnOp::delete(self.path(key), None),
        }
    }
}

fn tls(files: &TlsFiles) -> Result<Option<TlsOptions>, std::io::Error> {
    if *files == TlsFiles::default() {
        return Ok(None);
    }
    let mut options = TlsOptions::new();
    if let Some(ca) = &files.ca {
        options = options.ca_certificate(Certificate::from_pem(std::fs::read(ca)?));
    }
    if let Some((certificate, key)) = &files.identity {
        options = options.identity(Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?));
    }
    Ok(Some(options))
}

/// The first key after all that begin with `prefix`: no key of ours ends in 0xff.
fn after_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

#[allow(clippy::needless_pass_by_value)] // the form that map_err takes
fn failed(error: etcd_client::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn lease_failed(lease: LeaseId) -> impl FnOnce(etcd_client::Error) -> StoreError {
    move |error| match &error {
        etcd_client::Error::GRpcStatus(status) if status.code() == Code::NotFound => {
            StoreError::LeaseEnded(lease)
        }
        _ => failed(error),
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
    let limited = tokio::time::timeout(CALL_TIMEOUT, call).await;
    limited.unwrap_or_else(|_| Err(StoreError::Unavailable(format!("no answer within {CALL_TIMEOUT:?}"))))
}

#[async_trait]
impl Store for EtcdStore {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let lease = txn.writes.iter().find_map(|write| match write {
            Write::Put(_, _, lease) => *lease,
            Write::Delete(_) => None,
        });
        let compares: Vec<EtcdCompare> =
            txn.compares.into_iter().map(|compare| self.compare(compare)).collect();
        let writes: Vec<TxnOp> = txn.writes.into_iter().map(|write| self.write(write)).collect();
        let mut client = self.client.clone();
        let call = client.txn(EtcdTxn::new().when(compares).and_then(writes));
        let answer = in_time(async {
            match lease {
                Some(lease) => call.await.map_err(lease_failed(lease)),
                None => call.await.map_err(failed),
            }
        })
        .await?;
        let revision = Revision(answer.header().map_or(0, etcd_client::ResponseHeader::revision));
        Ok(if answer.succeeded() { TxnOutcome::Written(revision) } else { TxnOutcome::Refused(revision) })
    }

    async fn read(&self, room: Room) -> Result<Snapshot, StoreError> {
        let mut client = self.client.clone();
        let call = client.get(self.path(room.prefix()), Some(GetOptions::new().with_prefix()));
        let answer = in_time(async { call.await.map_err(failed) }).await?;
        let revision = Revision(answer.header().map_or(0, etcd_client::ResponseHeader::revision));
        let mut entries = answer.kvs().iter().map(|kv| self.entry(kv)).collect::<Result<Vec<_>, _>>()?;
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Snapshot { revision, entries })
    }

    async fn watch(&self, after: Revision) -> Result<mpsc::Receiver<super::WatchEvent>, StoreError> {
        let (steps, receiver) = mpsc::channel(WATCH_BUFFER);
        tokio::spawn(watch::run(self.clone(), after, steps));
        Ok(receiver)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let mut client = self.client.clone();
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let answer = in_time(async { client.lease_grant(seconds, None).await.map_err(failed) }).await?;
        Ok(LeaseId(answer.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut client = self.client.clone();
        in_time(async {
            let (mut keeper, mut answers) =
                client.lease_keep_alive(lease.0).await.map_err(|_| StoreError::LeaseEnded(lease))?;
            keeper.keep_alive().await.map_err(failed)?;
            match answers.message().await.map_err(lease_failed(lease))? {
                Some(answer) if answer.ttl() > 0 => Ok(()),
                _ => Err(StoreError::LeaseEnded(lease)),
            }
        })
        .await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut client = self.client.clone();
        in_time(async { client.lease_revoke(lease.0).await.map_err(lease_failed(lease)) }).await?;
        Ok(())
    }
}
