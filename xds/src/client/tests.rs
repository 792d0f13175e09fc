//! A client and servers that end its streams, on a clock that the test moves.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{copy_bidirectional, duplex};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::service_fn;
use tower_service::Service;

use super::*;
use crate::core::TypeUrl;

/// Takes streams and says nothing on them; ends each after the time that is its turn's, and keeps what comes after.
#[derive(Clone)]
struct Silent {
    lives: Arc<Mutex<VecDeque<Duration>>>,
    begun: mpsc::UnboundedSender<Instant>,
}

impl NamedService for Silent {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl Service<http::Request<Body>> for Silent {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        self.begun.send(Instant::now()).expect("the test listens");
        let life = self.lives.lock().expect("no panic").pop_front();
        let end = async move {
            match life {
                Some(life) => tokio::time::sleep(life).await,
                None => pending().await,
            }
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )]);
            Ok::<_, Infallible>(Frame::<Bytes>::trailers(trailers))
        };
        ready(Ok(grpc(Body::new(StreamBody::new(Box::pin(futures::stream::once(end)))))))
    }
}

/// Sends its responses, and reads no request.
#[derive(Clone)]
struct Deaf;

/// How many.
const RESPONSES: usize = 20;

impl NamedService for Deaf {
    const NAME: &'static str = Silent::NAME;
}

impl Service<http::Request<Body>> for Deaf {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let response = DeltaDiscoveryResponse { type_url: "type".into(), ..Default::default() };
        let message = response.encode_to_vec();
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).expect("short"));
        frame.put_slice(&message);
        let frame = frame.freeze();
        let sent = futures::stream::iter((0..RESPONSES).map(move |_| Ok(Frame::data(frame.clone()))));
        let unread = futures::stream::once(async move {
            let _request = request;
            pending::<Result<Frame<Bytes>, Infallible>>().await
        });
        ready(Ok(grpc(Body::new(StreamBody::new(Box::pin(sent.chain(unread)))))))
    }
}

fn grpc(body: Body) -> http::Response<Body> {
    let mut response = http::Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

/// A connection of its own to a server; nothing goes through it any more after `life`, though both its ends stay open.
async fn connect<S>(address: Endpoint, server: S, life: Duration) -> Result<Channel, tonic::transport::Error>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: NamedService + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let (near, mut client) = duplex(1 << 16);
    let (mut far, server_side) = duplex(1 << 16);
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(server_side));
    tokio::spawn(tonic::transport::Server::builder().add_service(server).serve_with_incoming(incoming));
    tokio::spawn(async move {
        let carrying = tokio::time::timeout(life, copy_bidirectional(&mut client, &mut far));
        if carrying.await.is_err() {
            pending::<()>().await;
        }
    });
    let mut near = Some(near);
    let connector = service_fn(move |_| {
        let near = near.take().ok_or_else(|| std::io::Error::other("one connection only"));
        async move { near.map(TokioIo::new) }
    });
    address.connect_with_connector(connector).await
}

struct Nothing;

