//! `zenvoy version`.

use crate::exit::Failure;
use crate::out;

/// Print the version
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<(), Failure> {
    Ok(out::print(concat!("zenvoy ", env!("CARGO_PKG_VERSION"), "\n"))?)
}
