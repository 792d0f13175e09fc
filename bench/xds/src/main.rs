//! zenvoy-xds beside go-control-plane and beside a bare broadcast: servers, clients and the driver, each a process.

mod clients;
mod driver;
mod floor;
mod head;
mod process;
mod report;
mod resources;
mod serve;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The xDS benchmark: one line for each figure; exit status 1 when one misses its target")]
struct Options {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Runs everything and reports.
    Run(driver::Options),
    /// zenvoy-xds; takes changes on its standard input.
    Serve {
        /// Clusters, endpoints and virtual hosts.
        #[arg(long)]
        resources: usize,
    },
    /// Sends one ready message to all streams for each line on its standard input.
    Floor {
        /// Of the message.
        #[arg(long)]
        bytes: usize,
    },
    /// Streams that subscribe to everything and say on standard output when the last one has what it waits for.
    Clients(clients::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Options::parse().part {
        Part::Run(options) => driver::run(&options).await,
        Part::Serve { resources } => serve::run(resources).await,
        Part::Floor { bytes } => floor::run(bytes).await,
        Part::Clients(options) => clients::run(options).await,
    }
}
