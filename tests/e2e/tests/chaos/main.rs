//! Three controllers, three nodes, three members of etcd and a control plane on machines of their own, while parts are killed,
//! paused, restarted and cut off from each other.

mod leader;
