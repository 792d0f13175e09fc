//! The server over real connections, as a client on the wire sees it.

mod acknowledgement;
mod admission;
mod client;
mod peer;
