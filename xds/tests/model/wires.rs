//! The two ways between a client and its server, on which requests and responses wait to be delivered.

use std::collections::VecDeque;

use bytes::BytesMut;
use prost::Message;
use zenvoy_xds::core::{Hub, StreamId};

/// Requests come with their kind.
pub(crate) struct Wires<Q, R> {
    pub(crate) requests: VecDeque<(usize, Q)>,
    pub(crate) responses: VecDeque<R>,
}

impl<Q, R> Default for Wires<Q, R> {
    fn default() -> Self {
        Self { requests: VecDeque::new(), responses: VecDeque::new() }
    }
}

impl<Q, R> Wires<Q, R> {
    pub(crate) fn is_quiet(&self) -> bool {
        self.requests.is_empty() && self.responses.is_empty()
    }

    /// How many requests of a kind the server has yet to hear.
    pub(crate) fn unheard(&self, kind: usize) -> usize {
        self.requests.iter().filter(|(of, _)| *of == kind).count()
    }
}

/// What the server has to say next on one of these streams.
pub(crate) fn poll<R: Message + Default>(hub: &mut Hub, streams: &[StreamId]) -> Option<R> {
    let response = streams.iter().find_map(|stream| hub.poll(*stream))?;
    let mut bytes = BytesMut::with_capacity(response.encoded_len());
    response.into_pieces().for_each(|piece| bytes.extend_from_slice(&piece));
    Some(R::decode(bytes.freeze()).expect("a response"))
}
