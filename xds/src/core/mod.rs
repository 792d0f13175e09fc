//! The protocol without I/O: requests, content changes and sendability in; responses and answers out.
//! No clock, no lock, no task.

mod client;
mod cluster;
mod event;
mod hub;
mod limits;
mod order;
mod resource;
mod stream;
mod subscription;
mod table;
mod wire;

#[cfg(test)]
mod tests;

pub use client::{ClientState, Handler, Names};
pub use event::{Answer, Exceeded, RequestError};
pub use hub::{Hub, RejectedStatus, StreamId, TypeStatus};
pub use limits::{Limits, Rate};
pub use resource::{Change, ChangeSet, Content, TypeUrl, Version};
pub use wire::{Pieces, Response, Variant};
