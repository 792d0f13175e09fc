//! Transparent accepting: one socket gets the connections to all activator addresses, by TPROXY rules in the kernel.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use tokio::net::TcpListener;

use super::{ListenError, bound};

/// Listens on `port` of 127.0.0.1 for connections that the rules bring, whatever their destination.
pub fn listen(port: u16) -> Result<TcpListener, ListenError> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    bound(address, |socket| socket.set_ip_transparent_v4(true)).map_err(|source| ListenError {
        address,
        hint: hint(&source),
        source,
    })
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "end the process that uses it, or give another --tproxy-port",
        _ => "transparent mode needs CAP_NET_ADMIN; listen mode does not",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_and_a_missing_right_have_different_cures() {
        assert!(hint(&io::ErrorKind::AddrInUse.into()).contains("--tproxy-port"));
        assert!(hint(&io::ErrorKind::PermissionDenied.into()).contains("CAP_NET_ADMIN"));
    }
}
