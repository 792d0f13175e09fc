//! How long a wake takes beyond what Kubernetes itself takes: on a real API server, etcd and Envoy, in one network namespace.
//!
//! `make bench NAME=wake`

mod bare;
mod clock;
mod figure;
mod single;
mod storm;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::figure::{Figure, print};
use clap::Parser;
use zenvoy_e2e::net::in_namespace_within;
use zenvoy_e2e::zenvoy::{Installation, Mode};

/// The longest it may take.
const LIMIT: Duration = Duration::from_secs(1_800);

/// Measure wakes against a bare etcd put and a bare scale patch in the same run
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Services that are woken one after the other, each twice; 0: none
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    services: usize,
    /// Services that are woken at once; 0: none
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    storm: usize,
    /// Storms, of ours and of bare writes in turn; the median counts
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    rounds: usize,
    /// Writes the figures here as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (send, receive) = std::sync::mpsc::channel();
    let of_run = args.clone();
    in_namespace_within(LIMIT, async move || {
        // The receiver lives until the run has ended.
        let _ = send.send(measure(&of_run).await);
    });
    let figures = receive.recv().unwrap_or_default();
    let met = print(&figures);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&figures).unwrap_or_default();
        if let Err(error) = std::fs::write(path, text + "\n") {
            eprintln!("write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    if met && !figures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn measure(args: &Args) -> Vec<Figure> {
    let mut on = Installation::start_with(Mode::Listen, &["--max-drains=64"]).await;
    let mut figures = Vec::new();
    if args.services > 0 {
        figures.extend(single::measure(&mut on, args.services).await);
        figures.iter().for_each(|figure| say(&figure.line()));
    }
    if args.storm > 0 && args.rounds > 0 {
        figures.extend(storm::measure(&mut on, args.storm, args.rounds).await);
    }
    figures
}

/// Tells whoever waits how far it is.
fn say(what: &str) {
    eprintln!("{what}");
}
