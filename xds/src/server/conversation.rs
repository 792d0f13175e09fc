//! One client's stream, from the first request to the last: a body that is polled by the transport when it can take
//! bytes. It owns all there is of the stream, so that dropping it frees everything; no task runs for it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::time::Sleep;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::transport::CertificateDer;

use super::entry::Entry;
use super::line::Line;
use super::outgoing::Outgoing;
use super::requests::{Request, Requests};
use super::room::Room;
use super::{Group, Peer, Server};
use crate::core::{Rate, TypeUrl, Variant};

/// So many requests are taken in before a response is looked for; then others get their turn.
const TURN: usize = 32;

type Admission = Pin<Box<dyn Future<Output = Result<Group, Status>> + Send>>;

pub(super) struct Conversation {
    server: Server,
    line: Arc<Line>,
    origin: Origin,
    requests: Requests,
    rate: Rate,
    phase: Phase,
    outgoing: Outgoing,
}

/// Where a stream comes from.
struct Origin {
    variant: Variant,
    service: Option<TypeUrl>,
    remote_addr: Option<SocketAddr>,
    metadata: MetadataMap,
    certificates: Option<Arc<Vec<CertificateDer<'static>>>>,
}

enum Phase {
    /// Nothing was said yet.
    Silent {
        until: Pin<Box<Sleep>>,
    },
    /// Someone decides whether the node is served. One more request may be read meanwhile.
    Asked {
        admission: Admission,
        node: Arc<str>,
        heard: Vec<Request>,
    },
    Open(Entry),
    /// The status is still to be sent.
    Ending(Status),
    Over,
}

impl Conversation {
    pub(super) fn open<B>(
        server: &Server,
        variant: Variant,
        service: Option<TypeUrl>,
        request: http::Request<B>,
    ) -> Result<Self, Status>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let request = tonic::Request::from_http(request);
        let line = server.shared.begin(request.remote_addr().map(|address| address.ip()))?;
        let origin = Origin {
            variant,
            service,
            remote_addr: request.remote_addr(),
            metadata: request.metadata().clone(),
            certificates: request.peer_certs(),
        };
        let limits = &server.shared.limits;
        let room = Room::new(server.shared.rooms.clone());
        let until = Box::pin(tokio::time::sleep(server.shared.first_request));
        Ok(Self {
            requests: Requests::new(request.into_inner(), variant, limits.request_size, room),
            rate: Rate::new(limits, Instant::now()),
            server: server.clone(),
            line,
            origin,
            phase: Phase::Silent { until },
            outgoing: Outgoing::default(),
        })
    }

    /// One step: `Ready(Ok(()))` when there may be another one at once.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        if let Some(status) = self.line.ended() {
            return Poll::Ready(Err(status));
        }
        match &mut self.phase {
            Phase::Silent { until } => {
                if until.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(Status::deadline_exceeded("no request came on this stream")));
                }
                let Some(first) = ready!(self.requests.poll(cx)?) else {
                    return Poll::Ready(Err(finished()));
                };
                self.ask(first)?;
                Poll::Ready(Ok(()))
            }
            Phase::Asked { .. } => self.decide(cx),
            Phase::Open(_) => self.converse(cx),
            Phase::Ending(_) | Phase::Over => Poll::Pending,
        }
    }

    /// Asks whether the node is served.
    fn ask(&mut self, mut first: Request) -> Result<(), Status> {
        self.rate.request(Instant::now()).map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let first_type = match &self.origin.service {
            Some(service) => service.clone(),
            None => first.type_url().into(),
        };
        let peer = Peer {
            node: first.take_node(),
            variant: self.origin.variant,
            service: self.origin.service.clone(),
            first_type,
            remote_addr: self.origin.remote_addr,
            metadata: std::mem::take(&mut self.origin.metadata),
            certificates: self.origin.certificates.take(),
        };
        let node = Arc::from(peer.node.id.as_str());
        let admit = self.server.shared.admit.clone();
        let limit = self.server.shared.admission;
        let admission: Admission = Box::pin(async move {
            let admitted = tokio::time::timeout(limit, admit.admit(&peer)).await;
            admitted.unwrap_or_else(|_| {
                Err(Status::deadline_exceeded("this node was not admitted in time: try again"))
            })
        });
        self.phase = Phase::Asked { admission, node, heard: vec![first] };
        Ok(())
    }

    fn decide(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let Phase::Asked { admission, node, heard } = &mut self.phase else {
            return Poll::Ready(Ok(()));
        };
        if let Poll::Ready(group) = admission.as_mut().poll(cx) {
            let snapshot = self.server.snapshot(&group?);
            let entry =
                snapshot.enter(node.clone(), self.origin.variant, self.origin.service.clone(), &self.line);
            let mut entry = entry?;
            for request in std::mem::take(heard) {
                entry.request(request)?;
            }
            self.requests.dealt_with()?;
            self.phase = Phase::Open(entry);
            return Poll::Ready(Ok(()));
        }
        if heard.len() == 1 {
            match ready!(self.requests.poll(cx)?) {
                Some(request) => heard.push(request),
                None => return Poll::Ready(Err(finished())),
            }
        }
        Poll::Pending
    }

    fn converse(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let Phase::Open(entry) = &mut self.phase else { return Poll::Ready(Ok(())) };
        let mut heard = 0;
        while heard < TURN {
            match self.requests.poll(cx)? {
                Poll::Pending => break,
                Poll::Ready(None) => return Poll::Ready(Err(finished())),
                Poll::Ready(Some(request)) => {
                    let error = |error: crate::core::Exceeded| Status::resource_exhausted(error.to_string());
                    self.rate.request(Instant::now()).map_err(error)?;
                    entry.request(request)?;
                    self.requests.dealt_with()?;
                    heard += 1;
                }
            }
        }
        if let Some(response) = entry.poll() {
            self.outgoing.put(response)?;
            return Poll::Ready(Ok(()));
        }
        if heard == TURN {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// The client has ended its side: so does the server.
fn finished() -> Status {
    Status::ok("")
}

impl http_body::Body for Conversation {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        this.line.waker.register(cx.waker());
        loop {
            if let Some(chunk) = this.outgoing.chunk() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if matches!(this.phase, Phase::Over) {
                return Poll::Ready(None);
            }
            if let Phase::Ending(status) = &this.phase {
                let mut trailers = HeaderMap::new();
                let added = status.add_header(&mut trailers);
                this.phase = Phase::Over;
                return Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))));
            }
            match ready!(this.step(cx)) {
                Ok(()) => {}
                // What is kept of the stream goes with the phase.
                Err(status) => this.phase = Phase::Ending(status),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // First the entry: who waits for the end of all lines must find nothing left.
        self.phase = Phase::Over;
        self.server.shared.over(&self.line);
    }
}
