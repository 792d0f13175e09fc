//! Where Envoy finds the proxy beside it: TCP on loopback, or a unix socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::connection::Connection;

/// An address on this host only: whoever reaches it speaks with the node's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// `127.0.0.1:18001`.
    Tcp(SocketAddr),
    /// `unix:/run/zenvoy/proxy.sock`.
    Unix(PathBuf),
}

/// The text is no local address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address on this host: give 127.0.0.1:18001 or unix:/run/zenvoy/proxy.sock")]
pub struct InvalidLocalAddress(pub String);

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for LocalAddress {
    type Err = InvalidLocalAddress;

    fn from_str(text: &str) -> Result<Self, InvalidLocalAddress> {
        let invalid = || InvalidLocalAddress(text.into());
        if let Some(path) = text.strip_prefix("unix:") {
            return Some(Path::new(path))
                .filter(|path| path.is_absolute())
                .map(|path| Self::Unix(path.into()))
                .ok_or_else(invalid);
        }
        let address: SocketAddr = text.parse().map_err(|_| invalid())?;
        if address.ip().is_loopback() { Ok(Self::Tcp(address)) } else { Err(invalid()) }
    }
}

/// A bound local address.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// A socket's file that a killed process left is replaced; one that is served is not.
    pub(super) async fn bind(address: &LocalAddress) -> io::Result<Self> {
        match address {
            LocalAddress::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            LocalAddress::Unix(path) => {
                match UnixStream::connect(path).await {
                    Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        std::fs::remove_file(path)?;
                    }
                    Err(_) => {}
                }
                Ok(Self::Unix(UnixListener::bind(path)?, path.clone()))
            }
        }
    }

    /// The address with the port that the kernel chose.
    pub(super) fn address(&self) -> io::Result<LocalAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(LocalAddress::Tcp),
            Self::Unix(_, path) => Ok(LocalAddress::Unix(path.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::Unix(listener, _) => Ok(Connection::Unix(listener.accept().await?.0)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_what_it_prints_and_others_hosts_are_refused() {
        for text in ["127.0.0.1:18001", "[::1]:18001", "unix:/run/zenvoy/proxy.sock"] {
            assert_eq!(text.parse::<LocalAddress>().unwrap().to_string(), text);
        }
        for text in ["", "0.0.0.0:18001", "10.0.0.1:18001", "unix:relative", "localhost:1"] {
            let error = text.parse::<LocalAddress>().unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:18001"), "{error}");
        }
    }

    #[tokio::test]
    async fn the_file_of_a_killed_process_is_replaced_and_that_of_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let address = LocalAddress::Unix(folder.path().join("proxy.sock"));
        let LocalAddress::Unix(path) = &address else { panic!("unix") };
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        let living = Listener::bind(&address).await.unwrap();
        let error = Listener::bind(&address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(living);
        assert!(!path.exists());
    }
}
