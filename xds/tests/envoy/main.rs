//! A real Envoy takes its resources in each of the four ways.

mod folder;
mod life;
mod listeners;
mod mode;
mod moving;
mod net;
mod parts;
mod process;
mod resources;
mod returning;
mod runtime;
mod secrets;
mod until;
mod warming;
