//! Where clients reach Envoy: the shared HTTP listener, a TCP listener per `listenPort`, the shared TLS listener.

use std::net::IpAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3::{AccessLogFilter, ResponseFlagFilter};
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::substitution_format_string::Format;
use envoy_types::pb::envoy::config::core::v3::{
    DataSource, HeaderValue, HeaderValueOption, SubstitutionFormatString,
};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType as ListenerConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, RouteSpecifier, UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType as HttpConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, LocalReplyConfig, Rds, ResponseMapper,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use zenvoy_shared::id::UpstreamId;

use super::routes::ROUTE_CONFIGURATION;
use super::{address, ads, any, count, seconds};

const HTTP_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";

/// Seconds after which a client may come again that Envoy itself had to send away: nobody knows when it will be served.
const RETRY_AFTER: &str = "10";

/// The names of the shared listeners, and what those of listen ports begin with.
pub(super) const HTTP_LISTENER: &str = "zenvoy-http";
pub(super) const TLS_LISTENER: &str = "zenvoy-tls";
const OF_PORT: &str = "zenvoy-tcp-";

/// The listen port of a listener, by its name.
pub(super) fn port_of(name: &str) -> Option<u16> {
    name.strip_prefix(OF_PORT)?.parse().ok()
}

/// Where Envoys listen; the same on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerOptions {
    /// The address to bind.
    pub bind: IpAddr,
    /// The shared HTTP listener's port.
    pub http_port: u16,
    /// The shared TLS listener's port.
    pub tls_port: u16,
}

/// What a client reads where Envoy has nobody to send its request to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalReplies {
    /// Envoy's own words.
    Plain,
    /// The reason, as from the proxy.
    Json,
}

impl LocalReplies {
    /// What replicas of this protocol level serve (rule L4).
    pub fn of_level(level: u32) -> Self {
        if level < 2 { Self::Plain } else { Self::Json }
    }
}

/// The shared HTTP listener: HTTP/1 and HTTP/2, upgrades to WebSocket, routes by RDS.
pub fn http_listener(options: ListenerOptions, replies: LocalReplies) -> Listener {
    let manager = HttpConnectionManager {
        codec_type: CodecType::Auto as i32,
        stat_prefix: "zenvoy_http".into(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: ROUTE_CONFIGURATION.into(),
        })),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(HttpConfigType::TypedConfig(typed(ROUTER, &Router::default()))),
            ..Default::default()
        }],
        local_reply_config: (replies == LocalReplies::Json).then(local_replies),
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".into(), ..Default::default() }],
        ..Default::default()
    };
    listener(HTTP_LISTENER, options.bind, options.http_port, vec![chain(HTTP_MANAGER, &manager)])
}

/// Where Envoy has nobody to send a request to, the client is told so as by the proxy: a 503 with `retry-after` and JSON.
/// Source of the flags: Envoy's access log, `%RESPONSE_FLAGS%`: no healthy upstream, no cluster.
fn local_replies() -> LocalReplyConfig {
    // As text: a structure's fields have no order, and replicas must serve the same bytes.
    const BODY: &str = concat!(
        r#"{"reason":"NotServed","message":"there is nothing to send this request to: the upstream has neither a ready "#,
        r#"pod nor an activator address; its status says why","upstream":"%UPSTREAM_CLUSTER%"}"#,
        "\n"
    );
    let body = DataSource { specifier: Some(Specifier::InlineString(BODY.into())), ..Default::default() };
    let nobody = ResponseFlagFilter { flags: vec!["UH".into(), "NC".into()] };
    let header = |key: &str, value: &str| HeaderValueOption {
        header: Some(HeaderValue { key: key.into(), value: value.into(), ..Default::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..Default::default()
    };
    LocalReplyConfig {
        mappers: vec![ResponseMapper {
            filter: Some(AccessLogFilter {
                filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(nobody)),
            }),
            body_format_override: Some(SubstitutionFormatString {
                content_type: "application/json".into(),
                format: Some(Format::TextFormatSource(body)),
                ..Default::default()
            }),
            headers_to_add: vec![header("retry-after", RETRY_AFTER), header("cache-control", "no-store")],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A listener whose connections all go to one upstream.
pub fn tcp_listener(options: ListenerOptions, id: &UpstreamId, listen_port: u16) -> Listener {
    let name = format!("{OF_PORT}{listen_port}");
    listener(&name, options.bind, listen_port, vec![chain(TCP_PROXY, &tcp_proxy(id))])
}

/// The shared TLS listener: passed through by server name. `None` without any, since Envoy refuses a listener
/// without filter chains.
pub fn tls_listener(options: ListenerOptions, names: &[(UpstreamId, Vec<String>)]) -> Option<Listener> {
    let chains: Vec<FilterChain> = names
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(id, names)| FilterChain {
            filter_chain_match: Some(FilterChainMatch { server_names: names.clone(), ..Default::default() }),
            ..chain(TCP_PROXY, &tcp_proxy(id))
        })
        .collect();
    if chains.is_empty() {
        return None;
    }
    let inspector = ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".into(),
        config_type: Some(ListenerConfigType::TypedConfig(typed(TLS_INSPECTOR, &TlsInspector::default()))),
        ..Default::default()
    };
    Some(Listener {
        listener_filters: vec![inspector],
        ..listener(TLS_LISTENER, options.bind, options.tls_port, chains)
    })
}

fn tcp_proxy(id: &UpstreamId) -> TcpProxy {
    TcpProxy {
        stat_prefix: "zenvoy_tcp".into(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(id.to_string())),
        // A database connection may be silent for days; Envoy's default would cut it after an hour.
        idle_timeout: Some(seconds(Duration::ZERO)),
        max_connect_attempts: count(8),
        ..Default::default()
    }
}

fn listener(name: &str, bind: IpAddr, port: u16, filter_chains: Vec<FilterChain>) -> Listener {
    Listener { name: name.into(), address: Some(address(bind, port)), filter_chains, ..Default::default() }
}

fn chain<M: Message>(filter_type: &str, config: &M) -> FilterChain {
    FilterChain {
        filters: vec![Filter {
            name: filter_type.into(),
            config_type: Some(ConfigType::TypedConfig(typed(filter_type, config))),
        }],
        ..Default::default()
    }
}

fn typed<M: Message>(message_type: &str, message: &M) -> Any {
    any(&format!("type.googleapis.com/{message_type}"), message)
}
