//! The manifests in `deploy/ha`: what an API server says to them, and whether they fit the programs that they start.

mod image;
mod overlays;
mod programs;
mod rights;
mod run;
