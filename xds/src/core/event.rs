//! What comes out of the protocol besides responses.

use std::net::IpAddr;
use std::sync::Arc;

use super::{TypeUrl, Version};

/// What a client said of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The type.
    pub type_url: TypeUrl,
    /// The response's.
    pub nonce: u64,
    /// How many resources and removals the response held.
    pub count: usize,
    /// Their names and versions; `None` is a removal. Of an ACK only if the caller asked for the list.
    pub resources: Vec<(Arc<str>, Option<Version>)>,
    /// `None`: it was applied. Else it was refused, with these words, cut at 4 KiB.
    pub refusal: Option<String>,
}

/// Why a stream must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// An aggregated stream needs a type on every request.
    #[error("type_url is empty: name the type on every request of an ADS stream")]
    NoType,
    /// A single-type service serves only that type.
    #[error("this service serves type {served}, not {asked}")]
    WrongType {
        /// The service's.
        served: TypeUrl,
        /// The request's.
        asked: String,
    },
    /// A limit is exceeded.
    #[error(transparent)]
    Limit(#[from] Exceeded),
}

/// Which limit was exceeded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Exceeded {
    /// Of all streams.
    #[error("the server's limit of {0} streams is reached: try another replica, or later")]
    Streams(usize),
    /// Of one address.
    #[error("the limit of {limit} streams from {address} is reached: share streams, or raise the limit")]
    StreamsOfAddress {
        /// The limit.
        limit: usize,
        /// Where the connections come from.
        address: IpAddr,
    },
    /// Of one node.
    #[error(
        "the limit of {limit} streams for node {node:?} is reached: share streams, or give each client a node id of its own"
    )]
    StreamsOfNode {
        /// The limit.
        limit: usize,
        /// The node's id.
        node: Arc<str>,
    },
    /// Of one stream.
    #[error("more than {0} types on one stream")]
    Types(usize),
    /// Of one stream.
    #[error("more than {0} names subscribed to, or stated, on one stream")]
    Names(usize),
    /// Of one name, type URL or node id.
    #[error("{what} of {len} bytes: at most {limit} are taken")]
    Length {
        /// What is too long.
        what: &'static str,
        /// The limit, in bytes.
        limit: usize,
        /// Its length, in bytes.
        len: usize,
    },
    /// Of one stream.
    #[error("more than {0} requests per second on one stream, for longer than a burst")]
    Rate(u32),
}
