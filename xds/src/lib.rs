//! An xDS management server: incremental (delta) ADS with content-hash versions and a record of who ACKed what.
//!
//! [`core`] holds the protocol as state machines without I/O; [`server`] is a thin tonic layer over it.

pub mod client;
pub mod core;
pub mod server;
