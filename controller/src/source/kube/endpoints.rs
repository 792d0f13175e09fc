//! A Service's EndpointSlices -> the endpoints of one of its ports. In: slices, trimmed; out: ready pods, each once. Pure.
//!
//! A dual-stack pod stands in a slice of each family. It is one endpoint: with both addresses Envoy would count it twice
//! in load balancing and in its release rate. Its address is of the Service's first family, or of the other if it has
//! none of that.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use zenvoy_shared::id::Uid;

use super::keep::{Family, Slice};
use crate::model::Endpoint;

/// The ready, not terminating endpoints behind the port that slices call `port`; sorted, each pod once.
pub(super) fn ready<'a>(
    slices: impl IntoIterator<Item = &'a Slice>,
    port: &str,
    first_family: Family,
) -> Vec<Endpoint> {
    let mut pods: BTreeMap<Which, Endpoint> = BTreeMap::new();
    for slice in slices {
        let Some((_, number)) = slice.ports.iter().find(|(name, _)| name == port) else { continue };
        for kept in slice.endpoints.iter().filter(|kept| kept.ready) {
            let endpoint =
                Endpoint { address: SocketAddr::new(kept.address, *number), pod: kept.pod.clone() };
            let which = match &kept.pod {
                Some(pod) => Which::Pod(pod.clone(), *number),
                None => Which::Address(endpoint.address),
            };
            let better = |known: &Endpoint| {
                let rank = |address: SocketAddr| (first_family != Family::of(address.ip()), address);
                rank(endpoint.address) < rank(known.address)
            };
            if pods.get(&which).is_none_or(better) {
                pods.insert(which, endpoint);
            }
        }
    }
    let mut endpoints: Vec<Endpoint> = pods.into_values().collect();
    endpoints.sort_unstable();
    endpoints
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    Pod(Uid, u16),
    Address(SocketAddr),
}

/// Whether any pod, ready or not, stands behind the Service: a pod that runs is listed before it is ready.
pub(super) fn any_started<'a>(slices: impl IntoIterator<Item = &'a Slice>) -> bool {
    slices.into_iter().any(|slice| slice.endpoints.iter().any(|kept| !kept.terminating))
}

impl Family {
    fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keep::KeptEndpoint;
    use super::*;

    fn endpoint(address: &str, pod: &str) -> KeptEndpoint {
        KeptEndpoint {
            address: address.parse().expect("an address"),
            pod: Some(Uid(pod.into())),
            ready: true,
            terminating: false,
        }
    }

    fn slice(ports: &[(&str, u16)], endpoints: Vec<KeptEndpoint>) -> Slice {
        Slice {
            service: super::super::keep::Key::new("shop", "cart"),
            ports: ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect(),
            endpoints,
        }
    }

    fn addresses(slices: &[Slice], port: &str) -> Vec<String> {
        ready(slices, port, Family::V4).iter().map(|endpoint| endpoint.address.to_string()).collect()
    }

    #[test]
    fn slices_are_merged_and_only_ready_pods_that_stay_are_taken() {
        let not_ready = KeptEndpoint { ready: false, ..endpoint("10.0.0.3", "c") };
        let leaving = KeptEndpoint { ready: false, terminating: true, ..endpoint("10.0.0.4", "d") };
        let slices = [
            slice(&[("", 8080)], vec![endpoint("10.0.0.2", "b"), not_ready]),
            slice(&[("", 8080)], vec![endpoint("10.0.0.1", "a"), leaving]),
        ];
        assert_eq!(addresses(&slices, ""), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    }

    #[test]
    fn a_named_target_port_may_differ_from_pod_to_pod() {
        let slices = [
            slice(&[("web", 8080), ("admin", 9000)], vec![endpoint("10.0.0.1", "a")]),
            slice(&[("web", 8081), ("admin", 9000)], vec![endpoint("10.0.0.2", "b")]),
        ];
        assert_eq!(addresses(&slices, "web"), ["10.0.0.1:8080", "10.0.0.2:8081"]);
        assert!(addresses(&slices, "other").is_empty());
    }

    #[test]
    fn a_pod_of_both_families_is_one_endpoint_of_the_services_first_family() {
        let slices = [
            slice(&[("", 80)], vec![endpoint("fd00::1", "a"), endpoint("fd00::2", "b")]),
            slice(&[("", 80)], vec![endpoint("10.0.0.1", "a")]),
        ];
        assert_eq!(addresses(&slices, ""), ["10.0.0.1:80", "[fd00::2]:80"]);
        let v6: Vec<IpAddr> =
            ready(&slices, "", Family::V6).iter().map(|endpoint| endpoint.address.ip()).collect();
        assert!(v6.iter().all(IpAddr::is_ipv6) && v6.len() == 2, "{v6:?}");
    }

    #[test]
    fn a_pod_listed_twice_while_slices_are_rebalanced_is_one_endpoint() {
        let slices = [
            slice(&[("", 80)], vec![endpoint("10.0.0.1", "a")]),
            slice(&[("", 80)], vec![endpoint("10.0.0.1", "a")]),
        ];
        assert_eq!(addresses(&slices, ""), ["10.0.0.1:80"]);
    }

    #[test]
    fn addresses_without_pods_are_taken_one_by_one() {
        let bare = |address| KeptEndpoint { pod: None, ..endpoint(address, "") };
        let slices = [slice(&[("", 80)], vec![bare("10.0.0.1"), bare("10.0.0.2"), bare("10.0.0.1")])];
        assert_eq!(addresses(&slices, "").len(), 2);
    }

    #[test]
    fn a_pod_that_is_not_ready_has_started_and_one_that_leaves_has_not() {
        let not_ready = KeptEndpoint { ready: false, ..endpoint("10.0.0.3", "c") };
        let leaving = KeptEndpoint { terminating: true, ..not_ready.clone() };
        assert!(any_started(&[slice(&[], vec![not_ready])]));
        assert!(!any_started(&[slice(&[], vec![leaving])]));
    }
}
