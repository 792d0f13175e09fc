//! Who leads: the election with an API server of a few lines, on a clock that the tests move, and its machine in a world
//! where everything goes wrong.

mod api;
mod model;
mod replicas;
mod rim;
mod world;
