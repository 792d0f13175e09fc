//! Why a member ends TLS connections. In: where it is and the TLS material; out: its alert, heard by a client that only
//! listens.

use std::time::Duration;

use http::Uri;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::Error as TlsFault;
use tokio_rustls::rustls::pki_types::ServerName;
use zenvoy_shared::tls::Material;

/// A member that takes the certificate waits for the client to speak; one that does not says so at once.
const LISTENED: Duration = Duration::from_millis(500);

/// The alert by which a member refuses the own certificate, or its absence.
///
/// In TLS 1.3 the client's handshake is complete before the server looks at the client's certificate (RFC 8446, section
/// 4.4.2.4). A client that goes on to write finds the connection reset, and the reset often overtakes the alert.
pub(super) async fn refusal(endpoint: &str, material: &Material) -> Option<String> {
    timeout(LISTENED, alert(endpoint, material)).await.ok()?
}

async fn alert(endpoint: &str, material: &Material) -> Option<String> {
    let uri: Uri = endpoint.parse().ok()?;
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await.ok()?;
    let connector = TlsConnector::from(material.client()?);
    let mut stream = connector.connect(ServerName::try_from(host).ok()?, stream).await.ok()?;
    let error = stream.read(&mut [0]).await.err()?;
    match error.get_ref()?.downcast_ref()? {
        fault @ TlsFault::AlertReceived(_) => Some(fault.to_string()),
        _ => None,
    }
}
