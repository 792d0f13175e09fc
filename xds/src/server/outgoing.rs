//! A response as frames: made as the transport takes them, so that a large one is never whole in memory for each stream.

use bytes::{Bytes, BytesMut};
use tonic::Status;

use crate::core::{Pieces, Response};

/// Pieces are gathered up to this, in bytes: small enough for memory, large enough for the socket.
const CHUNK: usize = 32 * 1024;
/// A piece of at least this many bytes goes out as it is, without a copy.
const WHOLE: usize = 16 * 1024;

/// Up to here a chunk grows by what is put in, then at once to its largest, in bytes.
const SMALL: usize = 1024;
/// A flag and the length.
const PREFIX: usize = 5;

/// What is on its way; empty between responses.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    prefix: Option<[u8; PREFIX]>,
    pieces: Option<Pieces>,
}

impl Outgoing {
    /// # Errors
    /// When the response is longer than gRPC can carry.
    pub(super) fn put(&mut self, response: Response) -> Result<(), Status> {
        let length = u32::try_from(response.encoded_len())
            .map_err(|_| Status::out_of_range("a response of 4 GiB or more: subscribe to fewer resources"))?;
        let mut prefix = [0; PREFIX]; // the flag: not compressed
        prefix[1..].copy_from_slice(&length.to_be_bytes());
        self.prefix = Some(prefix);
        self.pieces = Some(response.into_pieces());
        Ok(())
    }

    /// The next bytes to send; `None`: all is sent.
    pub(super) fn chunk(&mut self) -> Option<Bytes> {
        let pieces = self.pieces.as_mut()?;
        if self.prefix.is_none() && pieces.next_len().is_some_and(|len| len >= WHOLE) {
            return pieces.next();
        }
        let mut chunk = BytesMut::new();
        chunk.extend(self.prefix.take().into_iter().flatten());
        while chunk.len() < CHUNK
            && let Some(len) = pieces.next_len().filter(|len| *len < WHOLE)
        {
            if chunk.capacity() < chunk.len() + len {
                // Most responses are one small resource; the others are long.
                let long = chunk.len() > SMALL;
                chunk.reserve(if long { CHUNK + WHOLE - chunk.len().min(CHUNK) } else { len });
            }
            pieces.put_next(&mut chunk);
        }
        if chunk.is_empty() {
            self.pieces = None;
            return None;
        }
        Some(chunk.freeze())
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
    use prost::Message;

    use super::*;
    use crate::core::{Change, Hub, Limits, Variant};

    #[test]
    fn a_response_goes_out_in_chunks_that_together_are_one_grpc_message() {
        let sizes = [0, 1, 100, 5_000, 20_000, 300, 40_000, 10, 16_384, 31_000];
        let mut hub = Hub::new(Limits::default(), String::new());
        let name = |n: usize| format!("r{n}");
        hub.apply(sizes.iter().enumerate().map(|(n, size)| Change::set("type", name(n), vec![7; *size])));
        let id = hub.open("node".into(), Variant::Delta, None).expect("room");
        let request = envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest {
            type_url: "type".into(),
            ..Default::default()
        };
        hub.delta(id, request, false).expect("a good request");
        let mut outgoing = Outgoing::default();
        outgoing.put(hub.poll(id).expect("a response")).expect("short enough");
        let (mut all, mut chunks) = (BytesMut::new(), 0);
        while let Some(chunk) = outgoing.chunk() {
            assert!(!chunk.is_empty() && chunk.len() < 64 * 1024);
            all.extend_from_slice(&chunk);
            chunks += 1;
        }
        assert_eq!(bytes::Buf::get_u8(&mut all), 0);
        assert_eq!(bytes::Buf::get_u32(&mut all) as usize, all.len());
        let response = DeltaDiscoveryResponse::decode(all.freeze()).expect("a message");
        let got: Vec<usize> =
            response.resources.iter().map(|r| r.resource.as_ref().expect("content").value.len()).collect();
        assert_eq!(got, sizes);
        assert!(chunks < 10, "{chunks}");
    }
}
