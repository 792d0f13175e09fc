//! Ports of `zenvoy up`: those that are asked for must be free, others are the kernel's choice.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;
use zenvoy_controller::plan::ports::PortPool;

/// Whether Envoy will be able to listen: it is asked before anything is started.
pub(super) fn check_free(listeners: &[(SocketAddr, String)]) -> anyhow::Result<()> {
    for (address, asked_by) in listeners {
        if let Err(error) = TcpListener::bind(address) {
            bail!(
                "Envoy cannot listen on {address} ({asked_by}): {error}; give another port, or end what uses it"
            );
        }
    }
    Ok(())
}

/// So many free loopback addresses, different from each other.
pub(super) fn free<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    let mut held = Vec::with_capacity(N);
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
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
    fn free_addresses_differ_and_the_own_pool_is_one() {
        let [a, b] = free().expect("two");
        assert_ne!(a, b);
        assert_eq!(own_pool().size(), 12_768);
    }
}
