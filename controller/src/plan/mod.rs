//! What the leader should do next with a workload: wake, drain. In: a view and `now`; out: steps. Pure.

pub mod drain;
pub mod wake;
