//! Demand and activity of proxies. In: what nodes say; out: which upstreams are demanded and which are idle.

mod nodes;
mod quota;
mod service;

pub use nodes::{Activity, Demand, Moment, Node, Nodes};
pub use quota::{DemandQuota, Judged, Quotas, Refusal};
pub use service::SessionService;
