//! TLS to a controller: each proves to the other who it is. In: a TCP connection and the material of now; out: a stream
//! that remembers why the other side ended it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as TlsFault};
use zenvoy_shared::tls::{Leaf, Material, Name};

use super::LinkError;

/// Why the other side refused the connection, once it has said so. In TLS 1.3 a client learns of it only after its own
/// handshake, by whatever it reads next; the layers above make a broken connection of that.
#[derive(Debug, Clone, Default)]
pub(super) struct Alert(Arc<OnceLock<AlertDescription>>);

impl Alert {
    pub(super) fn get(&self) -> Option<Refused> {
        self.0.get().copied().map(Refused)
    }

    fn note(&self, error: &io::Error) {
        let fault = error.get_ref().and_then(|error| error.downcast_ref::<TlsFault>());
        if let Some(TlsFault::AlertReceived(alert)) = fault {
            let _ = self.0.set(*alert);
        }
    }
}

/// A controller that does not take this node's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(AlertDescription);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // The second: an authority of the same name, made anew, has signed.
            AlertDescription::UnknownCA | AlertDescription::DecryptError => f.write_str(
                "it does not know the authority of the certificate; have it signed by one in the controller's ca.crt, or add \
                 its authority there",
            ),
            AlertDescription::CertificateExpired => f.write_str("it has expired; have it renewed"),
            AlertDescription::CertificateRequired => f.write_str("it asks for one, and none was given (--tls-dir)"),
            other => write!(f, "{other:?}; its log says why"),
        }
    }
}

/// Shakes hands with who should be the controller `name`.
pub(super) async fn secure(
    stream: TcpStream,
    address: SocketAddr,
    name: &str,
    material: &Material,
) -> Result<(Secured, Alert), LinkError> {
    let handshake = |source| LinkError::Handshake { address, remedy: remedy(&source), source };
    let server = ServerName::try_from(name.to_owned());
    let server = server.map_err(|error| handshake(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let config = material.client().ok_or(LinkError::NoCertificate)?;
    let stream = TlsConnector::from(config).connect(server, stream).await.map_err(handshake)?;
    is_controller(&stream, material).map_err(|why| LinkError::NotController { address, why })?;
    let alert = Alert::default();
    Ok((Secured { stream, alert: alert.clone() }, alert))
}

/// A host's name alone is not enough: a node's certificate may hold one as well.
fn is_controller(stream: &TlsStream<TcpStream>, material: &Material) -> Result<(), String> {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or_else(|| "it has no certificate".to_owned())?;
    let leaf = Leaf::read(certificate).map_err(|error| error.to_string())?;
    let identity = leaf.identity.map_err(|error| error.to_string())?;
    let domain = material.identity().map(|own| &own.domain);
    if identity.name == Name::Controller && Some(&identity.domain) == domain {
        return Ok(());
    }
    let domain = domain.map_or_else(|| "DOMAIN".into(), ToString::to_string);
    Err(format!("its certificate is for {identity}, not for spiffe://{domain}/zenvoy/controller"))
}

/// What to do about a handshake that failed.
fn remedy(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|error| error.downcast_ref::<TlsFault>()) {
        // A signature is bad when an authority of the same name, made anew, has signed.
        Some(TlsFault::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => "the authority of the controller's certificate is not in this node's ca.crt: add it there",
        Some(TlsFault::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "have the controller's certificate renewed",
        Some(TlsFault::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => {
            "the controller's certificate needs the host of --controllers among its DNS names or IP addresses"
        }
        Some(TlsFault::InvalidMessage(_)) => {
            "the controller may serve plaintext: give it certificates (--tls-dir)"
        }
        _ => "the controller's log may say more",
    }
}

/// The stream; what goes wrong on it is noted.
#[derive(Debug)]
pub(super) struct Secured {
    stream: TlsStream<TcpStream>,
    alert: Alert,
}

impl Secured {
    fn noted<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled {
            self.alert.note(error);
        }
        polled
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.noted(polled)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noted(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.noted(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.noted(polled)
    }
}
