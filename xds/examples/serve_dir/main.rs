//! Serves the resources in a folder to Envoys, and follows its changes: an xDS management server in a screenful.
//!
//! ```text
//! cargo run -p zenvoy-xds --example serve_dir -- --listen 127.0.0.1:18000 xds/examples/serve_dir/resources
//! ```
//!
//! Each `.yaml`, `.yml` or `.json` file holds one resource, a list of them, or a list under `resources`, written as in
//! Envoy's own configuration, with `@type`. A file that cannot be read changes nothing until it is mended.

mod folder;
mod protos;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tracing::{info, warn};
use zenvoy_xds::server::{Event, Server, incoming, transport};

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
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let options = Options::parse();
    let protos = if options.protos.is_empty() { protos::of_envoy_types()? } else { options.protos };
    let mut folder = folder::Folder::new(options.folder, protos::Protos::new(protos));
    let server = Server::builder().identifier("serve_dir").build();
    server.apply(folder.read().context("the first reading must succeed")?);

    let listener = TcpListener::bind(options.listen).await?;
    info!("serving on {}", listener.local_addr()?);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = transport()
        .add_routes(server.routes())
        .serve_with_incoming_shutdown(incoming(listener), async move { drop(ended.await) });
    let serving = tokio::spawn(serving);

    let mut events = server.subscribe();
    let mut look = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = look.tick() => match folder.read() {
                Ok(changes) => server.apply(changes),
                Err(error) => warn!("nothing is changed: {error:#}"),
            },
            Ok(event) = events.recv() => say(event),
            stopped = tokio::signal::ctrl_c() => { stopped?; break }
        }
    }
    // First no new connection, so that clients whose streams end go elsewhere.
    let _ = end.send(());
    server.drain(Duration::from_secs(1)).await;
    Ok(serving.await??)
}

fn say(event: Event) {
    match event {
        Event::Connected { node, .. } => info!(%node, "connected"),
        Event::Disconnected { node, .. } => info!(%node, "disconnected"),
        Event::Acked { node, type_url, resources, .. } => {
            info!(%node, %type_url, "applied {}", resources.len());
        }
        Event::Nacked { node, type_url, message, .. } => warn!(%node, %type_url, "refused: {message}"),
        _ => {}
    }
}
