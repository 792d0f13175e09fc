//! `zenvoy completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::Failure;
use crate::out;

/// Print a completion script for a shell
///
/// For bash: zenvoy completions bash > ~/.local/share/bash-completion/completions/zenvoy
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "zenvoy", &mut script);
    Ok(out::print(&String::from_utf8_lossy(&script))?)
}
