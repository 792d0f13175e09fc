//! The zenvoy proxy: accepts on activator addresses, holds connections, relays them, reports activity.

pub mod relay;
pub mod table;
pub mod transport;