impl Handler for Nothing {
    fn set(&mut self, _: &TypeUrl, _: &str, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn remove(&mut self, _: &TypeUrl, _: &str) {}
}

const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// A client of such a server, and when its streams begin.
fn client(lives: &[Duration], backoff: Backoff) -> (Client, Silent, mpsc::UnboundedReceiver<Instant>) {
    let (begun, begins) = mpsc::unbounded_channel();
    let server = Silent { lives: Arc::new(Mutex::new(lives.to_vec().into())), begun };
    let state = ClientState::new(Node::default()).watch("type", Names::All);
    let client = Client::new(vec![endpoint("http://server").expect("a URI")], state).expect("an address");
    (client.backoff(backoff), server, begins)
}

#[tokio::test(start_paused = true)]
async fn pauses_start_over_after_a_stream_that_stood_and_had_nothing_to_say() {
    let (short, long) = (Duration::from_secs(1), Duration::from_secs(30));
    let lives = [short, short, short, short, long * 2, short];
    let (client, server, mut begins) = client(&lives, Backoff::new(Duration::from_secs(1), long));
    let running = tokio::spawn(async move {
        client.run_over(&mut Nothing, |address| connect(address, server.clone(), FOR_EVER)).await;
    });
    let mut at = Vec::new();
    for _ in lives {
        at.push(begins.recv().await.expect("a stream"));
    }
    running.abort();
    let pause = |after: usize| at[after + 1] - at[after] - lives[after];
    assert!(pause(3) >= Duration::from_secs(4), "short streams count for nothing: {:?}", pause(3));
    assert!(pause(4) < Duration::from_secs(2), "one that stood does: {:?}", pause(4));
}

#[tokio::test(start_paused = true)]
async fn a_client_leaves_a_connection_that_nothing_goes_through_any_more() {
    let life = Duration::from_secs(100);
    let second = Duration::from_secs(1);
    let (client, server, mut begins) = client(&[], Backoff::new(second, second));
    let running = tokio::spawn(async move {
        client.run_over(&mut Nothing, |address| connect(address, server.clone(), life)).await;
    });
    let first = begins.recv().await.expect("a stream");
    let next = tokio::time::timeout(life * 2, begins.recv()).await.expect("another one in time");
    assert!(
        next.expect("a stream") - first < life + Duration::from_secs(20),
        "a ping every 10 s, 5 s for its answer"
    );
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_takes_its_addresses_as_they_are() {
    let life = Duration::from_secs(100);
    let (_, server, mut begins) = client(&[], Backoff::new(Duration::from_secs(1), Duration::from_secs(1)));
    let patient =
        endpoint("http://server").expect("a URI").http2_keep_alive_interval(Duration::from_secs(3_600));
    let patient = patient.connect_timeout(Duration::from_secs(77));
    let state = ClientState::new(Node::default()).watch("type", Names::All);
    let client = Client::new(vec![patient], state).expect("an address");
    let running = tokio::spawn(async move {
        let connect = |address: Endpoint| {
            assert_eq!(address.get_connect_timeout(), Some(Duration::from_secs(77)));
            connect(address, server.clone(), life)
        };
        client.run_over(&mut Nothing, connect).await;
    });
    let first = begins.recv().await.expect("a stream");
    let next = tokio::time::timeout(life * 100, begins.recv()).await.expect("another one in time");
    assert!(next.expect("a stream") - first >= Duration::from_secs(3_600), "no ping before");
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_wants_nothing_opens_no_stream_until_it_does() {
    let (_, server, mut begins) = client(&[], Backoff::new(Duration::from_secs(1), Duration::from_secs(1)));
    let state = ClientState::new(Node::default()).watch("type", Names::Only([].into()));
    let client = Client::new(vec![endpoint("http://server").expect("a URI")], state).expect("an address");
    let wants = client.wants();
    let running = tokio::spawn(async move {
        client.run_over(&mut Nothing, |address| connect(address, server.clone(), FOR_EVER)).await;
    });
    let none = tokio::time::timeout(Duration::from_secs(3_600), begins.recv()).await;
    assert!(none.is_err(), "it has nothing to ask for");
    wants.unsubscribe("type", ["never"]);
    let none = tokio::time::timeout(Duration::from_secs(3_600), begins.recv()).await;
    assert!(none.is_err(), "still nothing");
    wants.subscribe("type", ["a"]);
    tokio::time::timeout(Duration::from_secs(1), begins.recv()).await.expect("at once").expect("a stream");
    running.abort();
}

/// Counts the responses.
struct Counts(mpsc::UnboundedSender<()>);

impl Handler for Counts {
    fn set(&mut self, _: &TypeUrl, _: &str, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn remove(&mut self, _: &TypeUrl, _: &str) {}

    fn done(&mut self, _: &TypeUrl) {
        self.0.send(()).expect("the test listens");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_reads_on_while_the_server_takes_no_requests() {
    // More than the server's window holds, so that no answer gets through.
    let names = (0..50_000).map(|n| Arc::from(format!("name-{n:030}").as_str())).collect();
    let state = ClientState::new(Node::default()).watch("type", Names::Only(names));
    let client = Client::new(vec![Endpoint::from_static("http://server")], state).expect("an address");
    let (counted, mut counts) = mpsc::unbounded_channel();
    let running = tokio::spawn(async move {
        client.run_over(&mut Counts(counted), |address| connect(address, Deaf, FOR_EVER)).await;
    });
    let all = async {
        for _ in 0..RESPONSES {
            counts.recv().await.expect("it runs");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("all of them");
    running.abort();
}
