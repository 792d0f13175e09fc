//! What is going on, for those who watch: events as they happen, and a list of streams.

use std::sync::Arc;
use std::time::Duration;

use super::Group;
use crate::core::{TypeStatus, TypeUrl, Variant, Version};

/// Something that a client did. Whoever subscribes too slowly loses the oldest; the server never waits for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A stream was admitted.
    Connected {
        /// The group it is served.
        group: Group,
        /// Its node's id.
        node: Arc<str>,
        /// Unique in this server.
        stream: u64,
    },
    /// A stream ended, for whatever reason.
    Disconnected {
        /// The group it was served.
        group: Group,
        /// Its node's id.
        node: Arc<str>,
        /// As in [`Event::Connected`].
        stream: u64,
    },
    /// A client has applied a response.
    Acked {
        /// The group it is served.
        group: Group,
        /// Its node's id.
        node: Arc<str>,
        /// As in [`Event::Connected`].
        stream: u64,
        /// The type.
        type_url: TypeUrl,
        /// What the response held; `None` is a removal.
        resources: Vec<(Arc<str>, Option<Version>)>,
        /// From the response, made when the transport could take it, to its answer.
        after: Duration,
    },
    /// A client has refused a response.
    Nacked {
        /// The group it is served.
        group: Group,
        /// Its node's id.
        node: Arc<str>,
        /// As in [`Event::Connected`].
        stream: u64,
        /// The type.
        type_url: TypeUrl,
        /// What the response held; `None` is a removal.
        resources: Vec<(Arc<str>, Option<Version>)>,
        /// The client's own words, cut at 4 KiB.
        message: String,
        /// As in [`Event::Acked`].
        after: Duration,
    },
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStatus {
    /// Unique in this server.
    pub stream: u64,
    /// The group it is served.
    pub group: Group,
    /// Its node's id.
    pub node: Arc<str>,
    /// How it speaks.
    pub variant: Variant,
    /// The types it subscribes to.
    pub types: Vec<TypeStatus>,
}
