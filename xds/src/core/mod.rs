//! The protocol without I/O: requests, content changes and sendability in; responses and events out.
//! No clock, no lock, no task.

mod catalog;
mod client;
mod delta;
mod resource;

pub use catalog::{Catalog, Change};
pub use client::{ClientState, Handler, Names};
pub use delta::{DeltaStream, Event};
pub use resource::{Resource, TypeUrl, Version};
