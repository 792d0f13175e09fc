//! Requests of either variant, decoded from a body. A large first request leaves no large buffer behind.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use http_body::Body as _;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use prost::Message;
use tonic::Status;

use super::room::Room;
use crate::core::{Answer, Hub, RequestError, StreamId, Variant};

/// A flag and the length.
const PREFIX: usize = 5;

/// A request of either variant.
#[derive(Debug)]
pub(super) enum Request {
    Delta(DeltaDiscoveryRequest),
    Sotw(DiscoveryRequest),
}

impl Request {
    fn decode(variant: Variant, message: Bytes) -> Result<Self, Status> {
        let request = match variant {
            Variant::Delta => DeltaDiscoveryRequest::decode(message).map(Self::Delta),
            Variant::StateOfTheWorld => DiscoveryRequest::decode(message).map(Self::Sotw),
        };
        request.map_err(|error| Status::invalid_argument(format!("a request cannot be decoded: {error}")))
    }

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
pub(super) struct Requests {
    variant: Variant,
    body: UnsyncBoxBody<Bytes, Status>,
    /// What has come of the next message.
    buffer: BytesMut,
    /// The longest message that is taken, in bytes.
    most: usize,
    room: Room,
    /// Of the messages that were given out and wait to be dealt with, in bytes.
    waiting: usize,
}

impl Requests {
    pub(super) fn new<B>(body: B, variant: Variant, most: usize, room: Room) -> Self
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let body = body
            .map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
            .map_err(|error| Status::from_error(error.into()))
            .boxed_unsync();
        Self { variant, body, buffer: BytesMut::new(), most, room, waiting: 0 }
    }

    /// All that was given out is dealt with.
    pub(super) fn dealt_with(&mut self) -> Result<(), Status> {
        self.waiting = 0;
        self.room.hold(self.buffer.len())
    }

    /// The next one; `None`: the client has said all it has to say.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Request, Status>>> {
        loop {
            match self.message() {
                Ok(None) => {}
                Ok(Some(message)) => return Poll::Ready(Some(Request::decode(self.variant, message))),
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.room.hold(self.waiting + self.buffer.len() + data.len())?;
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None if self.buffer.is_empty() => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err(Status::invalid_argument("a request is cut short")))),
            }
        }
    }

    /// The next message, if all of it has come.
    fn message(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(&[flag, a, b, c, d]) = self.buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if flag != 0 {
            return Err(Status::unimplemented("compressed requests are not taken"));
        }
        if length > self.most {
            let most = self.most;
            return Err(Status::resource_exhausted(format!(
                "a request is too large: {length} bytes, at most {most} are taken"
            )));
        }
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        let message = self.buffer.split_to(length).freeze();
        self.waiting += length;
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}
