//! The members of one etcd. In: calls; out: answers, from the member in use or, when that one fails, from another.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, TlsOptions};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::{Certificate, Identity};
use tracing::debug;
use zenvoy_shared::tls::{Live, Material};

use super::failure::{self, Failure};
use super::probe;
use super::{LeaseId, StoreError};

/// A call that takes longer has failed.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A member that is silent for longer is left for another.
const PATIENCE: Duration = Duration::from_secs(2);
/// An urgent call leaves a member of which nothing is heard sooner...
const URGENT_PATIENCE: Duration = Duration::from_millis(800);
/// ...and fails when nothing is heard of any for so long. Between two leaders of etcd it is mostly less.
const URGENT_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What is known of a call before it is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// Whether doing it twice is as good as once, or it cannot be done twice.
    pub(super) repeatable: bool,
    /// What it rests on.
    pub(super) lease: Option<LeaseId>,
    /// Whether somebody waits who can do without.
    pub(super) haste: Haste,
}

/// How long it is worth to wait for a store of which nothing is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// As long as any call may take.
    None,
    /// Not for long; but while others are answered, as a store does that has much to do.
    Urgent,
}

impl Call {
    pub(super) const REPEATABLE: Self = Self { repeatable: true, lease: None, haste: Haste::None };
}

/// All members, of which one is in use. Each has a connection of its own, since a common one would go on sending a part
/// of the calls to a member that is away.
pub(super) struct Members {
    all: Vec<Member>,
    used: watch::Sender<usize>,
}

struct Member {
    endpoint: String,
    options: ConnectOptions,
    tls: Option<Live>,
    connected: Mutex<Option<Connected>>,
    /// When it answered a call last.
    heard: watch::Sender<Option<Instant>>,
}

/// A client connects again by itself, but only with the TLS material it was made with.
struct Connected {
    client: Client,
    material: Option<Arc<Material>>,
}

impl Members {
    /// Replicas begin at members of their own, so that these share the load.
    pub(super) fn new(
        endpoints: &[String],
        options: &ConnectOptions,
        tls: Option<&Live>,
    ) -> Result<Self, StoreError> {
        if endpoints.is_empty() {
            return Err(StoreError::Options("no endpoint of etcd is given".into()));
        }
        let all = endpoints.iter().map(|endpoint| Member {
            endpoint: endpoint.clone(),
            options: options.clone(),
            tls: tls.cloned(),
            connected: Mutex::new(None),
            heard: watch::Sender::new(None),
        });
        Ok(Self { all: all.collect(), used: watch::Sender::new(rand::random_range(0..endpoints.len())) })
    }

    fn used(&self) -> usize {
        *self.used.borrow()
    }

    /// Where the member in use is reached.
    pub(super) fn endpoint(&self) -> &str {
        &self.all[self.used()].endpoint
    }

    /// Where a member is reached.
    pub(super) fn endpoint_of(&self, member: usize) -> &str {
        &self.all[member].endpoint
    }

    /// Uses another member from now on, if `failed` is still in use.
    pub(super) fn leave(&self, failed: usize) {
        let left = self.used.send_if_modified(|used| {
            let leaves = *used == failed && self.all.len() > 1;
            if leaves {
                *used = (failed + 1) % self.all.len();
            }
            leaves
        });
        if left {
            debug!(
                failed = self.endpoint_of(failed),
                now = self.endpoint(),
                "another member of etcd is used"
            );
        }
    }

    /// Until another member than `member` is in use.
    pub(super) async fn left(&self, member: usize) {
        // The sender lives in self: waiting cannot fail.
        let _ = self.used.subscribe().wait_for(|used| *used != member).await;
    }

    /// Gets a new token at a member.
    pub(super) async fn renew_token(&self, member: usize) -> Result<(), Failure> {
        let member = &self.all[member];
        let renewed = timeout(PATIENCE, async { member.open().await?.refresh_token().await }).await;
        match renewed {
            Ok(renewed) => renewed.map_err(|error| member.failure(&error, None).before_the_call()),
            Err(_) => Err(Failure::Undone(member.silent(PATIENCE))),
        }
    }

    /// Makes a call within [`CALL_TIMEOUT`], at as many members as needed. Says who answered.
    pub(super) async fn call<T, F>(
        &self,
        what: Call,
        call: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<(usize, T), StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let mut last = None;
        let limit = match what.haste {
            Haste::None => CALL_TIMEOUT,
            Haste::Urgent => URGENT_TIMEOUT,
        };
        let attempts = unless_silent(&self.all, limit, self.attempts(what, &call, &mut last));
        let answer = timeout(CALL_TIMEOUT, attempts).await.ok().flatten();
        let silent = || self.all[self.used()].silent(limit);
        answer.unwrap_or_else(|| Err(last.unwrap_or_else(silent)))
    }

