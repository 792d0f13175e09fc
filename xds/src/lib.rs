#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod client;
pub mod core;
pub mod raw;
pub mod server;

// In the versions whose types this crate's interface has.
pub use {bytes, envoy_types, prost, tonic};
