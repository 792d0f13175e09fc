//! What Envoy and the proxies are given, as snapshots: a change of these files is a change of what users run.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use zenvoy_controller::model::{Problem, Route, Target, UpstreamFacts, UpstreamSpec};
use zenvoy_controller::translate::{
    ListenerOptions, LocalReplies, Names, assignment, cluster, held, http_listener, route_configuration,
    settle, tcp_listener, tls_listener,
};
use zenvoy_shared::id::{ActivatorAddress, DrainId, Protocol, UpstreamId, WorkloadId};

const OPTIONS: ListenerOptions =
    ListenerOptions { bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED), http_port: 10_000, tls_port: 10_443 };

/// The message without the fields that are not set.
fn shown(message: &impl Debug) -> String {
    let unset = [": None,", ": [],", ": {},", ": \"\",", ": 0,", ": false,", ": 0.0,"];
    let text = format!("{message:#?}");
    let lines = text.lines().filter(|line| !unset.iter().any(|unset| line.ends_with(unset)));
    // Bytes of packed messages are one number a line: their type is enough here.
    lines
        .filter(|line| line.trim().trim_end_matches(',').parse::<u8>().is_err())
        .collect::<Vec<_>>()
        .join("\n")
}

fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

fn activator() -> Option<ActivatorAddress> {
    Some("127.0.0.1:20000".parse().expect("an address"))
}

fn pods() -> Route {
    Route::Pods(vec!["10.42.0.1:8080".parse().expect("IPv4"), "[fd00::1]:8080".parse().expect("IPv6")])
}

fn upstreams() -> BTreeMap<UpstreamId, UpstreamFacts> {
    let facts = |name: &str, spec| UpstreamFacts {
        spec,
        target: Target::Workload(WorkloadId::new("shop", "Deployment.apps", name)),
        created: 0,
    };
    let spec = |protocol, hosts: &[&str], listen_port| UpstreamSpec {
        protocol,
        hosts: hosts.iter().map(ToString::to_string).collect(),
        listen_port,
        wake_timeout: Duration::from_secs(600),
        ..UpstreamSpec::default()
    };
    BTreeMap::from([
        (cart(), facts("cart", spec(Protocol::Http, &["cart.example"], None))),
        (UpstreamId::new("shop", "cart", 8080), facts("cart", spec(Protocol::Http, &[], None))),
        (UpstreamId::new("shop", "db", 5432), facts("db", spec(Protocol::Tcp, &[], Some(5432)))),
        (
            UpstreamId::new("shop", "secure", 443),
            facts("secure", spec(Protocol::Tls, &["secure.example"], None)),
        ),
    ])
}

#[test]
fn a_cluster_for_each_protocol() {
    let spec = |protocol| UpstreamSpec { protocol, ..UpstreamSpec::default() };
    insta::assert_snapshot!("cluster_http", shown(&cluster(&cart(), &spec(Protocol::Http))));
    insta::assert_snapshot!("cluster_http2", shown(&cluster(&cart(), &spec(Protocol::Http2))));
}

#[test]
fn endpoints_are_the_pods_of_both_families_or_the_activator() {
    insta::assert_snapshot!("endpoints_warm", shown(&assignment(&cart(), &pods(), activator())));
    let cold = Route::Activator { drain: None };
    insta::assert_snapshot!("endpoints_cold", shown(&assignment(&cart(), &cold, activator())));
}

#[test]
fn routes_by_unique_hosts_and_listeners_of_every_kind() {
    let upstreams = upstreams();
    let settled = settle(&upstreams, OPTIONS, &Names::default());
    let routes = route_configuration(&settled.domains, |id| Some(upstreams.get(id)?.spec.clone()));
    insta::assert_snapshot!("routes", shown(&routes));
    insta::assert_snapshot!("listener_http", shown(&http_listener(OPTIONS, LocalReplies::Json)));
    insta::assert_snapshot!("listener_tls", shown(&tls_listener(OPTIONS, &settled.server_names)));
    let db = UpstreamId::new("shop", "db", 5432);
    insta::assert_snapshot!("listener_tcp", shown(&tcp_listener(OPTIONS, &db, 5432)));
}

#[test]
fn a_proxy_is_told_to_hold_to_forward_or_to_fail() {
    let told = |route: &Route| {
        let (spec, workload) = (UpstreamSpec::default(), WorkloadId::new("shop", "Deployment.apps", "cart"));
        let address = activator().expect("allocated");
        shown(&held(&cart(), Some(&workload), &spec, route, address, Duration::from_secs(2), None))
    };
    let drain = Some(DrainId("01J".into()));
    insta::assert_snapshot!("held_hold", told(&Route::Activator { drain }));
    insta::assert_snapshot!("held_forward", told(&pods()));
    let problem = Problem { reason: "QuotaExceeded".into(), message: "no room for a pod in shop".into() };
    insta::assert_snapshot!("held_fail", told(&Route::Fail(problem)));
}
