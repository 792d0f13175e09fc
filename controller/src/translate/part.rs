//! Which upstreams a served resource is for: whom it concerns that an Envoy refuses it. In: a type and a name; out: a part
//! of what is served. Pure.

use std::fmt;

use zenvoy_shared::id::{Protocol, UpstreamId};
use zenvoy_shared::proto::HELD_UPSTREAM;

use super::listener::{HTTP_LISTENER, TLS_LISTENER, port_of};
use super::type_url;
use crate::model::UpstreamSpec;

/// A part of what is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// What one upstream has for itself.
    Upstream(UpstreamId),
    /// The listener of a listen port.
    ListenPort(u16),
    /// What all HTTP upstreams share: the listener, the routes.
    Http,
    /// The listener that all TLS upstreams share.
    Tls,
}

impl Part {
    /// The part that a resource is; `None` if zenvoy serves no such resource.
    pub fn of(of_type: &str, name: &str) -> Option<Self> {
        match (of_type, name) {
            (type_url::CLUSTER | type_url::ENDPOINTS | HELD_UPSTREAM, name) => {
                name.parse().ok().map(Self::Upstream)
            }
            (type_url::ROUTES, _) | (type_url::LISTENER, HTTP_LISTENER) => Some(Self::Http),
            (type_url::LISTENER, TLS_LISTENER) => Some(Self::Tls),
            (type_url::LISTENER, name) => port_of(name).map(Self::ListenPort),
            _ => None,
        }
    }

    /// Whether clients of an upstream need it.
    pub fn serves(&self, id: &UpstreamId, spec: &UpstreamSpec) -> bool {
        match self {
            Self::Upstream(upstream) => upstream == id,
            Self::ListenPort(port) => spec.listen_port == Some(*port),
            Self::Http => spec.protocol.is_http(),
            Self::Tls => spec.protocol == Protocol::Tls,
        }
    }

    /// What a person can do when an Envoy refuses it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::ListenPort(_) => "end what uses the port on that node, or choose another listen port",
            Self::Http | Self::Tls => "if its port is in use on that node, end what uses it",
            Self::Upstream(_) => "change what is configured for this upstream",
        }
    }
}

/// As it stands in a sentence.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(id) => write!(f, "what it is given for {id}"),
            Self::ListenPort(port) => write!(f, "the listener on port {port}"),
            Self::Http => f.write_str("what all HTTP upstreams share"),
            Self::Tls => f.write_str("the listener that all TLS upstreams share"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::{
        ListenerOptions, LocalReplies, ROUTE_CONFIGURATION, http_listener, tcp_listener, tls_listener,
    };
    use super::*;

    const OPTIONS: ListenerOptions =
        ListenerOptions { bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED), http_port: 10_000, tls_port: 10_443 };

    #[test]
    fn each_resource_is_a_part_of_what_serves_its_upstreams() {
        let id = UpstreamId::new("shop", "cart", 80);
        let tls = tls_listener(OPTIONS, &[(id.clone(), vec!["a.example".into()])]).expect("a name");
        let listener = |name: &str| Part::of(type_url::LISTENER, name);
        assert_eq!(listener(&http_listener(OPTIONS, LocalReplies::Json).name), Some(Part::Http));
        assert_eq!(listener(&tls.name), Some(Part::Tls));
        assert_eq!(listener(&tcp_listener(OPTIONS, &id, 5432).name), Some(Part::ListenPort(5432)));
        assert_eq!(listener("another"), None);
        assert_eq!(Part::of(type_url::ROUTES, ROUTE_CONFIGURATION), Some(Part::Http));
        assert_eq!(Part::of(type_url::CLUSTER, "shop/cart:80"), Some(Part::Upstream(id.clone())));
        assert_eq!(Part::of(HELD_UPSTREAM, "shop/cart:80"), Some(Part::Upstream(id)));
    }

    #[test]
    fn a_part_serves_those_that_need_it() {
        let id = UpstreamId::new("shop", "cart", 80);
        let spec = UpstreamSpec { listen_port: Some(5432), ..UpstreamSpec::default() };
        assert!(Part::ListenPort(5432).serves(&id, &spec) && !Part::ListenPort(5433).serves(&id, &spec));
        assert!(Part::Http.serves(&id, &spec) && !Part::Tls.serves(&id, &spec));
        assert!(Part::Upstream(id.clone()).serves(&id, &spec));
    }
}
