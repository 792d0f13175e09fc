//! Accepting on activator addresses. `listen` binds each of them and needs no privilege; `tproxy` binds one socket and
//! takes what the kernel's rules bring it. In: addresses; out: connections, each with the activator address it was for.

mod accept;
mod bind;
pub mod rules;
pub mod tproxy;

pub use accept::{AcceptCounts, accept_each};
pub use bind::bind_all;

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use zenvoy_shared::id::ActivatorAddress;

/// How many connections the kernel may keep for us before we accept them.
const BACKLOG: i32 = 4096;

/// A peer that vanished is noticed after about 60 s + 3 x 10 s.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}: {source}; {hint}")]
pub struct ListenError {
    /// Which.
    pub address: SocketAddrV4,
    /// Why.
    pub source: io::Error,
    /// What to do.
    pub hint: &'static str,
}

/// A connection for a cold upstream.
#[derive(Debug)]
pub struct Accepted {
    /// The client's side; for Envoy's connections, Envoy.
    pub stream: TcpStream,
    /// Which upstream it is for.
    pub activator: ActivatorAddress,
}

/// Listens on one activator address without any privilege.
pub fn listen(address: ActivatorAddress) -> Result<TcpListener, ListenError> {
    bound(address.0, |_| Ok(())).map_err(|source| ListenError {
        address: address.0,
        source,
        hint: "end the process that uses it, or take its range out of the pool",
    })
}

/// The next connection of `listener`, prepared for relaying. The address it was made to is its local one, in either
/// transport.
pub async fn accept(listener: &TcpListener) -> io::Result<Accepted> {
    let (stream, _) = listener.accept().await?;
    prepare(&stream)?;
    match stream.local_addr()? {
        SocketAddr::V4(local) => Ok(Accepted { stream, activator: ActivatorAddress(local) }),
        SocketAddr::V6(local) => {
            Err(io::Error::other(format!("{local} is no activator address: they are IPv4")))
        }
    }
}

/// Lets the process open as many files as the system allows it: a held connection takes one, a relayed one six.
pub fn raise_file_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// What every relayed stream needs: no delay of small writes, and notice of peers that vanish.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE).with_interval(Duration::from_secs(10)).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn bound(address: SocketAddrV4, options: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    options(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn a_connection_knows_the_activator_address_it_was_made_to() {
        let listener = listen(ActivatorAddress(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), accept(&listener));
        assert_eq!(SocketAddr::from(accepted.unwrap().activator.0), client.unwrap().peer_addr().unwrap());
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_with_what_to_do() {
        let first = listen(ActivatorAddress(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))).unwrap();
        let SocketAddr::V4(address) = first.local_addr().unwrap() else { panic!("IPv4") };
        let error = listen(ActivatorAddress(address)).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains("end the process"), "{error}");
    }
}
