//! The zenvoy proxy.
