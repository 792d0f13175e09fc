//! What a proxy is told at its start.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use zenvoy_shared::id::NodeId;
use zenvoy_shared::pool::PortPool;
use zenvoy_shared::proto::PodReference;
use zenvoy_shared::tls::Live;

use crate::ending::Ending;
use crate::hold::{Pace, Patience};
use crate::local::LocalAddress;
use crate::transport::rules::RulesBy;

/// How connections to activator addresses are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Each address is bound, with no privilege. A socket for each upstream.
    Listen,
    /// One socket takes all of them, by rules in the kernel. Needs `CAP_NET_ADMIN` in the network namespace.
    Tproxy {
        /// The transparent socket's port on 127.0.0.1. Proxies that share a network namespace need one each.
        port: u16,
        /// Where activator addresses lie: the controllers' pool.
        pool: PortPool,
        /// Who installs the rules.
        rules: RulesBy,
    },
}

/// As it stands in a sentence.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Tproxy { port, pool, rules } = self else {
            return f.write_str("a socket for each activator address");
        };
        write!(f, "one transparent socket on port {port} for {pool}, by rules of {rules}")
    }
}

/// What is said to controllers when the proxy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// Nothing: the node counts on, since its Envoy may run on (rule N4). For restarts.
    Never,
    /// That the node is gone, if its Envoy was here and is gone for two seconds at least. For a pod that ends both.
    WhenEnvoyGone {
        /// How long Envoy is waited for, after the last connection has ended; it is still served meanwhile.
        within: Duration,
    },
    /// That the node is gone, in any case. The operator answers for Envoy.
    Always,
}

impl Default for Goodbye {
    fn default() -> Self {
        Self::WhenEnvoyGone { within: Duration::ZERO }
    }
}

/// What a proxy is told at its start. [`ProxyOptions::new`] gives the usual values.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// The node's name: the same as its Envoy's `node.id`, and unlike all others.
    pub node: NodeId,
    /// Controllers, as `http://host:port` or `https://host:port`; not empty. A name may stand for several addresses.
    pub controllers: Vec<Uri>,
    /// For `https`: whom to trust, and the certificate of this node.
    pub tls: Option<Live>,
    /// The Pod that this proxy and its Envoy live and die in, if they do. Controllers take its deletion for proof that both
    /// are gone.
    pub pod: Option<PodReference>,
    /// How connections are accepted.
    pub transport: Transport,
    /// Where Envoy finds the proxy. Default: 127.0.0.1:18001.
    pub local: LocalAddress,
    /// Where health, status and metrics are served, if at all. Default: 127.0.0.1:18002.
    pub admin: Option<SocketAddr>,
    /// How many connections may be held in total, beside each upstream's own limit. Default: 10,000.
    pub max_held: u32,
    /// How long a first byte and a dial may take. Default: 10 s and 1 s.
    pub patience: Patience,
    /// How fast held connections go to one endpoint. Default: 256 at once, then 2,000 a second.
    pub pace: Pace,
    /// How often Envoy flushes its statistics, as in its bootstrap. After three intervals and a second without one,
    /// activity is unknown. Default: 1 s.
    pub stats_flush_interval: Duration,
    /// At the end: held connections may wait this long for their upstream; then they are failed. Default: 10 s.
    pub held_grace: Duration,
    /// At the end: relayed connections may last this long, from the same moment on; then they are reset. Under an Envoy that
    /// stays, as long as something is open, connections are accepted nearly to the end of it. Default: 30 s.
    pub relay_grace: Duration,
    /// What is said at the end. Default: that the node is gone, if Envoy is gone by then.
    pub goodbye: Goodbye,
}

impl ProxyOptions {
    /// The usual values, in listen mode.
    pub fn new(node: NodeId, controllers: Vec<Uri>) -> Self {
        Self {
            node,
            controllers,
            tls: None,
            pod: None,
            transport: Transport::Listen,
            local: LocalAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 18_001))),
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 18_002))),
            max_held: 10_000,
            patience: Patience { first_byte: Duration::from_secs(10), dial: Duration::from_secs(1) },
            pace: Pace { burst: 256, per_second: 2_000 },
            stats_flush_interval: Duration::from_secs(1),
            held_grace: Duration::from_secs(10),
            relay_grace: Duration::from_secs(30),
            goodbye: Goodbye::default(),
        }
    }

    /// How long [`run`](crate::run) may go on after it was told to stop. Whoever gives it less time cuts connections that the
    /// options promise more, and the controllers are not told that the node is gone.
    pub fn ends_within(&self) -> Duration {
        Ending::takes(self.relay_grace, self.goodbye)
    }

    /// How long Envoy's statistics may stay away before activity is unknown.
    pub(crate) fn silence(&self) -> Duration {
        self.stats_flush_interval * 3 + Duration::from_secs(1)
    }
}
