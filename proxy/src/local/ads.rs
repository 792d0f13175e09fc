//! Envoy's ADS streams, carried to the node's controller and back, byte for byte. While there is no session they wait;
//! when it breaks they end, and Envoy opens them anew (rule N1).

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Code, Request, Response, Status, Streaming};
use tower_service::Service;
use tracing::{debug, error, info};
use zenvoy_xds::raw::Raw;

use super::identity::{Variant, envoy, verify};
use crate::node::{Moment, Node};
use crate::session::Uplink;

const SERVICE: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// An Envoy sends its first request with the stream.
const FIRST: Duration = Duration::from_secs(30);

type Responses = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct AdsRelay {
    node: Arc<Node>,
    uplink: watch::Receiver<Option<Uplink>>,
    stop: CancellationToken,
}

impl AdsRelay {
    pub(super) fn new(
        node: Arc<Node>,
        uplink: watch::Receiver<Option<Uplink>>,
        stop: CancellationToken,
    ) -> Self {
        Self { node, uplink, stop }
    }

    async fn carry(&self, request: Request<Streaming<Bytes>>, variant: Variant) -> Result<Responses, Status> {
        let envoy = envoy(request.extensions())?;
        let mut requests = request.into_inner();
        let first = tokio::time::timeout(FIRST, requests.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no first request"))??;
        let first = first.ok_or_else(|| Status::invalid_argument("no first request"))?;
        verify(self.node.id(), &variant.node_of(&first)?)
            .inspect_err(|status| error!("Envoy is refused: {}", status.message()))?;
        self.node.envoy_speaks(envoy, Moment::now());
        let uplink = self.uplink().await?;
        debug!(connection = envoy.0, ?variant, "Envoy's stream is carried to the controller");
        let (broken, left) = (uplink.clone(), Arc::new(AtomicBool::new(false)));
        let leaves = left.clone();
        // What Envoy says ends with Envoy or with the uplink, whichever is first.
        let outgoing = stream::once(ready(first))
            .chain(
                requests
                    .take_while(|request| ready(request.is_ok()))
                    .filter_map(|request| ready(request.ok())),
            )
            .chain(stream::poll_fn(move |_| {
                leaves.store(true, Ordering::Release);
                Poll::Ready(None)
            }))
            .take_until(async move { broken.broken().await });
        match open(&uplink, outgoing, variant).await {
            Ok(responses) => {
                Ok(Box::pin(answers(Answers { responses, uplink, left, standing: Standing::Asked })))
            }
            Err(status) => Err(over(&uplink, Standing::Asked, &status)),
        }
    }

    /// An uplink of the node's present epoch, as soon as there is one.
    async fn uplink(&self) -> Result<Uplink, Status> {
        let mut uplinks = self.uplink.clone();
        let epoch = self.node.epoch();
        loop {
            let now = uplinks.borrow_and_update().clone();
            if let Some(uplink) = now
                && !uplink.is_broken()
                && uplink.epoch == *epoch.borrow()
            {
                return Ok(uplink);
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(Status::unavailable("the proxy ends")),
                changed = uplinks.changed() => if changed.is_err() {
                    return Err(Status::unavailable("the proxy ends"));
                },
            }
        }
    }
}

async fn open(
    uplink: &Uplink,
    outgoing: impl Stream<Item = Bytes> + Send + 'static,
    variant: Variant,
) -> Result<Streaming<Bytes>, Status> {
    let path = match variant {
        Variant::StateOfTheWorld => SOTW,
        Variant::Delta => DELTA,
    };
    let mut grpc = tonic::client::Grpc::new(uplink.channel.clone()).max_decoding_message_size(usize::MAX);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let response = grpc.streaming(Request::new(outgoing), PathAndQuery::from_static(path), Raw).await?;
    Ok(response.into_inner())
}

/// The controller's side of a stream.
struct Answers {
    responses: Streaming<Bytes>,
    uplink: Uplink,
    /// Envoy has ended its side, and the controller's end follows from that.
    left: Arc<AtomicBool>,
    standing: Standing,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The controller has not answered yet.
    Asked,
    /// It has.
    Answered,
}

/// The controller's responses, until its stream or the uplink breaks; Envoy is then told to come again.
fn answers(answers: Answers) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    stream::unfold(Some(answers), |state| async {
        let mut answers = state?;
        let response = tokio::select! {
            biased;
            why = answers.uplink.broken() => Err(Status::unavailable(format!("the node's session ended: {why}"))),
            response = answers.responses.message() => match response {
                Ok(None) if answers.left.load(Ordering::Acquire) => return None,
                Ok(None) => Err(Status::unavailable("the controller ended it")),
                Ok(Some(response)) => Ok(response),
                Err(status) => Err(status),
            },
        };
        match response {
            Ok(response) => {
                answers.standing = Standing::Answered;
                Some((Ok(response), Some(answers)))
            }
            Err(status) => Some((Err(over(&answers.uplink, answers.standing, &status)), None)),
        }
    })
}

/// A stream is over. One that was refused never was: Envoy is told why, and the others stand. When one breaks, all of
/// the uplink share its fate.
fn over(uplink: &Uplink, standing: Standing, status: &Status) -> Status {
    if standing == Standing::Asked && is_refusal(status.code()) {
        error!(%status, "the controller refused a stream of Envoy's");
        return Status::new(status.code(), status.message());
    }
    if !uplink.is_broken() {
        info!(%status, "a stream of Envoy's broke, and with it the session");
    }
    uplink.tear(status.message());
    Status::unavailable(format!("{}; open the stream again", status.message()))
}

/// Whether the request itself is at fault.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
    )
}

impl NamedService for AdsRelay {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for AdsRelay {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let variant = match request.uri().path() {
            SOTW => Variant::StateOfTheWorld,
            DELTA => Variant::Delta,
            other => {
                let status = Status::unimplemented(format!("{other} is not served"));
                return Box::pin(async move { Ok(status.into_http()) });
            }
        };
        let relay = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(usize::MAX);
            Ok(grpc.streaming(Carry { relay, variant }, request).await)
        })
    }
}

/// One form of the service, as tonic's server calls it.
struct Carry {
    relay: AdsRelay,
    variant: Variant,
}

impl StreamingService<Bytes> for Carry {
    type Response = Bytes;
    type ResponseStream = Responses;
    type Future = Boxed<Result<Response<Responses>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (relay, variant) = (self.relay.clone(), self.variant);
        Box::pin(async move { relay.carry(request, variant).await.map(Response::new) })
    }
}
