//! The zenvoy proxy: accepts on activator addresses, holds connections, relays them, reports activity.
//!
//! ```no_run
//! # async fn example() -> Result<(), zenvoy_proxy::ProxyError> {
//! use tokio_util::sync::CancellationToken;
//! use zenvoy_proxy::ProxyOptions;
//! use zenvoy_shared::id::NodeId;
//!
//! let controllers = vec!["http://127.0.0.1:18000".parse().expect("an address")];
//! let options = ProxyOptions::new(NodeId("node-1".into()), controllers);
//! zenvoy_proxy::run(options, CancellationToken::new()).await
//! # }
//! ```
//!
//! A connection goes from [`transport`] to [`hold`], which asks the [`table`] what to do with it, and keeps its place in
//! the account of the [`node`]. From there [`demand`] and [`activity`] reach the controller by the [`session`].
//! [`local`] is what the Envoy of this node sees of it, [`admin`] what people see.

pub mod activity;
pub mod admin;
pub mod bootstrap;
pub mod demand;
mod ending;
pub mod hold;
pub mod local;
pub mod node;
mod options;
pub mod relay;
mod run;
pub mod session;
pub mod table;
pub mod transport;

pub use options::{Goodbye, ProxyOptions, Transport};
pub use run::{Handle, Proxy, ProxyError, run};

/// The level of the protocol with controllers that this build speaks (rule L4).
pub const PROTOCOL_LEVEL: u32 = 1;
