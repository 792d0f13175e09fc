//! gRPC's own xDS client, an implementation independent of Envoy's: resolves and calls through the server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ConfigSource, Locality, SocketAddress, address, socket_address,
};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zenvoy_xds::core::Change;
use zenvoy_xds::server::{Server, incoming, transport};

const CONFIG: &str = "type.googleapis.com/envoy.config.";

fn change(kind: &str, name: &str, message: &impl Message) -> Change {
    Change::set(format!("{CONFIG}{kind}").as_str(), name, message.encode_to_vec())
}

fn any(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/envoy.extensions.filters.{name}"),
        value: message.encode_to_vec(),
    }
}

fn ads() -> Option<ConfigSource> {
    let specifier = ConfigSourceSpecifier::Ads(AggregatedConfigSource {});
    Some(ConfigSource { config_source_specifier: Some(specifier), ..Default::default() })
}

fn listener() -> Change {
    let router = ConfigType::TypedConfig(any("http.router.v3.Router", &Router::default()));
    let rds = Rds { config_source: ads(), route_config_name: "routes".into() };
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(rds)),
        http_filters: vec![HttpFilter {
            name: "router".into(),
            config_type: Some(router),
            ..Default::default()
        }],
        ..Default::default()
    };
    let manager = any("network.http_connection_manager.v3.HttpConnectionManager", &manager);
    let message = Listener {
        name: "backend".into(),
        api_listener: Some(ApiListener { api_listener: Some(manager) }),
        ..Default::default()
    };
    change("listener.v3.Listener", "backend", &message)
}

fn routes(cluster: &str) -> Change {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.into())),
        ..Default::default()
    };
    let all = RouteMatch { path_specifier: Some(PathSpecifier::Prefix(String::new())), ..Default::default() };
    let host = VirtualHost {
        name: "all".into(),
        domains: vec!["*".into()],
        routes: vec![Route { r#match: Some(all), action: Some(Action::Route(action)), ..Default::default() }],
        ..Default::default()
    };
    let message =
        RouteConfiguration { name: "routes".into(), virtual_hosts: vec![host], ..Default::default() };
    change("route.v3.RouteConfiguration", "routes", &message)
}

fn cluster(name: &str) -> Change {
    let message = Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), ..Default::default() }),
        ..Default::default()
    };
    change("cluster.v3.Cluster", name, &message)
}

fn endpoints(cluster: &str, at: SocketAddr) -> Change {
    let address = Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: at.ip().to_string(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(at.port().into())),
            ..Default::default()
        })),
    };
    let endpoint = HostIdentifier::Endpoint(Endpoint { address: Some(address), ..Default::default() });
    let locality = LocalityLbEndpoints {
        locality: Some(Locality::default()),
        lb_endpoints: vec![LbEndpoint { host_identifier: Some(endpoint), ..Default::default() }],
        load_balancing_weight: Some(UInt32Value { value: 1 }),
        ..Default::default()
    };
    let message = ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints: vec![locality],
        ..Default::default()
    };
    change("endpoint.v3.ClusterLoadAssignment", cluster, &message)
}

/// A process of the Go program: lines in, lines out.
struct Peer {
    _process: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(program: &Path, arguments: &[&str], bootstrap: &str) -> Self {
        let mut process = Command::new(program)
            .args(arguments)
            .env("GRPC_XDS_BOOTSTRAP_CONFIG", bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("start the Go program");
        let stdin = process.stdin.take().expect("piped");
        let stdout = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { _process: process, stdin, stdout }
    }

    async fn hear(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(60), self.stdout.next_line()).await;
        line.expect("within 60 s").expect("readable").expect("a line")
    }

    /// The outcome of one call.
    async fn call(&mut self, service: &str) -> String {
        self.stdin.write_all(format!("{service}\n").as_bytes()).await.expect("it runs");
        self.hear().await
    }

    /// Calls until the backend that has this service is reached.
    async fn reaches(&mut self, service: &str) {
        let calls = async {
            while self.call(service).await != "SERVING" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), calls).await.expect("reached within 60 s");
    }
}

/// Builds the Go program; Go keeps what it builds.
fn program() -> PathBuf {
    let at = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpc-peer");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/grpc/peer");
    let built = std::process::Command::new("go")
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&at)
        .arg(".")
        .current_dir(source)
        .status();
    assert!(built.expect("run go: install Go").success(), "the Go program builds");
    at
}

async fn serve(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let router = transport().add_routes(server.routes());
    tokio::spawn(router.serve_with_incoming(incoming(listener)));
    address
}

#[tokio::test]
async fn grpcs_own_client_resolves_calls_and_follows_changes() {
    let (server, program) = (Server::new(), program());
    let bootstrap = format!(
        r#"{{"xds_servers": [{{"server_uri": "{}", "channel_creds": [{{"type": "insecure"}}],
            "server_features": ["xds_v3"]}}], "node": {{"id": "grpc"}}}}"#,
        serve(&server).await
    );
    let (mut one, mut two) =
        (Peer::start(&program, &["backend", "one"], ""), Peer::start(&program, &["backend", "two"], ""));
    let (first, second): (SocketAddr, SocketAddr) =
        (one.hear().await.parse().expect("an address"), two.hear().await.parse().expect("an address"));
    server.apply([listener(), routes("a"), cluster("a"), endpoints("a", first)]);

    let mut client = Peer::start(&program, &["client", "xds:///backend"], &bootstrap);
    assert_eq!(client.call("one").await, "SERVING");
    assert_eq!(client.call("two").await, "NotFound", "that is the other backend");
    server.apply([endpoints("a", second)]);
    client.reaches("two").await;
    server.apply([cluster("b"), endpoints("b", first), routes("b")]);
    client.reaches("one").await;
    server.apply([Change::remove(format!("{CONFIG}cluster.v3.Cluster").as_str(), "a")]);
    assert_eq!(client.call("one").await, "SERVING");
    let streams = server.streams();
    assert_eq!((streams.len(), &*streams[0].node), (1, "grpc"));
    assert!(streams[0].types.iter().all(|status| status.rejected.is_empty()), "{streams:?}");

    let mut lost = Peer::start(&program, &["client", "xds:///missing"], &bootstrap);
    assert_eq!(lost.call("one").await, "Unavailable", "a listener that does not exist is said to be so");
}
