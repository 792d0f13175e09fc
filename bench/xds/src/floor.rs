//! The floor: a bare tonic stream that sends one ready message to all clients for each line on standard input.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Request, Response};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};
use zenvoy_xds::raw::Raw;
use zenvoy_xds::server::incoming;

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

#[derive(Clone)]
struct Floor(broadcast::Sender<Bytes>);

impl StreamingService<Bytes> for Floor {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Ready<Result<tonic::Response<Messages>, Status>>;

    fn call(&mut self, _: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let messages = BroadcastStream::new(self.0.subscribe());
        let messages = messages.map(|message| message.map_err(|_| Status::data_loss("too slow")));
        ready(Ok(tonic::Response::new(Box::pin(messages))))
    }
}

impl NamedService for Floor {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl Service<Request<Body>> for Floor {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let floor = self.clone();
        Box::pin(async move { Ok(Grpc::new(Raw).streaming(floor, request).await) })
    }
}

pub(crate) async fn run(bytes: usize) -> anyhow::Result<()> {
    let (sender, _) = broadcast::channel(16);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let router = zenvoy_xds::server::transport().add_service(Floor(sender.clone()));
    let serving = tokio::spawn(router.serve_with_incoming(incoming(listener)));
    let message = Bytes::from(vec![0; bytes]);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        let _ = sender.send(message.clone());
        println!("sent");
    }
    serving.abort();
    Ok(())
}
