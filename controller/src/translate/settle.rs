//! Which upstreams share one thing that only one can have: hosts, server names, listen ports. The oldest claim wins, and
//! the loser is told. In: all upstreams; out: who has what. Pure.

use std::collections::{BTreeMap, BTreeSet};

use zenvoy_shared::id::{Protocol, UpstreamId};

use super::domains::{Claim, Claims, Names, claims};
use super::listener::ListenerOptions;
use crate::model::{Problem, UpstreamFacts};

/// Who has what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// The domains of each HTTP upstream.
    pub domains: BTreeMap<UpstreamId, Vec<String>>,
    /// The server names of each TLS upstream.
    pub server_names: Vec<(UpstreamId, Vec<String>)>,
    /// Who listens on a port of its own.
    pub ports: BTreeMap<u16, UpstreamId>,
    /// What each loser is told; the first of its losses.
    pub lost: BTreeMap<UpstreamId, Problem>,
}

/// Settles all claims.
pub fn settle(
    upstreams: &BTreeMap<UpstreamId, UpstreamFacts>,
    options: ListenerOptions,
    names: &Names,
) -> Settled {
    let mut settled = Settled::default();
    let Claims { domains, lost } = claims(http_claims(upstreams), options.http_port, names);
    settled.domains = domains;
    for lost in lost {
        let message =
            format!("host {} belongs to {}, whose claim is older; choose another", lost.host, lost.owner);
        settled.lose(&lost.loser, "HostConflict", message);
    }
    let mut oldest_first: Vec<(&UpstreamId, &UpstreamFacts)> = upstreams.iter().collect();
    oldest_first.sort_by_key(|(id, facts)| (facts.created, *id));
    settled.server_names(&oldest_first);
    settled.listen_ports(&oldest_first, options);
    settled
}

/// The lowest HTTP port of a Service owns the Service's names without a port.
fn http_claims(upstreams: &BTreeMap<UpstreamId, UpstreamFacts>) -> impl Iterator<Item = Claim<'_>> {
    let mut seen = BTreeSet::new();
    upstreams.iter().filter(|(_, facts)| facts.spec.protocol.is_http()).map(move |(id, facts)| Claim {
        id,
        spec: &facts.spec,
        created: facts.created,
        first_port: seen.insert((&id.namespace, &id.service)),
    })
}

impl Settled {
    fn server_names(&mut self, oldest_first: &[(&UpstreamId, &UpstreamFacts)]) {
        let mut owners: BTreeMap<String, &UpstreamId> = BTreeMap::new();
        for (id, facts) in oldest_first.iter().filter(|(_, facts)| facts.spec.protocol == Protocol::Tls) {
            let mut names = Vec::new();
            for name in facts.spec.hosts.iter().map(|host| host.to_ascii_lowercase()) {
                match owners.get(&name) {
                    Some(owner) if owner != id => {
                        let message = format!(
                            "server name {name} belongs to {owner}, whose claim is older; choose another"
                        );
                        self.lose(id, "HostConflict", message);
                    }
                    Some(_) => {}
                    None => {
                        owners.insert(name.clone(), id);
                        names.push(name);
                    }
                }
            }
            self.server_names.push(((*id).clone(), names));
        }
        self.server_names.sort();
    }

    fn listen_ports(&mut self, oldest_first: &[(&UpstreamId, &UpstreamFacts)], options: ListenerOptions) {
        for (id, facts) in oldest_first {
            let Some(port) = facts.spec.listen_port else { continue };
            if port == options.http_port || port == options.tls_port {
                let message =
                    format!("listen port {port} is one of Envoy's shared listeners; choose another");
                self.lose(id, "ListenPortConflict", message);
            } else if let Some(owner) = self.ports.get(&port) {
                let message =
                    format!("listen port {port} belongs to {owner}, whose claim is older; choose another");
                self.lose(id, "ListenPortConflict", message);
            } else {
                self.ports.insert(port, (*id).clone());
            }
        }
    }

    fn lose(&mut self, id: &UpstreamId, reason: &str, message: String) {
        self.lost.entry(id.clone()).or_insert_with(|| Problem { reason: reason.into(), message });
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::model::{Target, UpstreamSpec};
    use zenvoy_shared::id::WorkloadId;

    const OPTIONS: ListenerOptions =
        ListenerOptions { bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED), http_port: 10_000, tls_port: 10_443 };

    fn upstream(name: &str, created: i64, spec: UpstreamSpec) -> (UpstreamId, UpstreamFacts) {
        let target = Target::Workload(WorkloadId::new("shop", "Deployment.apps", name));
        (UpstreamId::new("shop", name, 443), UpstreamFacts { spec, target, created })
    }

    fn tls(names: &[&str], listen_port: Option<u16>) -> UpstreamSpec {
        let hosts = names.iter().map(ToString::to_string).collect();
        UpstreamSpec { protocol: Protocol::Tls, hosts, listen_port, ..UpstreamSpec::default() }
    }

    #[test]
    fn a_server_name_is_in_one_filter_chain_only() {
        let all = BTreeMap::from([
            upstream("young", 20, tls(&["a.example", "b.example"], None)),
            upstream("old", 10, tls(&["A.example"], None)),
        ]);
        let settled = settle(&all, OPTIONS, &Names::default());
        let names: Vec<&[String]> = settled.server_names.iter().map(|(_, names)| names.as_slice()).collect();
        assert_eq!(names, [["a.example".to_owned()], ["b.example".to_owned()]]);
        assert_eq!(settled.lost[&UpstreamId::new("shop", "young", 443)].reason, "HostConflict");
    }

    #[test]
    fn a_listen_port_is_given_once_and_never_a_shared_one() {
        let all = BTreeMap::from([
            upstream("a", 20, tls(&[], Some(5432))),
            upstream("b", 10, tls(&[], Some(5432))),
            upstream("c", 10, tls(&[], Some(10_000))),
        ]);
        let settled = settle(&all, OPTIONS, &Names::default());
        assert_eq!(settled.ports, BTreeMap::from([(5432, UpstreamId::new("shop", "b", 443))]));
        assert_eq!(settled.lost.len(), 2);
    }
}
