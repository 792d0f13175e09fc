//! Activator addresses stand for upstreams: nothing of zenvoy's own may lie among them, or the proxy would take its own
//! connections.

use std::net::SocketAddr;

use anyhow::bail;
use zenvoy_shared::pool::PortPool;

/// Whether none of `own`, each with the flag that asks for it, is an activator address, and no two of them are one.
pub(crate) fn check_pool(pool: &PortPool, own: &[(SocketAddr, String)]) -> anyhow::Result<()> {
    for (address, asked_by) in own {
        if pool.covers(*address) {
            bail!(
                "--port-pool covers {address} ({asked_by}), so connections to it would be taken for some upstream's; \
                 give other ranges, as 127.0.0.1:20000-32767, or another port"
            );
        }
    }
    for (at, (address, asked_by)) in own.iter().enumerate() {
        if let Some((_, also)) = own[..at].iter().find(|(other, _)| meet(*other, *address)) {
            bail!("{also} and {asked_by} ask for one address, {address}; give another port to one of them");
        }
    }
    Ok(())
}

/// Whether the two cannot be listened on beside each other.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (everywhere || one.ip() == other.ip())
}
