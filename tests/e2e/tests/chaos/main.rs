//! Three controllers, three nodes, three members of etcd and a control plane on machines of their own, while parts are killed,
//! paused, restarted and cut off from each other. Traffic runs all the while; at the end, all invariants are checked.

mod check;
mod clock;
mod fault;
mod journal;
mod leader;
mod links;
mod parts;
mod random;
mod sessions;
mod stage;
mod thousand;
mod traffic;
mod upgrade;
