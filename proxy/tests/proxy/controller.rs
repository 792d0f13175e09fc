//! A controller that serves a session and ADS, remembers what nodes say, and says what a test wants. It can be killed.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures::Stream;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::server::Router;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use zenvoy_e2e::pki::Issued;
use zenvoy_shared::proto::controller_message::Message as ToNode;
use zenvoy_shared::proto::node_message::Message as FromNode;
use zenvoy_shared::proto::sessions_server::{Sessions, SessionsServer};
use zenvoy_shared::proto::upstream_activity::State;
use zenvoy_shared::proto::{ControllerMessage, Demand, Hello, NodeMessage, Quiet, WakeTiming, Welcome};
use zenvoy_shared::tls::Leaf;
use zenvoy_xds::server::Server;

use crate::world::until;

type ToNodes = mpsc::Sender<Result<ControllerMessage, Status>>;

/// What was heard, in order, over all sessions.
#[derive(Debug, Default)]
struct Heard {
    hellos: Vec<Hello>,
    /// The serial numbers of the certificates that came with them.
    serials: Vec<String>,
    messages: Vec<FromNode>,
    /// To the node of the last session.
    to: Option<ToNodes>,
    id: String,
    /// Nobody is welcomed without.
    welcome: Option<Welcome>,
}

/// One start of a controller.
pub(crate) struct Controller {
    pub(crate) xds: Server,
    heard: Arc<Mutex<Heard>>,
    /// Of its own, so that killing it breaks its connections as a death does.
    runtime: Option<Runtime>,
}

impl Controller {
    /// On a fixed address of this namespace.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let xds = Server::new();
        let service = xds.service();
        Self::with(address, xds, None, move |server| server.add_service(service))
    }

    /// That speaks mutual TLS.
    pub(crate) fn tls(address: SocketAddr, own: &Issued) -> Self {
        let identity = Identity::from_pem(&own.certificate, &own.key);
        let tls =
            ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(&own.trusted));
        let xds = Server::new();
        let service = xds.service();
        Self::with(address, xds, Some(tls), move |server| server.add_service(service))
    }

    /// That takes sessions and welcomes nobody, as one without etcd does.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let controller = Self::start(address);
        controller.heard.lock().expect("no panic").welcome = None;
        controller
    }

    /// That has lost its etcd, and cannot register the node.
    pub(crate) fn relaying(address: SocketAddr, id: &str) -> Self {
        let controller = Self::start(address);
        let mut heard = controller.heard.lock().expect("no panic");
        heard.id = id.into();
        heard.welcome = Some(Welcome { controller: id.into(), relayed: true });
        drop(heard);
        controller
    }

    /// Registers the node from now on, and tells the session that waits, if there is one.
    pub(crate) fn registers(&self) {
        let mut heard = self.heard.lock().expect("no panic");
        let welcome = Welcome { controller: heard.id.clone(), relayed: false };
        if heard.welcome.is_none()
            && let Some(to) = &heard.to
        {
            let _ = to.try_send(Ok(ControllerMessage { message: Some(ToNode::Welcome(welcome.clone())) }));
        }
        heard.welcome = Some(welcome);
    }

    /// Whose ADS says back what it is sent.
    pub(crate) fn echo(address: SocketAddr) -> Self {
        let ads = AggregatedDiscoveryServiceServer::new(Echo).max_decoding_message_size(usize::MAX);
        Self::with(address, Server::new(), None, move |server| server.add_service(ads))
    }

    fn with(
        address: SocketAddr,
        xds: Server,
        tls: Option<ServerTlsConfig>,
        ads: impl FnOnce(&mut tonic::transport::Server) -> Router + Send + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let id = "controller-1".to_owned();
        let welcome = Some(Welcome { controller: id.clone(), ..Welcome::default() });
        let heard = Arc::new(Mutex::new(Heard { id, welcome, ..Heard::default() }));
        let sessions = SessionsServer::new(Service(heard.clone()));
        let listener = std::net::TcpListener::bind(address).expect("bind");
        listener.set_nonblocking(true).expect("a socket");
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).expect("a listener"));
            let mut server = tonic::transport::Server::builder();
            if let Some(tls) = tls {
                server = server.tls_config(tls).expect("a configuration");
            }
            let server = ads(&mut server).add_service(sessions);
            server.serve_with_incoming(incoming).await
        });
        Self { xds, heard, runtime: Some(runtime) }
    }

    /// Dies: every connection breaks at once.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Ends the last session only; the connection and the other streams stand.
    pub(crate) fn end_session(&self) {
        self.heard.lock().expect("no panic").to = None;
    }

    /// Says something to the node of the last session.
    pub(crate) async fn say(&self, message: ToNode) {
        let to = self.heard.lock().expect("no panic").to.clone().expect("a session");
        to.send(Ok(ControllerMessage { message: Some(message) })).await.expect("a session");
    }

    /// The `n`th Hello, from one.
    pub(crate) async fn hello(&self, n: usize) -> Hello {
        until("a session", || self.heard.lock().expect("no panic").hellos.get(n - 1).cloned()).await
    }

    /// The serial number of the certificate with which the `n`th session was opened.
    pub(crate) fn serial(&self, n: usize) -> String {
        self.heard.lock().expect("no panic").serials[n - 1].clone()
    }

    pub(crate) fn last_hello(&self) -> Option<Hello> {
        self.heard.lock().expect("no panic").hellos.last().cloned()
    }

    pub(crate) fn hellos(&self) -> usize {
        self.heard.lock().expect("no panic").hellos.len()
    }

    fn last<T>(&self, pick: impl Fn(&FromNode) -> Option<T>) -> Option<T> {
        self.heard.lock().expect("no panic").messages.iter().rev().find_map(pick)
    }

    /// The last word about demand: the upstreams.
    pub(crate) fn demand(&self) -> Option<Demand> {
        self.last(|message| match message {
            FromNode::Hello(hello) => hello.demand.clone(),
            FromNode::Demand(demand) => Some(demand.clone()),
            _ => None,
        })
    }

    pub(crate) async fn until_demanded(&self, upstreams: &[&str]) -> Demand {
        until(&format!("demand for {upstreams:?}"), || {
            let demand = self.demand()?;
            demand
                .held
                .iter()
                .map(|held| held.upstream.as_str())
                .eq(upstreams.iter().copied())
                .then_some(demand)
        })
        .await
    }

    /// The last word about the activity of an upstream.
    pub(crate) fn activity(&self, upstream: &str) -> Option<State> {
        self.last(|message| {
            let activity = match message {
                FromNode::Hello(hello) => hello.activity.as_ref()?,
                FromNode::Activity(activity) => activity,
                _ => return None,
            };
            activity.upstreams.iter().find(|one| one.upstream == upstream)?.state
        })
    }

    pub(crate) async fn until_active(&self, upstream: &str) {
        until("activity", || (self.activity(upstream)? == State::Active(true)).then_some(())).await;
    }

    pub(crate) async fn until_idle(&self, upstream: &str) -> u64 {
        until("idleness", || match self.activity(upstream)? {
            State::IdleForMs(idle) => Some(idle),
            _ => None,
        })
        .await
    }

    pub(crate) fn quiet(&self) -> Vec<Quiet> {
        self.all(|message| match message {
            FromNode::Quiet(quiet) => Some(quiet.clone()),
            _ => None,
        })
    }

    pub(crate) fn timings(&self) -> Vec<WakeTiming> {
        self.all(|message| match message {
            FromNode::WakeTiming(timing) => Some(timing.clone()),
            _ => None,
        })
    }

    pub(crate) fn said_goodbye(&self) -> bool {
        self.last(|message| matches!(message, FromNode::Goodbye(_)).then_some(())).is_some()
    }

    fn all<T>(&self, pick: impl Fn(&FromNode) -> Option<T>) -> Vec<T> {
        self.heard.lock().expect("no panic").messages.iter().filter_map(pick).collect()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // Its address must be free afterwards; a runtime may not wait for another on its own thread.
        let ending = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(10)));
        let _ = ending.join();
    }
}