    async fn attempts<T, F>(
        &self,
        what: Call,
        call: &(impl Fn(Client) -> F + Send + Sync),
        last: &mut Option<StoreError>,
    ) -> Result<(usize, T), StoreError>
    where
        T: Send,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let (mut tried, mut denied, mut pause) = (0, 0, FIRST_PAUSE);
        loop {
            let member = self.used();
            let error = match self.attempt(member, what, call, last).await {
                Ok(answer) => {
                    self.all[member].heard.send_replace(Some(Instant::now()));
                    return Ok((member, answer));
                }
                Err(Failure::Answered(error)) => return Err(error),
                Err(Failure::Unknown(error)) if !what.repeatable => {
                    self.leave(member);
                    return Err(error);
                }
                Err(Failure::Undone(error) | Failure::Unknown(error) | Failure::StaleToken(error)) => error,
            };
            self.leave(member);
            tried += 1;
            denied = if error.could_retry() { 0 } else { denied + 1 };
            if denied >= self.all.len() {
                return Err(error);
            }
            *last = Some(error);
            if tried % self.all.len() == 0 {
                // Between two leaders of etcd every member sends us away, for about a second.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    async fn attempt<T, F>(
        &self,
        member: usize,
        what: Call,
        call: &(impl Fn(Client) -> F + Send + Sync),
        last: &mut Option<StoreError>,
    ) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let asked = self.ask(member, what, call);
        tokio::pin!(asked);
        let elsewhere = what.repeatable && self.all.len() > 1;
        let patience = match what.haste {
            Haste::Urgent if elsewhere => URGENT_PATIENCE,
            Haste::Urgent | Haste::None => PATIENCE,
        };
        if let Ok(Some(answer)) =
            timeout(PATIENCE, unless_silent(&self.all[member..=member], patience, &mut asked)).await
        {
            return answer;
        }
        if elsewhere {
            return Err(Failure::Unknown(self.all[member].silent(patience)));
        }
        // It may have been done, so it is waited for; the others need not wait for this member.
        self.leave(member);
        *last = Some(self.all[member].silent(CALL_TIMEOUT));
        asked.await
    }

    async fn ask<T, F>(
        &self,
        at: usize,
        what: Call,
        call: &(impl Fn(Client) -> F + Send + Sync),
    ) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let member = &self.all[at];
        let client = match member.open().await {
            Ok(client) => client,
            Err(error) => return Err(member.explained(&error, None).await.before_the_call()),
        };
        let failure = match call(client.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => member.explained(&error, what.lease).await,
        };
        let Failure::StaleToken(_) = failure else { return Err(failure) };
        self.renew_token(at).await?;
        call(client).await.map_err(|error| member.failure(&error, what.lease))
    }
}

/// What `call` ends with, unless none of `members` answers anything for `limit` while it waits.
async fn unless_silent<T>(members: &[Member], limit: Duration, call: impl Future<Output = T>) -> Option<T> {
    let mut since = Instant::now();
    tokio::pin!(call);
    loop {
        if let Ok(answer) = timeout_at(since + limit, &mut call).await {
            return Some(answer);
        }
        let heard = members.iter().filter_map(|member| *member.heard.borrow()).max();
        since = heard.filter(|heard| *heard > since)?;
    }
}

impl Member {
    /// Connects on the first call, and anew when TLS files have changed; where there is a user, this asks for a token. What
    /// runs on an earlier client runs on.
    async fn open(&self) -> Result<Client, Error> {
        let material = self.tls.as_ref().map(Live::material);
        let mut connected = self.connected.lock().await;
        if let Some(connected) = &*connected
            && connected.material.as_ref().map(Arc::as_ptr) == material.as_ref().map(Arc::as_ptr)
        {
            return Ok(connected.client.clone());
        }
        let options = match &material {
            Some(material) => self.options.clone().with_tls(tls_options(material)),
            None => self.options.clone(),
        };
        let client = Client::connect([&self.endpoint], Some(options)).await?;
        *connected = Some(Connected { client: client.clone(), material });
        Ok(client)
    }

    fn failure(&self, error: &Error, lease: Option<LeaseId>) -> Failure {
        Failure::of(error, &self.endpoint, lease)
    }

    /// The same; a connection that broke may have been ended for the own certificate.
    async fn explained(&self, error: &Error, lease: Option<LeaseId>) -> Failure {
        let failure = self.failure(error, lease);
        let Some(tls) = self.tls.as_ref().filter(|_| failure::is_broken_connection(error)) else {
            return failure;
        };
        match probe::refusal(&self.endpoint, &tls.material()).await {
            Some(alert) => failure.because_of_certificates(&self.endpoint, &alert),
            None => failure,
        }
    }

    fn silent(&self, time: Duration) -> StoreError {
        StoreError::Unavailable(format!("{}: no answer within {time:?}", self.endpoint))
    }
}

fn tls_options(material: &Material) -> TlsOptions {
    let (contents, mut tls) = (material.contents(), TlsOptions::new());
    if let Some(ca) = &contents.ca {
        tls = tls.ca_certificate(Certificate::from_pem(ca));
    }
    if let Some((certificate, key)) = &contents.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    tls
}
