//! Ports of `zenvoy up`: those that are asked for must be free, others are the kernel's choice.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;
use zenvoy_shared::pool::PortPool;

/// Whether all these can be listened on: asked before anything is started, and of all at once, so that none of them is
/// another's.
pub(super) fn check_free(listeners: &[(SocketAddr, String)]) -> anyhow::Result<()> {
    let mut bound = Vec::with_capacity(listeners.len());
    for (address, asked_by) in listeners {
        match TcpListener::bind(address) {
            Ok(listener) => bound.push(listener),
            Err(error) => bail!(
                "{address} ({asked_by}) cannot be listened on: {error}; give another port, or end what uses it"
            ),
        }
    }
    Ok(())
}

/// A free loopback address, by the kernel's choice.
pub(super) fn free() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Ports on which somebody listens, in this network namespace.
pub(super) fn listening() -> io::Result<BTreeSet<u16>> {
    let mut ports = listening_in(&std::fs::read_to_string("/proc/net/tcp")?);
    // Without IPv6 there is no such file.
    ports.extend(listening_in(&std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default()));
    Ok(ports)
}

/// Lines like `0: 0100007F:2710 00000000:0000 0A ...`: the local address, the remote one, and the state, where 0A is LISTEN.
fn listening_in(table: &str) -> BTreeSet<u16> {
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        (state == "0A").then(|| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok())?
    };
    table.lines().filter_map(port).collect()
}

/// Activator addresses on a loopback address made of the process id, so that several `zenvoy up` do not meet.
pub(super) fn own_pool() -> PortPool {
    // A process id has 22 bits.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let range = format!("127.{}.{middle}.{low}:20000-32767", 64 | (high & 0x3f));
    range.parse().expect("a range on an address in 127.0.0.0/8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_who_asked_for_it() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("bound");
        let error = check_free(&[(address, "--http-port".into())]).expect_err("taken").to_string();
        assert!(error.contains(&address.to_string()) && error.contains("--http-port"), "{error}");
    }

    #[test]
    fn a_listening_port_is_seen_and_a_bound_or_connected_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let seen = listening().expect("a table");
        assert!(seen.contains(&listener.local_addr().expect("bound").port()));
        assert!(!seen.contains(&client.local_addr().expect("bound").port()));
        assert_eq!(
            listening_in("sl local\n 0: 00000000000000000000000001000000:2710 0:0 0A 0"),
            [10_000].into()
        );
    }

    #[test]
    fn the_own_pool_is_one() {
        assert_eq!(own_pool().size(), 12_768);
    }
}
