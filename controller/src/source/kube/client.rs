//! Clients of the API server: each one warm HTTP/2 connection without any rate limit, so that hundreds of scale writes at
//! once neither wait for each other's handshakes nor behind watches.

use std::time::Duration;

use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::{BoxError, Layer, ServiceExt};
use tracing::{debug, info};
use zenvoy_shared::fault::causes;

/// A dead connection is noticed after an interval and a timeout, also while nothing is asked.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// In audit logs.
const USER_AGENT: &str = concat!("zenvoy-controller/", env!("CARGO_PKG_VERSION"));
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// The API server cannot be reached as configured.
#[derive(Debug, thiserror::Error)]
#[error("the Kubernetes API at {url} cannot be used: {source}; check the kubeconfig or the service account")]
pub struct ConnectError {
    url: String,
    source: kube::Error,
}

/// A client with one warm connection. HTTP/2, which every API server speaks over TLS; through a proxy, without TLS, or when
/// something in between does not speak it, kube's own HTTP/1.1 client with its unlimited pool.
///
/// # Errors
/// When certificates or credentials in `config` cannot be used. An API server that does not answer is no error.
pub async fn connect(config: &Config) -> Result<Client, ConnectError> {
    let mut config = config.clone();
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(USER_AGENT)));
    let config = &config;
    let failed = |source| ConnectError { url: config.cluster_url.to_string(), source };
    let secure = config.cluster_url.scheme_str() == Some("https");
    let plain = || {
        // Retries belong to those who know what a retry means.
        let mut config = config.clone();
        config.default_retry = false;
        Client::try_from(config)
    };
    if !secure || config.proxy_url.is_some() {
        return plain().map_err(failed);
    }
    let http2 = http2(config).map_err(failed)?;
    let Err(unanswered) = answers(&http2).await else { return Ok(http2) };
    let http1 = plain().map_err(failed)?;
    match answers(&http1).await {
        Ok(()) => {
            info!(url = %config.cluster_url, "no HTTP/2 on the way to the Kubernetes API; HTTP/1.1 is used");
            Ok(http1)
        }
        Err(_) => {
            debug!(url = %config.cluster_url, unanswered, "the Kubernetes API does not answer yet");
            Ok(http2)
        }
    }
}

/// Any answer will do, a refusal too.
async fn answers(client: &Client) -> Result<(), String> {
    match tokio::time::timeout(FIRST_ANSWER, client.apiserver_version()).await {
        Ok(Ok(_) | Err(kube::Error::Api(_))) => Ok(()),
        Ok(Err(error)) => Err(causes(&error)),
        Err(_) => Err(format!("no answer within {} s", FIRST_ANSWER.as_secs())),
    }
}

fn http2(config: &Config) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    let builder = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_only();
    let builder = match &config.tls_server_name {
        Some(name) => {
            let name = name.clone().try_into().map_err(|error| kube::Error::Service(Box::new(error)))?;
            builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    let http: Http<_, Body> = Http::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(None)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .http2_adaptive_window(true)
        .build(builder.enable_http2().wrap_connector(tcp));
    let service = config.extra_headers_layer()?.layer(http.map_err(BoxError::from));
    let namespace = config.default_namespace.clone();
    let base = config.base_uri_layer();
    Ok(match config.auth_layer()? {
        Some(auth) => Client::new(base.layer(auth.layer(service)), namespace),
        None => Client::new(base.layer(service), namespace),
    })
}
