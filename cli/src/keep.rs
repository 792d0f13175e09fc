//! Hidden subcommands by which zenvoy keeps local commands; see `zenvoy_controller::source::process::keeper`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use zenvoy_controller::source::process::keeper::{self, Keeper};

use crate::exit::Failure;

/// Run a command that ends when standard input closes
#[derive(Debug, clap::Args)]
pub(crate) struct KeepArgs {
    /// From SIGTERM to SIGKILL, in milliseconds
    grace_ms: u64,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Keep a command below a guard
#[derive(Debug, clap::Args)]
pub(crate) struct BelowArgs {
    /// The guard's process id
    guard: i32,
    #[command(flatten)]
    kept: KeepArgs,
}

/// Become a command that dies with its keeper
#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// The keeper's process id
    keeper: i32,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// This program as a keeper.
pub(crate) fn keeper() -> Keeper {
    Keeper { program: "/proc/self/exe".into(), arguments: vec!["keep".into()] }
}

pub(crate) fn guard(args: &KeepArgs) -> Result<ExitCode, Failure> {
    let grace = Duration::from_millis(args.grace_ms);
    Ok(ExitCode::from(keeper::guard(&["keep-below".into()], grace, &args.command)?))
}

pub(crate) fn keep(args: &BelowArgs) -> Result<ExitCode, Failure> {
    let BelowArgs { guard, kept } = args;
    let grace = Duration::from_millis(kept.grace_ms);
    Ok(ExitCode::from(keeper::keep(*guard, &["keep-start".into()], grace, &kept.command)?))
}

pub(crate) fn start(args: &StartArgs) -> Result<ExitCode, Failure> {
    let error = keeper::start(args.keeper, &args.command);
    eprintln!("zenvoy: {error}");
    Ok(ExitCode::from(error.status()))
}
