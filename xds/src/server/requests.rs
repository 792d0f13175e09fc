//! Requests of either variant, decoded from a body.

use std::task::{Context, Poll};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use futures::StreamExt;
use prost::Message;
use tonic::codec::{BufferSettings, Streaming};
use tonic::{Code, Status};
use tonic_prost::ProstDecoder;

use crate::core::{Answer, Hub, Limits, RequestError, StreamId, Variant};

/// Requests are small but for a client's first; each stream has this many bytes ready for them.
const BUFFER: usize = 1024;

/// A request of either variant.
#[derive(Debug)]
pub(super) enum Request {
    Delta(DeltaDiscoveryRequest),
    Sotw(DiscoveryRequest),
}

impl Request {
    pub(super) fn take_node(&mut self) -> Node {
        let node = match self {
            Self::Delta(request) => &mut request.node,
            Self::Sotw(request) => &mut request.node,
        };
        node.take().unwrap_or_default()
    }

    pub(super) fn type_url(&self) -> &str {
        match self {
            Self::Delta(request) => &request.type_url,
            Self::Sotw(request) => &request.type_url,
        }
    }

    /// Hands it to the core; `list`: an ACK is to be answered with names.
    pub(super) fn hand_to(
        self,
        hub: &mut Hub,
        id: StreamId,
        list: bool,
    ) -> Result<Option<Answer>, RequestError> {
        match self {
            Self::Delta(request) => hub.delta(id, request, list),
            Self::Sotw(request) => hub.sotw(id, request, list),
        }
    }
}

/// A client's requests.
pub(super) enum Requests {
    Delta(Streaming<DeltaDiscoveryRequest>),
    Sotw(Streaming<DiscoveryRequest>),
}

impl Requests {
    pub(super) fn new<B>(body: B, variant: Variant, limits: &Limits) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match variant {
            Variant::Delta => Self::Delta(decoded(body, limits)),
            Variant::StateOfTheWorld => Self::Sotw(decoded(body, limits)),
        }
    }

    /// The next one; `None`: the client has said all it has to say.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Request, Status>>> {
        let request = match self {
            Self::Delta(requests) => {
                requests.poll_next_unpin(cx).map(|next| next.map(|r| r.map(Request::Delta)))
            }
            Self::Sotw(requests) => {
                requests.poll_next_unpin(cx).map(|next| next.map(|r| r.map(Request::Sotw)))
            }
        };
        request.map_err(limit)
    }
}

fn decoded<M, B>(body: B, limits: &Limits) -> Streaming<M>
where
    M: Message + Default + 'static,
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let decoder = ProstDecoder::<M>::new(BufferSettings::new(BUFFER, BUFFER));
    Streaming::new_request(decoder, body, None, Some(limits.request_size))
}

/// What is too large is a matter of limits, as other limits are.
fn limit(status: Status) -> Status {
    if status.code() == Code::OutOfRange {
        return Status::resource_exhausted(format!("a request is too large: {}", status.message()));
    }
    status
}
