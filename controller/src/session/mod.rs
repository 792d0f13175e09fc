//! Demand and activity of proxies. In: what nodes say; out: which upstreams are demanded and which are idle.

mod nodes;
mod quota;
mod service;
mod tally;

pub use nodes::{Activity, Demand, Moment, Moved, Node, Nodes};
pub use quota::{DemandQuota, Judged, Quotas, Refusal};
pub use service::SessionService;
