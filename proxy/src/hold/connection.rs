//! The driver of one connection: does what its machine says, on sockets.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout, timeout_at};
use tracing::{Instrument, Span, debug, info_span, warn};
use zenvoy_shared::id::UpstreamId;
use zenvoy_shared::proto::WakeTiming;

use super::answer::{self, Start};
use super::client::{Client, First};
use super::machine::{Failure, Machine, Step, reason};
use super::{Holder, WakeTimes};
use crate::node::{Moment, Node, Place, Standing};
use crate::relay::{Meter, Relayed, cut, relay};
use crate::table::{Held, Verdict};
use crate::transport::prepare;

/// A client that is refused before it spoke is answered once it has, within this.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);

type Row = watch::Receiver<Arc<Held>>;

/// One connection on its way.
struct Connection<'a> {
    holder: &'a Holder,
    row: Row,
    client: Client,
    place: Place,
    machine: Machine,
    /// The endpoint that failed last.
    avoid: Option<SocketAddr>,
}

/// How waiting ended.
enum End {
    /// Connected to an endpoint.
    Connected(TcpStream, SocketAddr),
    /// To be told why not.
    Failed(Failure),
    /// Too many wait already, which is counted where it was found.
    Refused(Failure),
    /// Nothing is to be said.
    Closed,
}

impl Holder {
    pub(super) async fn see(&self, stream: TcpStream, row: Row) {
        let held = row.borrow().clone();
        let span = info_span!("connection", upstream = %held.upstream, traceparent = tracing::field::Empty);
        let client = Client::new(stream);
        let (place, machine) = (self.node.arrive(&held), Machine::new(self.patience, Instant::now()));
        let mut connection = Connection { holder: self, row, client, place, machine, avoid: None };
        async {
            match connection.wait().await {
                End::Connected(server, endpoint) => connection.relay(server, endpoint).await,
                End::Failed(failure) => {
                    connection.place.fail(&failure.reason);
                    connection.tell(&failure).await;
                }
                End::Refused(failure) => connection.tell(&failure).await,
                End::Closed => {}
            }
        }
        .instrument(span)
        .await;
    }
}

