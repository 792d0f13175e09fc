//! What the leader should do next: allocate, wake, drain. In: a view and `now`; out: steps. Pure.

pub mod drain;
pub mod ports;
pub mod wake;
