//! Where clients on this machine reach the upstreams of a file. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use zenvoy_controller::source::process::Config;
use zenvoy_controller::translate::ListenerOptions;
use zenvoy_shared::id::{Protocol, UpstreamId};

/// As a client writes them: URLs, or `address:port`. Each upstream of a valid file has all that it claims.
pub(super) fn reached(config: &Config, envoy: ListenerOptions) -> BTreeMap<UpstreamId, String> {
    let of = |id: &UpstreamId, spec: &zenvoy_controller::model::UpstreamSpec| {
        let host = spec.hosts.first().cloned().unwrap_or_else(|| format!("{}.{}", id.service, id.namespace));
        let shared = match spec.protocol {
            Protocol::Tcp => None,
            Protocol::Tls => Some(format!("{host}:{}", envoy.tls_port)),
            Protocol::Http | Protocol::Http2 => Some(format!("http://{host}:{}", envoy.http_port)),
        };
        let own = spec.listen_port.map(|port| {
            let address = SocketAddr::new(connectable(envoy.bind), port);
            if spec.protocol.is_http() { format!("http://{address}") } else { address.to_string() }
        });
        shared.into_iter().chain(own).collect::<Vec<_>>().join(" and ")
    };
    config.upstreams.iter().map(|(id, upstream)| (id.clone(), of(id, &upstream.spec))).collect()
}

/// Every address on which Envoy will listen, with what asks for it.
pub(super) fn listeners(config: &Config, envoy: ListenerOptions) -> Vec<(SocketAddr, String)> {
    let at = |port: u16| SocketAddr::new(envoy.bind, port);
    let protocols = |wanted: fn(Protocol) -> bool| config.upstreams.values().any(|u| wanted(u.spec.protocol));
    let mut all = vec![(at(envoy.http_port), "--http-port".to_owned())];
    if protocols(|protocol| protocol == Protocol::Tls) {
        all.push((at(envoy.tls_port), "--tls-port".to_owned()));
    }
    all.extend(
        config.upstreams.iter().filter_map(|(id, upstream)| {
            Some((at(upstream.spec.listen_port?), format!("listenPort of {id}")))
        }),
    );
    all
}

fn connectable(bind: IpAddr) -> IpAddr {
    match bind {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use zenvoy_controller::model::UpstreamSpec;
    use zenvoy_controller::source::process::ProcessUpstream;
    use zenvoy_shared::id::WorkloadId;

    use super::*;

    fn config(specs: &[(&str, UpstreamSpec)]) -> Config {
        let upstreams = specs.iter().map(|(name, spec)| {
            let upstream = ProcessUpstream {
                spec: spec.clone(),
                workload: WorkloadId::new("local", "Process.zenvoy.dev", *name),
                variable: "PORT".into(),
                position: 0,
            };
            (UpstreamId::new("local", *name, 1), upstream)
        });
        Config { upstreams: upstreams.collect(), processes: BTreeMap::new() }
    }

    #[test]
    fn each_protocol_has_its_own_way_in() {
        let hosts = vec!["web.localhost".to_owned()];
        let config = config(&[
            (
                "db",
                UpstreamSpec { protocol: Protocol::Tcp, listen_port: Some(5432), ..UpstreamSpec::default() },
            ),
            (
                "tls",
                UpstreamSpec { protocol: Protocol::Tls, hosts: hosts.clone(), ..UpstreamSpec::default() },
            ),
            ("web", UpstreamSpec { hosts: hosts.clone(), ..UpstreamSpec::default() }),
            ("web-too", UpstreamSpec { hosts, listen_port: Some(8080), ..UpstreamSpec::default() }),
        ]);
        let envoy = ListenerOptions { bind: [0, 0, 0, 0].into(), http_port: 80, tls_port: 443 };
        let ways: Vec<String> = reached(&config, envoy).into_values().collect();
        let expected = [
            "127.0.0.1:5432",
            "web.localhost:443",
            "http://web.localhost:80",
            "http://web.localhost:80 and http://127.0.0.1:8080",
        ];
        assert_eq!(ways, expected);
        let ports: Vec<u16> = listeners(&config, envoy).iter().map(|(address, _)| address.port()).collect();
        assert_eq!(ports, [80, 443, 5432, 8080]);
    }
}
