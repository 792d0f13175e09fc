//! The bytes of responses. A resource is encoded once, laid out so that one buffer serves both variants; a response is
//! a small head and the ready resources behind it (fields of a protobuf message may come in any order and in pieces).

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

// Field numbers. `resources` has the same one in both responses as the `Any` in `Resource`: a delta field's tail is a
// state-of-the-world field.
const RESOURCES: u32 = 2;
const RESOURCE_VERSION: u32 = 1;
const RESOURCE_ANY: u32 = 2;
const RESOURCE_NAME: u32 = 3;
const ANY_TYPE: u32 = 1;
const ANY_VALUE: u32 = 2;

/// The two ways in which xDS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Only what changed is sent.
    Delta,
    /// Each response holds the full state of a type, or of the names it is about.
    StateOfTheWorld,
}

/// A resource as `resources` field of both responses.
#[derive(Debug)]
pub(super) struct Encoded {
    bytes: Bytes,
    /// Where the field of the other variant begins.
    any: usize,
    /// Where the message begins.
    content: usize,
}

impl Encoded {
    pub(super) fn new(type_url: &str, name: &str, version: &str, content: &[u8]) -> Self {
        let any = field_len(ANY_TYPE, type_url.len()) + field_len(ANY_VALUE, content.len());
        let strings = field_len(RESOURCE_VERSION, version.len()) + field_len(RESOURCE_NAME, name.len());
        let resource = strings + field_len(RESOURCE_ANY, any);
        let mut bytes = BytesMut::with_capacity(field_len(RESOURCES, resource));
        put_head(&mut bytes, RESOURCES, resource);
        put(&mut bytes, RESOURCE_VERSION, version.as_bytes());
        put(&mut bytes, RESOURCE_NAME, name.as_bytes());
        let any_at = bytes.len();
        put_head(&mut bytes, RESOURCE_ANY, any);
        put(&mut bytes, ANY_TYPE, type_url.as_bytes());
        put(&mut bytes, ANY_VALUE, content);
        let content_at = bytes.len() - content.len();
        Self { bytes: bytes.freeze(), any: any_at, content: content_at }
    }

    fn field(&self, variant: Variant) -> Bytes {
        match variant {
            Variant::Delta => self.bytes.clone(),
            Variant::StateOfTheWorld => self.bytes.slice(self.any..),
        }
    }

    fn slice(&self, variant: Variant) -> &[u8] {
        match variant {
            Variant::Delta => &self.bytes,
            Variant::StateOfTheWorld => &self.bytes[self.any..],
        }
    }

    fn len(&self, variant: Variant) -> usize {
        self.slice(variant).len()
    }

    pub(super) fn content(&self) -> Bytes {
        self.bytes.slice(self.content..)
    }
}

fn field_len(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
}

fn put_head(bytes: &mut BytesMut, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, bytes);
    encode_varint(len as u64, bytes);
}

fn put(bytes: &mut BytesMut, field: u32, value: &[u8]) {
    put_head(bytes, field, value.len());
    bytes.put_slice(value);
}

/// One response, ready to be sent.
#[derive(Debug, Clone)]
pub struct Response {
    nonce: u64,
    head: Bytes,
    variant: Variant,
    resources: Vec<Arc<Encoded>>,
}

impl Response {
    pub(super) fn delta(nonce: u64, head: DeltaDiscoveryResponse, resources: Vec<Arc<Encoded>>) -> Self {
        let head = DeltaDiscoveryResponse { nonce: nonce.to_string(), ..head }.encode_to_vec().into();
        Self { nonce, head, variant: Variant::Delta, resources }
    }

    pub(super) fn sotw(nonce: u64, head: DiscoveryResponse, resources: Vec<Arc<Encoded>>) -> Self {
        let head = DiscoveryResponse { nonce: nonce.to_string(), ..head }.encode_to_vec().into();
        Self { nonce, head, variant: Variant::StateOfTheWorld, resources }
    }

    /// Unique on its stream; the client's answer names it ([`Answer::nonce`](super::Answer::nonce)).
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// How long the encoded message is, in bytes.
    pub fn encoded_len(&self) -> usize {
        self.head.len() + self.resources.iter().map(|encoded| encoded.len(self.variant)).sum::<usize>()
    }

    /// The encoded message, in pieces. The resources among them are shared with other responses.
    pub fn into_pieces(self) -> Pieces {
        Pieces { head: Some(self.head), variant: self.variant, resources: self.resources.into_iter() }
    }
}

/// The pieces of a response, in order; none is empty. Those that are still to come take a pointer each.
#[derive(Debug)]
pub struct Pieces {
    head: Option<Bytes>,
    variant: Variant,
    resources: std::vec::IntoIter<Arc<Encoded>>,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.head.take().or_else(|| Some(self.resources.next()?.field(self.variant)))
    }
}

impl Pieces {
    /// The length of the next piece, in bytes.
    pub fn next_len(&self) -> Option<usize> {
        let resource = || Some(self.resources.as_slice().first()?.len(self.variant));
        self.head.as_ref().map(Bytes::len).or_else(resource)
    }

    /// Copies the next piece, if there is one.
    pub fn put_next(&mut self, to: &mut BytesMut) {
        if let Some(head) = self.head.take() {
            to.put_slice(&head);
        } else if let Some(resource) = self.resources.next() {
            to.put_slice(resource.slice(self.variant));
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::Resource;
    use envoy_types::pb::google::protobuf::Any;

    use super::*;

    #[test]
    fn one_buffer_is_a_field_of_both_responses_and_holds_the_content() {
        let long = "n".repeat(300);
        for (name, content) in [("", &b""[..]), ("a", b"1"), (&long, &[7; 20_000])] {
            let encoded = Encoded::new("type", name, "v1", content);
            let any = Any { type_url: "type".into(), value: content.to_vec() };
            let resource = Resource {
                name: name.into(),
                version: "v1".into(),
                resource: Some(any.clone()),
                ..Resource::default()
            };
            let delta = DeltaDiscoveryResponse::decode(encoded.field(Variant::Delta)).expect("a response");
            assert_eq!(delta.resources, [resource]);
            let sotw =
                DiscoveryResponse::decode(encoded.field(Variant::StateOfTheWorld)).expect("a response");
            assert_eq!(sotw.resources, [any]);
            assert_eq!(encoded.content(), content);
        }
    }
}
