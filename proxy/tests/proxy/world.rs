//! A controller, a proxy, and an Envoy if the test wants one, in the namespace of the test.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zenvoy_proxy::admin::UpstreamStatus;
use zenvoy_proxy::local::LocalAddress;
use zenvoy_proxy::{Handle, Proxy, ProxyError, ProxyOptions};
use zenvoy_shared::id::NodeId;

use zenvoy_e2e::envoy::Envoy;
use zenvoy_e2e::until::{done, some};

use crate::controller::Controller;
use crate::envoy::{self, FLUSH};
use crate::resources::{Upstream, hold};

pub(crate) const NODE: &str = "node-1";
pub(crate) const CONTROLLER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 18_000);

pub(crate) struct World {
    pub(crate) controller: Controller,
    pub(crate) handle: Handle,
    pub(crate) local: LocalAddress,
    pub(crate) admin: SocketAddr,
    stop: CancellationToken,
    proxy: JoinHandle<Result<(), ProxyError>>,
}

/// The usual options, quicker.
pub(crate) fn options() -> ProxyOptions {
    let controllers = vec![format!("http://{CONTROLLER}").parse().expect("an address")];
    ProxyOptions {
        stats_flush_interval: FLUSH,
        held_grace: Duration::from_secs(1),
        relay_grace: Duration::from_secs(2),
        ..ProxyOptions::new(NodeId(NODE.into()), controllers)
    }
}

impl World {
    /// With these upstreams, cold.
    pub(crate) async fn start(upstreams: &[&Upstream]) -> Self {
        Self::with(options(), upstreams).await
    }

    pub(crate) async fn with(options: ProxyOptions, upstreams: &[&Upstream]) -> Self {
        let world = Self::begin(options, Controller::start(CONTROLLER), upstreams).await;
        until("the table", || (world.handle.status().upstreams.len() == upstreams.len()).then_some(())).await;
        world
    }

    /// The same with this controller, and without waiting for the table.
    pub(crate) async fn begin(
        options: ProxyOptions,
        controller: Controller,
        upstreams: &[&Upstream],
    ) -> Self {
        serve_cold(&controller, upstreams);
        let proxy = Proxy::bind(options).await.expect("a proxy");
        let (handle, local) = (proxy.handle(), proxy.local_address().clone());
        let admin = proxy.admin_address().expect("an admin address");
        let stop = CancellationToken::new();
        let proxy = tokio::spawn(proxy.run(stop.clone()));
        Self { controller, handle, local, admin, stop, proxy }
    }

    /// An Envoy beside the proxy, that has listeners and whose statistics arrive.
    pub(crate) async fn envoy(&self, upstreams: &[&Upstream]) -> Envoy {
        let envoy = envoy::start(NODE, &self.local);
        for upstream in upstreams {
            some("Envoy's listener", async || TcpStream::connect(upstream.listener).await.ok()).await;
        }
        self.flushes(2).await;
        envoy
    }

    /// Waits until Envoy has flushed so many times more.
    pub(crate) async fn flushes(&self, more: u64) {
        let target = self.handle.status().flushes + more;
        until("Envoy's flushes", || (self.handle.status().flushes >= target).then_some(())).await;
    }

    pub(crate) fn upstream(&self, upstream: &Upstream) -> UpstreamStatus {
        let all = self.handle.status().upstreams;
        all.into_iter().find(|one| one.upstream.to_string() == upstream.name).expect("in the table")
    }

    /// Bytes that passed the proxy for an upstream.
    pub(crate) fn bytes(&self, upstream: &Upstream) -> u64 {
        let connections = self.upstream(upstream).connections;
        connections.bytes_to_server + connections.bytes_to_client
    }

    pub(crate) async fn until_verdict_is_new(&self, upstream: &Upstream, old: &UpstreamStatus) {
        until("a new verdict", || (self.upstream(upstream).verdict != old.verdict).then_some(())).await;
    }

    /// Tells the proxy to end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Controller {
        self.stop.cancel();
        done("the proxy's end", self.proxy).await.expect("no panic").expect("all parts live");
        self.controller
    }
}

/// Gives a controller the resources of cold upstreams.
pub(crate) fn serve_cold(controller: &Controller, upstreams: &[&Upstream]) {
    for upstream in upstreams {
        controller.xds.apply(upstream.structure());
        controller.xds.apply([upstream.endpoints(&[upstream.activator]), upstream.row(hold())]);
    }
}

/// The whole answer to one request.
pub(crate) async fn get(to: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    done("an answer", stream.read_to_string(&mut answer)).await?;
    Ok(answer)
}

/// What a request got that was sent by [`get`] beside the test.
pub(crate) async fn answered(request: JoinHandle<std::io::Result<String>>) -> String {
    request.await.expect("no panic").expect("an answer")
}

/// Begins a request and leaves it open.
pub(crate) async fn begin(to: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.expect("connect");
    let request = format!("GET {path} HTTP/1.1\r\nhost: cart\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    stream
}

/// Reads until the text has come.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut all = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&all).contains(text) {
            let mut part = [0; 1024];
            let read = stream.read(&mut part).await.expect("no error");
            assert_ne!(read, 0, "the end before {text:?}: {}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&part[..read]);
        }
    };
    done(text, read).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// Looks until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    some(what, async || look()).await
}
