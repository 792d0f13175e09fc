//! A real Envoy takes its resources in each of the four ways.

mod folder;
mod life;
mod mode;
mod moving;
mod net;
mod parts;
mod process;
mod resources;
mod until;
