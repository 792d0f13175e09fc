//! `zenvoy crd`.

use zenvoy_controller::source::kube::crd;

use crate::exit::Failure;
use crate::out;

/// Print the definition of Upstream objects
///
/// To install it: zenvoy crd | kubectl apply -f -
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> Result<(), Failure> {
    Ok(out::print(&crd::yaml()?)?)
}
