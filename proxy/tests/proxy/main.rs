//! The whole proxy, with real sockets, a real Envoy, and a controller that says what each test has it say.

mod activity;
mod backend;
mod carry;
mod controller;
mod envoy;
mod hold;
mod node;
mod resources;
mod session;
mod tls;
mod wake;
mod world;
