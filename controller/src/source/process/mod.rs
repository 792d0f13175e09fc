//! Local commands as workloads, for `zenvoy up`. In: a YAML file and scale writes; out: facts, and running processes of
//! which none outlives zenvoy.

mod config;
mod file;

pub use config::{Config, ProcessSpec, ProcessUpstream, Readiness};
pub use file::{FileError, KIND, Place, read};
