//! Activator addresses stand for upstreams: nothing of zenvoy's own may lie among them, or the proxy would take its own
//! connections.

use std::net::SocketAddr;

use anyhow::bail;

/// Whether none of `own`, each with the flag that asks for it, is an activator address.
pub(crate) fn check_pool(
    covers: impl Fn(SocketAddr) -> bool,
    own: &[(SocketAddr, String)],
) -> anyhow::Result<()> {
    for (address, asked_by) in own {
        if covers(*address) {
            bail!(
                "--port-pool covers {address} ({asked_by}), so connections to it would be taken for some upstream's; \
                 give other ranges, as 127.0.0.1:20000-32767, or another port"
            );
        }
    }
    Ok(())
}
