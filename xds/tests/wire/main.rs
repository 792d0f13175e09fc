//! The server over real connections, as a client on the wire sees it.

mod acknowledgement;
mod admission;
mod certificates;
mod client;
mod drain;
mod limits;
mod peer;
mod replica;
mod services;
mod silence;
mod slow;
mod storm;
mod wants;
