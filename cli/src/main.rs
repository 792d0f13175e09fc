//! The `zenvoy` command: one small file per subcommand, no logic.

mod bootstrap;
mod certs;
mod completions;
mod controller;
mod crd;
mod exit;
mod keep;
mod logs;
mod node;
mod out;
mod pool;
mod proxy;
mod shutdown;
mod tls;
mod up;
mod value;
mod variables;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Failure;

/// Scale to zero for any service behind Envoy: wakes on the first connection, with no request lost.
#[derive(Debug, Parser)]
#[command(name = "zenvoy", version, max_term_width = 110, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: logs::LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Controller(Box<controller::Args>),
    Proxy(proxy::Args),
    Node(node::Args),
    Up(up::Args),
    Bootstrap(bootstrap::Args),
    Crd(crd::Args),
    Certs(certs::Args),
    Completions(completions::Args),
    Version(version::Args),
    #[command(hide = true)]
    Keep(keep::KeepArgs),
    #[command(hide = true)]
    KeepBelow(keep::BelowArgs),
    #[command(hide = true)]
    KeepStart(keep::StartArgs),
}

fn main() -> ExitCode {
    let (cli, variables) = variables::parse::<Cli>();
    match run(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(&variables),
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let Cli { command, logs } = cli;
    match command {
        Command::Controller(args) => controller::run(*args, &logs),
        Command::Proxy(args) => proxy::run(args, &logs),
        Command::Node(args) => node::run(args),
        Command::Up(args) => up::run(args, &logs),
        Command::Bootstrap(args) => bootstrap::run(args),
        Command::Crd(args) => crd::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Version(args) => version::run(&args),
        // Keepers are small: no runtime, no logs.
        Command::Keep(args) => return keep::guard(&args),
        Command::KeepBelow(args) => return keep::keep(&args),
        Command::KeepStart(args) => return keep::start(&args),
    }
    .map(|()| ExitCode::SUCCESS)
}
