//! A response as frames: made as the transport takes them, so that a large one is never whole in memory for each stream.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tonic::Status;

use crate::core::Response;

/// Pieces are gathered up to this, in bytes: small enough for memory, large enough for the socket.
const CHUNK: usize = 32 * 1024;
/// A piece of at least this many bytes goes out as it is, without a copy.
const WHOLE: usize = 16 * 1024;

/// What is on its way; empty between responses.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Bytes>,
}

impl Outgoing {
    /// # Errors
    /// When the response is longer than gRPC can carry.
    pub(super) fn put(&mut self, response: Response) -> Result<(), Status> {
        let length = u32::try_from(response.encoded_len())
            .map_err(|_| Status::out_of_range("a response of 4 GiB or more: subscribe to fewer resources"))?;
        let mut prefix = BytesMut::with_capacity(5);
        prefix.put_u8(0); // not compressed
        prefix.put_u32(length);
        self.pieces.push_back(prefix.freeze());
        self.pieces.extend(response.into_pieces());
        Ok(())
    }

    /// The next bytes to send; `None`: all is sent.
    pub(super) fn chunk(&mut self) -> Option<Bytes> {
        let first = self.pieces.front_mut()?;
        if first.len() >= WHOLE {
            return self.pieces.pop_front();
        }
        let ahead = self.pieces.iter().map(Bytes::len).take_while(|len| *len < WHOLE);
        let mut room = 0;
        for len in ahead {
            room += len;
            if room >= CHUNK {
                break;
            }
        }
        let mut chunk = BytesMut::with_capacity(room);
        while let Some(piece) = self.pieces.front().filter(|piece| chunk.len() + piece.len() <= room) {
            chunk.put_slice(piece.chunk());
            self.pieces.pop_front();
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
            all.put(chunk);
            chunks += 1;
        }
        assert_eq!(all.get_u8(), 0);
        assert_eq!(all.get_u32() as usize, all.len());
        let response = DeltaDiscoveryResponse::decode(all.freeze()).expect("a message");
        let got: Vec<usize> =
            response.resources.iter().map(|r| r.resource.as_ref().expect("content").value.len()).collect();
        assert_eq!(got, sizes);
        assert!(chunks < 10, "{chunks}");
    }
}
