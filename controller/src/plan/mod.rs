//! What the leader should do next with a workload: wake, drain. In: a view and `now`; out: steps. Pure. Also
//! how what would happen at once is spread.

pub mod drain;
pub mod jitter;
pub mod wake;
