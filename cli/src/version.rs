//! `zenvoy version`.

use std::io::Write;

use crate::exit::Failure;

/// Print the version
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "zenvoy {}", env!("CARGO_PKG_VERSION"))?)
}
