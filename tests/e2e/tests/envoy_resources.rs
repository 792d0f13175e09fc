//! A real Envoy takes everything that the controller translates, and follows a switch of endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use zenvoy_controller::model::{Route, UpstreamSpec};
use zenvoy_controller::translate::{
    Claim, ListenerOptions, LocalReplies, Names, ROUTE_CONFIGURATION, assignment, claims, cluster,
    http_listener, route_configuration, tcp_listener, tls_listener, type_url,
};
use zenvoy_e2e::envoy::Envoy;
use zenvoy_e2e::http::get;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until;
use zenvoy_shared::id::{ActivatorAddress, Protocol, UpstreamId};
use zenvoy_xds::core::Change;
use zenvoy_xds::server::Server;

const NODE: &str = "node-1";
const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10_000);
const OPTIONS: ListenerOptions =
    ListenerOptions { bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED), http_port: 10_000, tls_port: 10_443 };

/// Serves ADS in this namespace.
async fn ads() -> (Server, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let server = Server::new();
    let service = server.service();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (server, address)
}

/// A backend that answers every HTTP request with `word`.
async fn backend(address: &str, word: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.expect("bind");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{word}", word.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}

/// What Envoy answers for a host, if it is a 200.
async fn body(host: &str) -> Option<String> {
    let answer = get(HTTP, host, "/").await.ok()?;
    (answer.status == 200).then_some(answer.body)
}

fn set(url: &str, name: &dyn ToString, message: &impl Message) -> Change {
    Change {
        type_url: url.into(),
        name: name.to_string().as_str().into(),
        content: Some(message.encode_to_vec().into()),
    }
}

fn upstreams() -> BTreeMap<UpstreamId, UpstreamSpec> {
    let spec = |protocol, hosts: &[&str], listen_port| UpstreamSpec {
        protocol,
        hosts: hosts.iter().map(ToString::to_string).collect(),
        listen_port,
        ..UpstreamSpec::default()
    };
    BTreeMap::from([
        (
            UpstreamId::new("shop", "cart", 80),
            spec(Protocol::Http, &["cart.example", "*.cart.example"], None),
        ),
        (UpstreamId::new("shop", "cart", 8080), spec(Protocol::Http, &[], None)),
        (UpstreamId::new("shop", "grpc", 50_051), spec(Protocol::Http2, &["cart.example"], None)),
        (UpstreamId::new("shop", "db", 5432), spec(Protocol::Tcp, &[], Some(5432))),
        (UpstreamId::new("shop", "secure", 443), spec(Protocol::Tls, &["secure.example"], None)),
    ])
}

fn snapshot(upstreams: &BTreeMap<UpstreamId, UpstreamSpec>, activator: ActivatorAddress) -> Vec<Change> {
    let mut changes = Vec::new();
    for (id, spec) in upstreams {
        changes.push(set(type_url::CLUSTER, id, &cluster(id, spec)));
        let cold = assignment(id, &Route::Activator { drain: None }, Some(activator));
        changes.push(set(type_url::ENDPOINTS, id, &cold));
        if let Some(port) = spec.listen_port {
            let listener = tcp_listener(OPTIONS, id, port);
            changes.push(set(type_url::LISTENER, &listener.name, &listener));
        }
    }
    let http = upstreams.iter().filter(|(_, spec)| spec.protocol.is_http());
    let claims = claims(
        http.map(|(id, spec)| Claim { id, spec, created: 0, first_port: id.port != 8080 }),
        OPTIONS.http_port,
        &Names::default(),
    );
    let routes = route_configuration(&claims.domains, |id| upstreams.get(id).cloned());
    changes.push(set(type_url::ROUTES, &ROUTE_CONFIGURATION, &routes));
    let tls: Vec<_> = upstreams
        .iter()
        .filter(|(_, spec)| spec.protocol == Protocol::Tls)
        .map(|(id, spec)| (id.clone(), spec.hosts.clone()))
        .collect();
    let http = http_listener(OPTIONS, LocalReplies::Json);
    for listener in [Some(http), tls_listener(OPTIONS, &tls)].into_iter().flatten() {
        changes.push(set(type_url::LISTENER, &listener.name, &listener));
    }
    changes
}

#[test]
fn envoy_takes_every_kind_of_resource_and_follows_a_switch_of_endpoints() {
    in_namespace(async || {
        let (server, address) = ads().await;
        let SocketAddr::V4(activator) = backend("127.0.0.1:20000", "activator").await else { panic!("IPv4") };
        let pod = backend("10.42.0.1:8080", "pod").await;
        server.apply(snapshot(&upstreams(), ActivatorAddress(activator)));
        let envoy = Envoy::start(NODE, address);

        let answer = until::some("an answer through Envoy", async || body("cart.shop").await).await;
        assert_eq!(answer, "activator");
        let own_host = body("www.cart.example").await;
        assert_eq!(own_host.as_deref(), Some("activator"));

        let cart = UpstreamId::new("shop", "cart", 80);
        let warm = assignment(&cart, &Route::Pods(vec![pod]), Some(ActivatorAddress(activator)));
        server.apply([set(type_url::ENDPOINTS, &cart, &warm)]);
        let name = cart.to_string();
        let acked = server.until_acked(NODE, type_url::ENDPOINTS, &name);
        assert!(until::done("Envoy's ACK", acked).await.is_applied());
        until::some("an answer of the pod", async || {
            body("cart.shop").await.filter(|answer| answer == "pod")
        })
        .await;
        let second_port = body("cart.shop:8080").await;
        assert_eq!(second_port.as_deref(), Some("activator"), "only the changed upstream moves");

        for kind in ["cluster_manager.cds", "listener_manager.lds"] {
            assert_eq!(envoy.stat(&format!("{kind}.update_rejected")).await, Some(0), "{kind}");
        }
        assert_eq!(envoy.stat("listener_manager.listener_create_failure").await, Some(0));
        assert_eq!(envoy.stat("listener_manager.total_listeners_active").await, Some(3));
    });
}
