//! A delta ADS client: [`run_stream`] for those who own the connection, [`Client`] for those who want it kept up.
//! In: addresses and what is wanted; out: calls to a [`Handler`].

mod backoff;
mod stream;
mod typed;
mod wants;

use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tracing::{info, warn};

use stream::Stream;

pub use backoff::Backoff;
pub use stream::{StreamError, run_stream};
pub use typed::{And, Decoded, Typed};
pub use wants::Wants;

pub use crate::core::{ClientState, Handler, Names};

/// No address, no client.
#[derive(Debug, thiserror::Error)]
#[error("a client needs at least one address of a management server")]
pub struct NoAddress;

/// An address for [`Client::new`], with settings for long-lived streams, each of which may be changed: a connection is tried
/// for 5 s, and dead when a ping every 10 s is not answered within another 5 s.
///
/// # Errors
/// When it is no URI.
pub fn endpoint(uri: impl Into<bytes::Bytes>) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(uri)?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    Ok(endpoint)
}

/// Keeps one stream to any of several management servers that serve the same.
#[derive(Debug)]
pub struct Client {
    addresses: Vec<Endpoint>,
    backoff: Backoff,
    answer: Duration,
    state: ClientState,
    wants: Wants,
}

impl Client {
    /// Tries the addresses in turn, from the first on, with pauses from 250 ms to 30 s between attempts, of which up to half is
    /// left out at random; while it wants nothing it tries none. Shuffle the addresses where very many clients are given the
    /// same. They are taken as they are, but for the limit on a request ([`Self::answer_within`]): make them with
    /// [`endpoint`], or set keep-alive, without which a dead connection is not noticed.
    ///
    /// # Errors
    /// When there is no address.
    pub fn new(addresses: Vec<Endpoint>, state: ClientState) -> Result<Self, NoAddress> {
        if addresses.is_empty() {
            return Err(NoAddress);
        }
        Ok(Self {
            addresses,
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(30)),
            answer: Duration::from_secs(30),
            state,
            wants: Wants::default(),
        })
    }

    /// Other pauses than the usual ones.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long a server may take to begin its answer to a new stream before the next address is tried; 30 s by default.
    #[must_use]
    pub fn answer_within(mut self, limit: Duration) -> Self {
        self.answer = limit;
        self
    }

    /// Changes which names it subscribes to, also while it runs.
    pub fn wants(&self) -> Wants {
        self.wants.clone()
    }

    /// Hands every change to the handler; never returns. Ends at once when dropped.
    pub async fn run(self, handler: &mut (dyn Handler + Send)) {
        self.run_over(handler, |address| async move { address.connect().await }).await;
    }

    async fn run_over<F>(mut self, handler: &mut (dyn Handler + Send), connect: impl Fn(Endpoint) -> F)
    where
        F: Future<Output = Result<Channel, tonic::transport::Error>>,
    {
        for turn in (0..self.addresses.len()).cycle() {
            let address = self.addresses[turn].clone();
            self.state.close();
            self.until_wanting(handler).await;
            // The limit is on the response's head: what follows it may take for ever.
            let connecting = connect(address.clone().timeout(self.answer));
            match self.attempt(connecting, handler).await {
                Ok(()) => info!(server = %address.uri(), "the management server ended the stream"),
                Err(error) => warn!(server = %address.uri(), %error, "no stream to the management server"),
            }
            if self.state.answered() {
                self.backoff.reset();
            }
            tokio::time::sleep(self.backoff.pause(rand::random())).await;
        }
    }

    /// A stream without a request would be ended by the server, again and again.
    async fn until_wanting(&mut self, handler: &mut (dyn Handler + Send)) {
        loop {
            // The first requests will say it.
            drop(self.wants.take_in(&mut self.state, handler));
            if !self.state.wants_nothing() {
                return;
            }
            self.wants.changed().await;
        }
    }

    async fn attempt(
        &mut self,
        connecting: impl Future<Output = Result<Channel, tonic::transport::Error>>,
        handler: &mut (dyn Handler + Send),
    ) -> Result<(), AttemptError> {
        let stream = Stream::open(connecting.await?, &mut self.state).await?;
        let begun = Instant::now();
        let ended = stream.run(&mut self.state, handler, &self.wants).await;
        self.backoff.stood(begun.elapsed());
        Ok(ended?)
    }
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error(transparent)]
    Stream(#[from] StreamError),
}

#[cfg(test)]
mod tests;
