//! Serves the resources in a folder to Envoys, and follows its changes: an xDS management server in a screenful.
//!
//! ```text
//! cargo run -p zenvoy-xds --example serve_dir -- --listen 127.0.0.1:18000 xds/examples/serve_dir/resources
//! ```
//!
//! Each `.yaml`, `.yml` or `.json` file holds one resource, a list of them, or a list under `resources`, written as in
//! Envoy's own configuration, with `@type`; hidden files do not count. While any file cannot be taken in nothing changes,
//! and the log says which and why. SIGTERM or Ctrl-C: clients are sent elsewhere, then it ends.

mod events;
mod folder;
mod protos;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use zenvoy_xds::server::{Server, incoming, transport};

use crate::folder::Folder;

#[derive(Parser)]
#[command(about = "Serves the xDS resources in a folder, and follows its changes")]
struct Options {
    /// Where Envoys reach it.
    #[arg(long, default_value = "127.0.0.1:18000")]
    listen: SocketAddr,
    /// Folders with Envoy's .proto files; by default those of the envoy-types crate, which cargo is asked for.
    #[arg(long)]
    protos: Vec<PathBuf>,
    /// The folder to serve.
    folder: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // What clients do is said in this program's own words.
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,zenvoy_xds=error"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let mut terminated = signal(SignalKind::terminate())?;
    let options = Options::parse();
    let protos = if options.protos.is_empty() { protos::of_envoy_types()? } else { options.protos };
    let mut folder = Folder::new(options.folder, protos::Protos::new(protos));
    let server = Server::builder().identifier("serve_dir").build();
    server.apply(folder.read().context("the first reading must succeed")?.unwrap_or_default());

    let listener = TcpListener::bind(options.listen).await?;
    info!("serving on {}", listener.local_addr()?);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = transport()
        .add_routes(server.routes())
        .serve_with_incoming_shutdown(incoming(listener), async move { drop(ended.await) });
    let serving = tokio::spawn(serving);

    let mut events = server.subscribe();
    let mut look = tokio::time::interval(Duration::from_millis(500));
    let mut said = String::new();
    loop {
        tokio::select! {
            _ = look.tick() => follow(&mut folder, &server, &mut said),
            Ok(event) = events.recv() => events::say(event, &folder),
            _ = terminated.recv() => break,
            stopped = tokio::signal::ctrl_c() => { stopped?; break }
        }
    }
    info!("ending: clients are sent elsewhere");
    // First no new connection, so that clients whose streams end go elsewhere.
    let _ = end.send(());
    server.drain(Duration::from_secs(1)).await;
    while let Ok(event) = events.try_recv() {
        events::say(event, &folder);
    }
    Ok(serving.await??)
}

/// Serves what has changed. What keeps it from that is told once, until something else does; and when all is well again.
fn follow(folder: &mut Folder, server: &Server, said: &mut String) {
    match folder.read() {
        Ok(None) => {}
        Ok(Some(changes)) => {
            if !std::mem::take(said).is_empty() {
                info!("all files can be taken in again");
            }
            server.apply(changes);
        }
        Err(error) => {
            // In one line, whatever the words are made of.
            let error = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
            if error != *said {
                warn!("nothing is changed: {error}");
                *said = error;
            }
        }
    }
}
