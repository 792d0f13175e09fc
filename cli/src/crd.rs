//! `zenvoy crd`.

use std::io::Write;

use zenvoy_controller::source::kube::crd;

use crate::exit::Failure;

/// Print the definition of Upstream objects
///
/// To install it: zenvoy crd | kubectl apply -f -
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<(), Failure> {
    Ok(std::io::stdout().write_all(crd::yaml()?.as_bytes())?)
}
