//! Handshakes with those who connect. In: TCP connections and the material of now; out: connections of proven peers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{CertificateError, Error as TlsFault};
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};
use zenvoy_shared::tls::Live;

use super::count::Counts;

/// A peer that means it is through its handshake within this.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes at once; further connections wait in the kernel.
const MOST: usize = 256;
/// A peer that was refused may take so long to read why.
const LINGER: Duration = Duration::from_secs(1);
/// After a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections of proven peers, as tonic takes them.
pub(super) type Proven = mpsc::Sender<io::Result<TlsStream<TcpStream>>>;

/// Accepts until nobody takes connections any more. A slow peer makes no other wait.
pub(super) async fn accept(listener: TcpListener, live: Live, counts: Arc<Counts>, proven: Proven) {
    let mut handshakes = JoinSet::new();
    while !proven.is_closed() {
        tokio::select! {
            accepted = listener.accept(), if handshakes.len() < MOST => match accepted {
                Ok((stream, from)) => {
                    handshakes.spawn(handshake(stream, from, live.clone(), counts.clone(), proven.clone()));
                }
                Err(error) => {
                    warn!(%error, "nodes cannot connect; raise the limit of open files");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = handshakes.join_next() => {}
            () = proven.closed() => return,
        }
    }
}

async fn handshake(stream: TcpStream, from: SocketAddr, live: Live, counts: Arc<Counts>, proven: Proven) {
    let Some(config) = live.material().server() else {
        return warn!(
            "the TLS material was not made for a controller; this is a fault of zenvoy, please report it"
        );
    };
    // Demand is a small message that must not wait for more.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream).into_fallible()).await {
        Ok(Ok(stream)) => {
            counts.shaken();
            let _ = proven.send(Ok(stream)).await;
        }
        Ok(Err((error, stream))) => {
            failed(from, &error, &counts);
            let _ = timeout(LINGER, linger(stream)).await;
        }
        Err(_) => {
            counts.failed();
            debug!(%from, "a peer did not finish its handshake in time");
        }
    }
}

fn failed(from: SocketAddr, error: &io::Error, counts: &Counts) {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        // A probe of whether the port is open.
        debug!(%from, "a peer left before its handshake was over");
        return;
    }
    counts.failed();
    let fault = error.get_ref().and_then(|error| error.downcast_ref::<TlsFault>());
    warn!(%from, "a handshake failed: {error}; {}", remedy(fault));
}

/// What to do about it.
fn remedy(fault: Option<&TlsFault>) -> &'static str {
    match fault {
        Some(TlsFault::NoCertificatesPresented) => "start the proxy with its certificate (--tls-dir)",
        // A signature is bad when an authority of the same name, made anew, has signed.
        Some(TlsFault::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => {
            "have the node's certificate signed by an authority in this controller's ca.crt, or add its authority there"
        }
        Some(TlsFault::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "have the node's certificate renewed",
        Some(TlsFault::InvalidMessage(_)) => "the peer may speak plaintext: give the proxy an https address",
        Some(TlsFault::AlertReceived(_)) => {
            "the peer does not trust this controller's certificate: its log says why"
        }
        _ => "only proxies with a certificate of a node may connect here",
    }
}

/// Lets the peer read the alert: closing while something of it is unread would destroy that.
async fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scrap = [0; 1024];
    while stream.read(&mut scrap).await? > 0 {}
    Ok(())
}
