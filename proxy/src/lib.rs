//! The zenvoy proxy: accepts on activator addresses, holds connections, relays them, reports activity.

pub mod activity;
pub mod demand;
pub mod hold;
pub mod node;
pub mod relay;
pub mod table;
pub mod transport;

/// The level of the protocol with controllers that this build speaks (rule L4).
pub const PROTOCOL_LEVEL: u32 = 1;
