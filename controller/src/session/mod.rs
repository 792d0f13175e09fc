//! Demand and activity of proxies. In: what nodes say; out: which upstreams are demanded and which are idle.

mod nodes;

pub use nodes::{Activity, Demand, Moment, Node, Nodes};
