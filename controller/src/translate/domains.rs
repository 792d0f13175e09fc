//! Which upstream owns which HTTP host. Unique by construction: the oldest claim wins, and the loser is told.

use std::collections::BTreeMap;

use zenvoy_shared::id::UpstreamId;

use crate::model::UpstreamSpec;

/// One HTTP upstream's claim on hosts.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who.
    pub id: &'a UpstreamId,
    /// Its own hosts stand in here.
    pub spec: &'a UpstreamSpec,
    /// Seconds since the Unix epoch; the older wins, then the smaller id.
    pub created: i64,
    /// Whether it owns the Service's names without a port: the first HTTP port of the Service does.
    pub first_port: bool,
}

/// A host that another upstream owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostHost {
    /// Who claimed it in vain.
    pub loser: UpstreamId,
    /// The host.
    pub host: String,
    /// Who owns it.
    pub owner: UpstreamId,
}

/// Who owns what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The domains of each upstream's virtual host, sorted; an upstream without any is left out.
    pub domains: BTreeMap<UpstreamId, Vec<String>>,
    /// Claims in vain, sorted.
    pub lost: Vec<LostHost>,
}

/// How Services are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The cluster's DNS domain, as `cluster.local`.
    pub cluster_domain: String,
    /// The one namespace whose Services are also reached by their bare name.
    pub bare_namespace: Option<String>,
}

impl Default for Names {
    fn default() -> Self {
        Self { cluster_domain: "cluster.local".into(), bare_namespace: None }
    }
}

/// Settles them. `listener_port` is where clients reach Envoy: `Host` headers carry it.
pub fn claims<'a>(all: impl IntoIterator<Item = Claim<'a>>, listener_port: u16, names: &Names) -> Claims {
    let mut claims: Vec<Claim<'_>> = all.into_iter().collect();
    claims.sort_by_key(|claim| (claim.created, claim.id));
    let mut owners: BTreeMap<String, &UpstreamId> = BTreeMap::new();
    let mut settled = Claims::default();
    for claim in &claims {
        for host in hosts(claim, names) {
            for domain in domains(claim, &host, listener_port) {
                match owners.get(&domain) {
                    None => {
                        owners.insert(domain.clone(), claim.id);
                        settled.domains.entry(claim.id.clone()).or_default().push(domain);
                    }
                    Some(owner) if *owner == claim.id => {}
                    Some(owner) => settled.lost.push(LostHost {
                        loser: claim.id.clone(),
                        host: host.clone(),
                        owner: (*owner).clone(),
                    }),
                }
            }
        }
    }
    settled.domains.values_mut().for_each(|domains| domains.sort());
    settled.lost.sort();
    settled.lost.dedup();
    settled
}

/// The names an upstream is known by: of its Service, and its own.
fn hosts(claim: &Claim<'_>, names: &Names) -> Vec<String> {
    let name = format!("{}.{}", claim.id.service, claim.id.namespace);
    let mut hosts = vec![format!("{name}.svc.{}", names.cluster_domain), format!("{name}.svc"), name];
    if names.bare_namespace.as_deref() == Some(&claim.id.namespace) {
        hosts.push(claim.id.service.clone());
    }
    hosts.extend(claim.spec.hosts.iter().map(|host| host.to_ascii_lowercase()));
    hosts
}

/// A host as it stands in `Host` headers: bare for the first port and for own hosts, and with the ports.
fn domains(claim: &Claim<'_>, host: &str, listener_port: u16) -> Vec<String> {
    let own = claim.spec.hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
    let with_port = format!("{host}:{}", claim.id.port);
    if own || claim.first_port {
        vec![host.to_owned(), format!("{host}:{listener_port}"), with_port]
    } else {
        vec![with_port]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(claims_of: &[(&UpstreamId, &UpstreamSpec, i64, bool)]) -> Claims {
        let all = claims_of.iter().map(|(id, spec, created, first_port)| Claim {
            id,
            spec,
            created: *created,
            first_port: *first_port,
        });
        claims(all, 10_000, &Names { bare_namespace: Some("plain".into()), ..Names::default() })
    }

    fn with_host(host: &str) -> UpstreamSpec {
        UpstreamSpec { hosts: vec![host.into()], ..UpstreamSpec::default() }
    }

    #[test]
    fn the_first_port_owns_the_bare_names_and_others_only_theirs_with_a_port() {
        let (a, b) = (UpstreamId::new("shop", "cart", 80), UpstreamId::new("shop", "cart", 8080));
        let spec = UpstreamSpec::default();
        let settled = settle(&[(&a, &spec, 0, true), (&b, &spec, 0, false)]);
        assert!(settled.domains[&a].contains(&"cart.shop".into()));
        assert!(settled.domains[&a].contains(&"cart.shop:10000".into()));
        assert_eq!(
            settled.domains[&b],
            ["cart.shop.svc.cluster.local:8080", "cart.shop.svc:8080", "cart.shop:8080"]
        );
        assert!(settled.lost.is_empty());
    }

    #[test]
    fn the_oldest_claim_on_a_host_wins_and_only_the_loser_is_told() {
        let (a, b) = (UpstreamId::new("a", "young", 80), UpstreamId::new("b", "old", 80));
        let spec = with_host("Shop.example");
        let settled = settle(&[(&a, &spec, 20, true), (&b, &spec, 10, true)]);
        assert!(settled.domains[&b].contains(&"shop.example".into()));
        assert!(!settled.domains[&a].contains(&"shop.example".into()));
        assert!(settled.domains[&a].contains(&"young.a".into()));
        let lost = LostHost { loser: a, host: "shop.example".into(), owner: b };
        assert_eq!(settled.lost, [lost]);
    }

    #[test]
    fn only_services_of_one_namespace_have_bare_names() {
        let (a, b) = (UpstreamId::new("plain", "cart", 80), UpstreamId::new("shop", "cart", 80));
        let spec = UpstreamSpec::default();
        let settled = settle(&[(&a, &spec, 0, true), (&b, &spec, 0, true)]);
        assert!(settled.domains[&a].contains(&"cart".into()));
        assert!(!settled.domains[&b].contains(&"cart".into()) && settled.lost.is_empty());
    }

    #[test]
    fn the_order_of_the_claims_does_not_matter() {
        let (a, b) = (UpstreamId::new("a", "x", 80), UpstreamId::new("b", "y", 80));
        let spec = with_host("shop.example");
        let one = settle(&[(&a, &spec, 5, true), (&b, &spec, 5, true)]);
        let other = settle(&[(&b, &spec, 5, true), (&a, &spec, 5, true)]);
        assert_eq!(one, other);
    }
}
