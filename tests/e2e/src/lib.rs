//! End-to-end tests on real parts: the harness that gets, starts and ends them.

pub mod envoy;
pub mod net;
pub mod parts;
pub mod until;
