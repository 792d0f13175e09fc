//! The zenvoy controller: facts and decisions in, xDS and scale writes out.
//!
//! Pure in the middle (`model`, `plan`, `translate`), effects at the rim (`source`, `store`, `session`, `execute`).

pub mod admin;
pub mod execute;
pub mod leader;
pub mod model;
pub mod plan;
pub mod port;
pub mod replica;
pub mod report;
pub mod session;
pub mod source;
pub mod store;
pub mod translate;