struct Service(Arc<Mutex<Heard>>);

#[tonic::async_trait]
impl Sessions for Service {
    type SessionStream = ReceiverStream<Result<ControllerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<NodeMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let certificate = request.peer_certs().and_then(|chain| chain.first().cloned());
        let serial = certificate.map(|der| Leaf::read(&der).expect("a certificate").serial);
        self.0.lock().expect("no panic").serials.extend(serial);
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|message| message.message);
        let Some(FromNode::Hello(hello)) = first else { return Err(Status::invalid_argument("no Hello")) };
        let (to, receiver) = mpsc::channel(16);
        let heard = self.0.clone();
        {
            let mut heard = heard.lock().expect("no panic");
            if hello.unregistered_at == heard.id {
                return Err(Status::already_exists("it has a session here"));
            }
            if let Some(welcome) = heard.welcome.clone() {
                let _ = to.try_send(Ok(ControllerMessage { message: Some(ToNode::Welcome(welcome)) }));
            }
            heard.to = Some(to);
            heard.hellos.push(hello.clone());
            heard.messages.push(FromNode::Hello(hello));
        }
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                let Some(message) = message.message else { continue };
                let mut heard = heard.lock().expect("no panic");
                let goodbye = matches!(message, FromNode::Goodbye(_));
                heard.messages.push(message);
                if goodbye {
                    heard.to = None;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Says back the type, and the names that were asked for; refuses the type "refused".
struct Echo;

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Echo {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let said_back = request.into_inner().map(|request| {
            let request = request?;
            if request.type_url == "refused" {
                return Err(Status::invalid_argument("refused"));
            }
            let version_info = request.resource_names.concat();
            Ok(DiscoveryResponse { type_url: request.type_url, version_info, ..Default::default() })
        });
        Ok(Response::new(Box::pin(said_back)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let said_back = request.into_inner().map(|request| {
            let request = request?;
            let system_version_info = request.resource_names_subscribe.concat();
            Ok(DeltaDiscoveryResponse {
                type_url: request.type_url,
                system_version_info,
                ..Default::default()
            })
        });
        Ok(Response::new(Box::pin(said_back)))
    }
}