impl Connection<'_> {
    async fn wait(&mut self) -> End {
        loop {
            let held = self.row.borrow_and_update().clone();
            let known = self.row.has_changed().is_ok().then_some(&*held);
            let done = match self.machine.next(known, Instant::now()) {
                Step::AwaitByte { until } => self.await_byte(&held, until).await,
                Step::Hold { until } => match self.stand(Standing::Held, &held) {
                    Ok(()) => self.pause(until).instrument(info_span!("hold")).await,
                    Err(failure) => ControlFlow::Break(End::Refused(failure)),
                },
                Step::Pause { until } => self.pause(until).await,
                Step::Dial { endpoints, deadline } => {
                    self.dial(&endpoints, deadline).instrument(info_span!("dial")).await
                }
                Step::Fail(failure) => ControlFlow::Break(End::Failed(failure)),
                Step::Close => ControlFlow::Break(End::Closed),
            };
            if let ControlFlow::Break(end) = done {
                return end;
            }
        }
    }

    fn stand(&mut self, standing: Standing, held: &Held) -> Result<(), Failure> {
        let waits = self.place.wait(standing, held.max_held, Moment::now());
        if let Some((_, trace)) = self.place.held() {
            Span::current().record("traceparent", trace.to_string());
        }
        waits.map_err(|refused| {
            debug!(%refused, "refused");
            Failure::own(reason::TOO_MANY_HELD, refused.to_string())
        })
    }

    async fn await_byte(&mut self, held: &Held, until: Instant) -> ControlFlow<End> {
        if let Err(failure) = self.stand(Standing::Silent, held) {
            return ControlFlow::Break(End::Refused(failure));
        }
        tokio::select! {
            biased;
            first = self.client.first() => match first {
                First::Byte => self.machine.spoke(),
                First::End => return ControlFlow::Break(End::Closed),
            },
            _ = self.row.changed() => {}
            () = sleep_until(until.into()) => {}
            () = self.holder.give_up.cancelled() => return ControlFlow::Break(End::Closed),
        }
        ControlFlow::Continue(())
    }

    /// Until the verdict changes or the moment has come.
    async fn pause(&mut self, until: Instant) -> ControlFlow<End> {
        tokio::select! {
            biased;
            _ = self.row.changed() => {}
            () = self.client.gone() => return self.gone(),
            () = sleep_until(until.into()) => {}
            () = self.holder.give_up.cancelled() => return ControlFlow::Break(End::Failed(stopping())),
        }
        ControlFlow::Continue(())
    }

    fn gone(&self) -> ControlFlow<End> {
        debug!("dropped: its client went away");
        self.place.gone();
        ControlFlow::Break(End::Closed)
    }

    async fn dial(&mut self, endpoints: &[SocketAddr], deadline: Instant) -> ControlFlow<End> {
        self.place.stand(Standing::Releasing, Moment::now());
        let now = Instant::now();
        let Some((endpoint, slot)) = self.holder.slot(endpoints, self.avoid) else {
            return ControlFlow::Continue(());
        };
        // Only those that were held come in masses.
        let at = if self.machine.was_held() { slot.min(deadline) } else { now };
        let until = (at + self.holder.patience.dial).min(deadline);
        let mut dial = pin!(dial(endpoint, at, until));
        let dialled = loop {
            tokio::select! {
                biased;
                dialled = &mut dial => break dialled,
                () = self.client.gone() => return self.gone(),
                changed = self.row.changed() => if changed.is_err() || !self.forwards_to(endpoint) {
                    return ControlFlow::Continue(());
                },
                () = self.holder.give_up.cancelled() => return ControlFlow::Break(End::Failed(stopping())),
            }
        };
        match dialled {
            Ok(server) if self.forwards_to(endpoint) => ControlFlow::Break(End::Connected(server, endpoint)),
            // The verdict changed under the dial: the endpoint may be condemned (rule D9).
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                debug!(%endpoint, %error, "not accepting yet");
                self.avoid = Some(endpoint);
                self.machine.dial_failed(format!("{endpoint}: {error}"), Instant::now());
                ControlFlow::Continue(())
            }
        }
    }

    fn forwards_to(&self, endpoint: SocketAddr) -> bool {
        let held = self.row.borrow();
        self.row.has_changed().is_ok()
            && matches!(&held.verdict, Verdict::Forward(endpoints) if endpoints.contains(&endpoint))
    }

    async fn relay(mut self, server: TcpStream, endpoint: SocketAddr) {
        let now = Moment::now();
        self.place.stand(Standing::Relaying, now);
        let held = self.place.held().map(|(since, _)| since);
        if let Some(since) = held {
            let waited = now.at.saturating_duration_since(since.at);
            self.holder.times.forwarded_after(waited);
            debug!(%endpoint, held_ms = waited.as_millis(), "released");
        }
        let client = match self.client.into_stream() {
            Ok(client) => client,
            Err(error) => return warn!(%error, "a connection was lost when it was to be relayed"),
        };
        let meter = Tally {
            relayed: self.place.relayed(),
            answered: AtomicBool::new(held.is_none()),
            wake: held.map(|held| (held, now)),
            node: self.place.node(),
            upstream: self.place.upstream(),
            times: &self.holder.times,
        };
        tokio::select! {
            relayed = relay(&client, &server, &meter) => if let Err(error) = relayed {
                debug!(%error, "a relay ended early");
            },
            () = self.holder.cut.cancelled() => [&client, &server].into_iter().for_each(cut),
        }
    }

    async fn tell(self, failure: &Failure) {
        let Self { client, place, row, .. } = self;
        let held = row.borrow().clone();
        debug!(reason = failure.reason, message = failure.message, "failed");
        // It no longer waits, and demands nothing.
        drop(place);
        if held.protocol.is_http() {
            let _ = timeout(REFUSAL_PATIENCE, client.first()).await;
        }
        let mut start = Start::default();
        client.peek(&mut start);
        if let Ok(stream) = client.into_stream() {
            answer::tell(stream, held.protocol, &start, &held.upstream, failure).await;
        }
    }
}

fn stopping() -> Failure {
    Failure::own(reason::PROXY_STOPPING, "the zenvoy proxy of this node ends")
}

async fn dial(endpoint: SocketAddr, at: Instant, until: Instant) -> io::Result<TcpStream> {
    if at > Instant::now() {
        sleep_until(at.into()).await;
    }
    let dialled = timeout_at(until.into(), TcpStream::connect(endpoint)).await;
    let stream = dialled.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))?;
    prepare(&stream)?;
    Ok(stream)
}

/// Counts a relay's bytes, and reports the first one of the answer to a connection that was held.
struct Tally<'a> {
    relayed: Arc<Relayed>,
    answered: AtomicBool,
    /// When it was held and when it was forwarded.
    wake: Option<(Moment, Moment)>,
    node: &'a Node,
    upstream: &'a UpstreamId,
    times: &'a WakeTimes,
}

impl Meter for Tally<'_> {
    fn to_server(&self, bytes: u64) {
        Meter::to_server(&*self.relayed, bytes);
    }

    fn to_client(&self, bytes: u64) {
        Meter::to_client(&*self.relayed, bytes);
        if self.answered.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some((held, forwarded)) = self.wake else { return };
        let now = Moment::now();
        self.times.first_byte_after(now.at.saturating_duration_since(held.at));
        self.node.first_byte(WakeTiming {
            upstream: self.upstream.to_string(),
            held_unix_nanos: held.unix_nanos(),
            forwarded_unix_nanos: forwarded.unix_nanos(),
            first_byte_unix_nanos: now.unix_nanos(),
        });
    }
}
