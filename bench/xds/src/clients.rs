//! Streams, each on a connection of its own, that subscribe to everything and answer each response at once. Out, on
//! standard output: `synced` when the last one has everything; then for each change `changed BYTES RESOURCES` when the
//! last one has it, with what all of them were sent.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use zenvoy_xds::raw::Raw;

use crate::head::head;
use crate::resources::{CDS, EDS, RDS, name};

const PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Longer than any response.
const LARGEST: usize = 1 << 30;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server.
    #[arg(long)]
    address: SocketAddr,
    /// How many streams.
    #[arg(long)]
    streams: usize,
    /// How many clusters the server has; 0: take what comes, and say nothing.
    #[arg(long)]
    resources: usize,
}

/// What a stream has seen.
enum Seen {
    Everything,
    Change { bytes: usize, resources: usize },
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let (seen, mut all) = mpsc::channel(1024);
    let mut streams = JoinSet::new();
    // Made once: the clients' own work must not be what is measured.
    let first = first_requests(options.resources);
    for _ in 0..options.streams {
        streams.spawn(stream(options.address, options.resources, first.clone(), seen.clone()));
    }
    drop(seen);
    let (mut synced, mut changed, mut sum, mut sent) = (0, 0, 0, 0);
    while let Some(seen) = all.recv().await {
        match seen {
            Seen::Everything => {
                synced += 1;
                if synced == options.streams {
                    println!("synced");
                }
            }
            Seen::Change { bytes, resources } => {
                changed += 1;
                sum += bytes;
                sent += resources;
                if changed == options.streams {
                    println!("changed {sum} {sent}");
                    (changed, sum, sent) = (0, 0, 0);
                }
            }
        }
    }
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    Ok(())
}

async fn stream(
    address: SocketAddr,
    resources: usize,
    first: Vec<Bytes>,
    seen: mpsc::Sender<Seen>,
) -> anyhow::Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(Some(64 << 20))
        .initial_connection_window_size(Some(64 << 20))
        .connect_timeout(Duration::from_secs(30));
    let mut client = Grpc::new(endpoint.connect().await?).max_decoding_message_size(LARGEST);
    client.ready().await?;
    let (requests, receiver) = mpsc::channel(16);
    for request in first {
        requests.send(request).await?;
    }
    let request = Request::new(ReceiverStream::new(receiver));
    let mut responses = client.streaming(request, PathAndQuery::from_static(PATH), Raw).await?.into_inner();
    if resources == 0 {
        seen.send(Seen::Everything).await?;
    }
    let (mut got, mut synced) = (0, resources == 0);
    while let Some(message) = responses.message().await? {
        let (bytes, mut told) = (message.len(), 0);
        if resources > 0 {
            let head = head(message)?;
            told = head.resources;
            got += told;
            requests.send(answer(head.type_url, head.nonce)).await?;
        }
        if synced {
            seen.send(Seen::Change { bytes, resources: told }).await?;
        } else if got > 2 * resources {
            synced = true;
            seen.send(Seen::Everything).await?;
        }
    }
    anyhow::bail!("the server ended the stream")
}

/// What each stream subscribes to; nothing at the floor.
fn first_requests(resources: usize) -> Vec<Bytes> {
    if resources == 0 {
        return Vec::new();
    }
    let names = (0..resources).map(name).collect();
    vec![first(CDS, Vec::new()), first(EDS, names), first(RDS, vec!["routes".to_owned()])]
}

fn first(type_url: &str, names: Vec<String>) -> Bytes {
    let node = Node { id: "node".into(), cluster: "bench".into(), ..Node::default() };
    let request = DeltaDiscoveryRequest {
        node: Some(node),
        type_url: type_url.into(),
        resource_names_subscribe: names,
        ..DeltaDiscoveryRequest::default()
    };
    request.encode_to_vec().into()
}

fn answer(type_url: String, response_nonce: String) -> Bytes {
    let request = DeltaDiscoveryRequest { type_url, response_nonce, ..DeltaDiscoveryRequest::default() };
    request.encode_to_vec().into()
}
