//! The one route configuration: a virtual host per HTTP upstream.

use std::collections::BTreeMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{DataSource, HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::config::route::v3::retry_policy::RetryBackOff;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use zenvoy_shared::id::UpstreamId;

use super::{count, seconds};
use crate::model::UpstreamSpec;

/// Its name.
pub const ROUTE_CONFIGURATION: &str = "zenvoy-http";

/// Envoy's own default stream idle timeout: ours is never below it.
const STREAM_IDLE: Duration = Duration::from_secs(300);

/// From the settled domains and the configuration of each upstream.
pub fn route_configuration(
    domains: &BTreeMap<UpstreamId, Vec<String>>,
    spec: impl Fn(&UpstreamId) -> Option<UpstreamSpec>,
) -> RouteConfiguration {
    let of = |(id, domains): (&UpstreamId, &Vec<String>)| Some(virtual_host(id, domains, &spec(id)?));
    let virtual_hosts = domains.iter().filter_map(of).chain([unknown_host()]).collect();
    RouteConfiguration { name: ROUTE_CONFIGURATION.into(), virtual_hosts, ..Default::default() }
}

/// Whoever asks for a host that no upstream has is told so, by Envoy itself; its words for gRPC are `UNIMPLEMENTED`.
fn unknown_host() -> VirtualHost {
    const BODY: &str = "{\"reason\":\"UnknownHost\",\"message\":\"no upstream has this host\"}\n";
    let body = DataSource { specifier: Some(Specifier::InlineString(BODY.into())), ..Default::default() };
    VirtualHost {
        // No upstream's name: those have a slash.
        name: "unknown-host".into(),
        domains: vec!["*".into()],
        routes: vec![Route {
            r#match: Some(every_path()),
            action: Some(Action::DirectResponse(DirectResponseAction {
                status: 404,
                body: Some(body),
                ..Default::default()
            })),
            response_headers_to_add: vec![HeaderValueOption {
                header: Some(HeaderValue {
                    key: "content-type".into(),
                    value: "application/json".into(),
                    ..Default::default()
                }),
                append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn every_path() -> RouteMatch {
    RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".into())), ..Default::default() }
}

fn virtual_host(id: &UpstreamId, domains: &[String], spec: &UpstreamSpec) -> VirtualHost {
    VirtualHost {
        name: id.to_string(),
        domains: domains.to_vec(),
        routes: vec![Route {
            r#match: Some(every_path()),
            action: Some(Action::Route(RouteAction {
                cluster_specifier: Some(ClusterSpecifier::Cluster(id.to_string())),
                timeout: Some(seconds(Duration::ZERO)),
                // A held request is an idle stream: it must outlive the hold.
                idle_timeout: Some(seconds(STREAM_IDLE.max(spec.wake_timeout + Duration::from_secs(5)))),
                retry_policy: Some(retry_policy()),
                ..Default::default()
            })),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Only what provably never reached a pod is tried again, for about as long as a proxy needs to restart.
fn retry_policy() -> RetryPolicy {
    RetryPolicy {
        retry_on: "connect-failure,refused-stream,reset-before-request".into(),
        num_retries: count(8),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(seconds(Duration::from_millis(50))),
            max_interval: Some(seconds(Duration::from_secs(1))),
        }),
        ..Default::default()
    }
}
