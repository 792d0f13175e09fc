//! The store: what every store promises, and what the one on a real etcd lives through.

mod access;
mod conformance;
mod etcd;
mod failover;
mod history;
mod pki;
mod records;
