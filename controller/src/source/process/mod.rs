//! Local commands as workloads, for `zenvoy up`. In: a YAML file and scale writes; out: facts, and running processes of
//! which none outlives zenvoy.

mod backoff;
mod config;
mod file;
mod instance;
pub mod keeper;
mod placeholder;
mod pool;
mod probe;
mod run;
mod topic;
mod watch;

pub use config::{Config, ProcessSpec, ProcessUpstream, Readiness};
pub use file::{Conflicts, FileError, KIND, LOCAL, Place};
pub use run::{ProcessScaler, ProcessSource, open};
