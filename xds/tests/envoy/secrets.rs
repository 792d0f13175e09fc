//! A real Envoy takes its certificate as a secret (SDS), changes it, and keeps it when it is sent a bad one.

use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{DataSource, TransportSocket};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, Secret, TlsCertificate,
};
use rcgen::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use zenvoy_xds::core::Change;
use zenvoy_xds::server::Event;

use crate::mode::{MODES, Mode};
use crate::net::in_namespace;
use crate::parts::{Replica, backend};
use crate::process::Envoy;
use crate::resources::{any, change, cluster, endpoints, listener_with, routes};
use crate::until;

const HTTPS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_443);
const SDS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// A certificate of localhost that is its own authority, as PEM text, with a key, and as clients trust it.
struct Pair {
    certificate: String,
    key: String,
    trusted: CertificateDer<'static>,
}

impl Pair {
    fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let trusted = cert.der().clone();
        Self { certificate: cert.pem(), key: signing_key.serialize_pem(), trusted }
    }
}

fn secret(certificate: &str, key: &str) -> Change {
    let text = |text: &str| DataSource {
        specifier: Some(Specifier::InlineString(text.into())),
        ..Default::default()
    };
    let certificate = TlsCertificate {
        certificate_chain: Some(text(certificate)),
        private_key: Some(text(key)),
        ..Default::default()
    };
    let message = Secret { name: "secret".into(), r#type: Some(Type::TlsCertificate(certificate)) };
    change(SDS, "secret", &message)
}

/// A listener that has its certificate from the secret.
fn secured(mode: Mode) -> Change {
    let config = SdsSecretConfig { name: "secret".into(), sds_config: Some(mode.source()) };
    let common = CommonTlsContext { tls_certificate_sds_secret_configs: vec![config], ..Default::default() };
    let context = DownstreamTlsContext { common_tls_context: Some(common), ..Default::default() };
    listener_with(mode, "listener", HTTPS, |listener| {
        listener.filter_chains[0].transport_socket = Some(TransportSocket {
            name: "envoy.transport_sockets.tls".into(),
            config_type: Some(ConfigType::TypedConfig(any(TLS, &context))),
        });
    })
}

/// The answer to one request over TLS, or `None` if the certificate is not the one that is trusted, or there was none.
async fn get(pair: &Pair) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(pair.trusted.clone()).expect("an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(HTTPS).await.ok()?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    // What counts is what came: not every end of a connection is a polite one.
    let _ = until::done("an answer", stream.read_to_string(&mut answer)).await;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

async fn changes(mode: Mode) {
    let replica = Replica::start().await;
    let server = &replica.server;
    let (old, new) = (Pair::new(), Pair::new());
    server.apply([cluster(mode, "a", 1), endpoints("a", backend("one").await), routes("a"), secured(mode)]);
    server.apply([secret(&old.certificate, &old.key)]);
    let _envoy = Envoy::start(mode, "node", &[replica.address]);
    until::some("an answer with the first certificate", async || get(&old).await).await;
    server.apply([secret(&new.certificate, &new.key)]);
    until::applied(server.until_acked("node", SDS, "secret")).await;
    until::some("an answer with the second certificate", async || get(&new).await).await;
    assert!(get(&old).await.is_none(), "the first certificate is gone");

    let mut events = server.subscribe();
    server.apply([secret(&new.certificate, &old.key)]);
    let refused = until::done("a refusal", async {
        loop {
            if let Event::Nacked { type_url, message, .. } = events.recv().await.expect("an event") {
                return (type_url, message);
            }
        }
    });
    let (type_url, message) = refused.await;
    assert!(type_url.as_str() == SDS && message.contains("private key"), "{type_url}: {message}");
    assert!(get(&new).await.is_some(), "the last good one stays");
}

#[test]
fn an_envoy_on_one_delta_stream_changes_its_certificate() {
    in_namespace(|| changes(MODES[0]));
}

#[test]
fn an_envoy_on_one_state_of_the_world_stream_changes_its_certificate() {
    in_namespace(|| changes(MODES[1]));
}

#[test]
fn an_envoy_on_separate_delta_streams_changes_its_certificate() {
    in_namespace(|| changes(MODES[2]));
}

#[test]
fn an_envoy_on_separate_state_of_the_world_streams_changes_its_certificate() {
    in_namespace(|| changes(MODES[3]));
}
