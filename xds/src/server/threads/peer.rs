//! A client at the end of a stream's body, without a transport between.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::rpc;
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;
use prost::Message;
use tonic::{Code, Status};

use super::{CDS, block_on};
use crate::core::Variant;
use crate::server::Server;
use crate::server::conversation::Conversation;

pub(super) struct Peer {
    body: Conversation,
    requests: UnboundedSender<Bytes>,
    /// What it was told last, by name.
    pub(super) has: BTreeMap<String, String>,
}

impl Peer {
    /// Asks for all clusters as `node`.
    pub(super) fn open(server: &Server, node: &str) -> Result<Self, Status> {
        let (requests, receiver) = unbounded();
        let frames = receiver.map(|bytes| Ok::<_, Status>(Frame::data(bytes)));
        let request = http::Request::new(StreamBody::new(frames));
        let body = Conversation::open(server, Variant::Delta, None, request)?;
        let peer = Self { body, requests, has: BTreeMap::new() };
        let node = Some(Node { id: node.into(), ..Node::default() });
        peer.say(&DeltaDiscoveryRequest { node, type_url: CDS.into(), ..DeltaDiscoveryRequest::default() });
        Ok(peer)
    }

    fn say(&self, request: &DeltaDiscoveryRequest) {
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(u32::try_from(request.encoded_len()).expect("short"));
        request.encode(&mut bytes).expect("room");
        self.requests.unbounded_send(bytes.freeze()).expect("the body holds the other end");
    }

    /// Takes in one response and acknowledges it, or refuses it if it holds what is `bad`.
    ///
    /// # Errors
    /// The end of the stream.
    pub(super) fn next(&mut self) -> Result<(), Code> {
        let frame = block_on(poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)));
        self.take(frame)
    }

    /// As [`Self::next`], if there is anything now; so the server hears what was said.
    pub(super) fn next_now(&mut self) -> Result<(), Code> {
        match Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => self.take(frame),
            Poll::Pending => Ok(()),
        }
    }

    fn take(&mut self, frame: Option<Result<Frame<Bytes>, Status>>) -> Result<(), Code> {
        let frame = frame.expect("trailers come first").expect("no failure");
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let trailers = frame.into_trailers().expect("data or trailers");
                return Err(Status::from_header_map(&trailers).expect("a status").code());
            }
        };
        let response = DeltaDiscoveryResponse::decode(data.slice(5..)).expect("all of it is one frame");
        let mut refusal = None;
        for resource in response.resources {
            let content = String::from_utf8(resource.resource.expect("content").value).expect("text");
            if content == "bad" {
                refusal = Some(rpc::Status { message: content, ..rpc::Status::default() });
            } else {
                self.has.insert(resource.name, content);
            }
        }
        response.removed_resources.iter().for_each(|name| drop(self.has.remove(name)));
        self.say(&DeltaDiscoveryRequest {
            type_url: CDS.into(),
            response_nonce: response.nonce,
            error_detail: refusal,
            ..DeltaDiscoveryRequest::default()
        });
        Ok(())
    }

    /// Takes in responses until it has this, and has said so.
    ///
    /// # Errors
    /// The end of the stream.
    pub(super) fn until(&mut self, name: &str, content: &str) -> Result<(), Code> {
        while self.has.get(name).is_none_or(|has| has != content) {
            self.next()?;
        }
        self.next_now()
    }
}
