//! End-to-end tests on real parts: the harness that gets, starts and ends them.

pub mod audit;
pub mod clock;
pub mod cluster;
pub mod deploy;
pub mod envoy;
pub mod etcd;
pub mod folder;
pub mod http;
pub mod kubelet;
pub mod load;
pub mod manifest;
pub mod net;
pub mod parts;
pub mod pki;
pub mod process;
pub mod site;
pub mod store;
pub mod until;
pub mod zenvoy;
