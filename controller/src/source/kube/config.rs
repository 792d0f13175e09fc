//! What users write on Kubernetes objects. In: a Service's annotations, or an `Upstream`'s spec; out: a configuration
//! and the target it names, or one problem that tells every fault. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use zenvoy_shared::id::Protocol;

use super::crd;
use super::target::Choice;
use crate::model::{Problem, UpstreamSpec};
use crate::source::spec::{self, Checked, Draft, Invalid, Naming, Setting};

/// What every annotation of ours begins with.
const PREFIX: &str = "zenvoy.dev/";
/// Opts a Service in.
const ENABLED: &str = "zenvoy.dev/enabled";
/// Written by the leader on an object whose configuration became invalid: what stays in effect.
pub(super) const LAST_GOOD: &str = "zenvoy.dev/last-good";

/// A TCP port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) number: u16,
    /// As EndpointSlices call it; empty for the only port of a Service.
    pub(super) name: String,
    /// By `appProtocol` or the port's name.
    pub(super) protocol: Protocol,
}

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configured {
    pub(super) choice: Choice,
    settings: Checked,
}

impl Configured {
    /// For one of the `ports` that this configuration is for. Hosts belong to the first port that can tell by host: two
    /// ports of one Service would only contend for them.
    pub(super) fn spec(&self, port: &Port, ports: &[&Port]) -> UpstreamSpec {
        let mut spec = self.settings.spec(port.protocol);
        let by_host = |port: &&&Port| self.settings.spec(port.protocol).protocol != Protocol::Tcp;
        if ports.iter().find(by_host).is_some_and(|first| first.number != port.number) {
            spec.hosts.clear();
        }
        spec
    }

    /// A listener of its own is for one port.
    pub(super) fn fits(&self, ports: usize) -> Result<(), Problem> {
        match self.settings.listen_port() {
            Some(listen_port) if ports > 1 => Err(Problem {
                reason: "InvalidConfiguration".into(),
                message: format!(
                    "listen port {listen_port} is for one port, but {ports} ports are configured here; write an \
                     Upstream for the port that should have it"
                ),
            }),
            _ => Ok(()),
        }
    }
}

/// From a Service's annotations; `None` when it does not opt in.
pub(super) fn annotated(annotations: &BTreeMap<String, String>) -> Option<Result<Configured, Problem>> {
    let naming = Naming::Annotation;
    match annotations.get(ENABLED)?.as_str() {
        "true" => {}
        "false" => return None,
        other => {
            let expected = r#""true" or "false""#.into();
            return Some(Err(invalid(&[Invalid { name: ENABLED.into(), value: other.into(), expected }])));
        }
    }
    let get = |setting: Setting| annotations.get(&naming.name(setting)).cloned();
    let draft = Draft {
        protocol: get(Setting::Protocol),
        hosts: list(get(Setting::Hosts)),
        listen_port: get(Setting::ListenPort),
        idle_after: get(Setting::IdleAfter),
        wake_timeout: get(Setting::WakeTimeout),
        wake_replicas: get(Setting::WakeReplicas),
        max_held: get(Setting::MaxHeld),
    };
    let choice = match get(Setting::Target) {
        None => Ok(Choice::Default),
        Some(text) => Choice::parse(&text).ok_or_else(|| naming.fault(Setting::Target, text)),
    };
    Some(configured(&draft, choice, &naming, unknown(annotations)))
}

/// Annotations that look like ours and are not: a typing error must not be taken for a default.
fn unknown(annotations: &BTreeMap<String, String>) -> Vec<Invalid> {
    let known: BTreeSet<String> = Setting::ALL.map(|setting| Naming::Annotation.name(setting)).into();
    let ours = annotations.range(PREFIX.to_owned()..).take_while(|(name, _)| name.starts_with(PREFIX));
    ours.filter(|(name, _)| !known.contains(*name) && *name != ENABLED && *name != LAST_GOOD)
        .map(|(name, value)| {
            let words = Setting::ALL.map(Setting::kebab).join(", ");
            let expected = format!("no such annotation; those there are: enabled, {words}");
            Invalid { name: name.clone(), value: value.clone(), expected }
        })
        .collect()
}

fn list(text: Option<String>) -> Vec<String> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Vec::new() };
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

/// From an `Upstream`'s spec.
pub(super) fn specified(spec: &crd::Spec) -> Result<Configured, Problem> {
    let naming = Naming::Field { prefix: "spec.".into() };
    let draft = Draft {
        protocol: spec.protocol.map(|protocol| protocol.as_str().to_owned()),
        hosts: spec.hosts.clone(),
        listen_port: text(spec.listen_port),
        idle_after: spec.idle_after.clone(),
        wake_timeout: spec.wake_timeout.clone(),
        wake_replicas: text(spec.wake_replicas),
        max_held: text(spec.max_held),
    };
    let choice = match &spec.target {
        None => Ok(Choice::Default),
        Some(target) => Choice::of_kind(&target.kind, target.api_version.as_deref(), &target.name)
            .ok_or_else(|| naming.fault(Setting::Target, format!("{} {}", target.kind, target.name))),
    };
    configured(&draft, choice, &naming, Vec::new())
}

fn text(value: Option<impl Display>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn configured(
    draft: &Draft,
    choice: Result<Choice, Invalid>,
    naming: &Naming,
    mut faults: Vec<Invalid>,
) -> Result<Configured, Problem> {
    let settings = spec::check(draft, naming);
    match (settings, choice) {
        (Ok(settings), Ok(choice)) if faults.is_empty() => Ok(Configured { choice, settings }),
        (settings, choice) => {
            faults.extend(choice.err());
            faults.extend(settings.err().unwrap_or_default());
            Err(invalid(&faults))
        }
    }
}

/// One problem of all faults.
fn invalid(faults: &[Invalid]) -> Problem {
    let message = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Problem { reason: "InvalidConfiguration".into(), message }
}

/// The protocol a port is said to speak: by `appProtocol`, else by the first word of its name, else HTTP.
pub(super) fn protocol(app_protocol: Option<&str>, port_name: Option<&str>) -> Protocol {
    let by_name = port_name.and_then(|name| known_protocol(name.split('-').next()?));
    app_protocol.and_then(known_protocol).or(by_name).unwrap_or_default()
}

fn known_protocol(name: &str) -> Option<Protocol> {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("kubernetes.io/").unwrap_or(&name) {
        "http" | "ws" => Some(Protocol::Http),
        "http2" | "h2c" | "grpc" => Some(Protocol::Http2),
        "https" | "tls" | "wss" => Some(Protocol::Tls),
        "tcp" | "mongo" | "mysql" | "postgres" | "postgresql" | "redis" => Some(Protocol::Tcp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotate(pairs: &[(&str, &str)]) -> Option<Result<Configured, Problem>> {
        let annotations =
            pairs.iter().map(|(name, value)| (format!("zenvoy.dev/{name}"), (*value).to_owned())).collect();
        annotated(&annotations)
    }

    fn port(number: u16, protocol: Protocol) -> Port {
        Port { number, name: format!("p{number}"), protocol }
    }

    #[test]
    fn a_service_that_does_not_opt_in_is_left_alone() {
        assert_eq!(annotate(&[]), None);
        assert_eq!(annotate(&[("enabled", "false"), ("protocol", "nonsense")]), None);
        assert_eq!(annotate(&[("protocol", "nonsense")]), None);
    }

    #[test]
    fn opting_in_is_enough() {
        let configured = annotate(&[("enabled", "true")]).expect("opted in").expect("valid");
        assert_eq!(configured.choice, Choice::Default);
        let port = port(80, Protocol::Http);
        assert_eq!(configured.spec(&port, &[&port]), UpstreamSpec::default());
    }

    #[test]
    fn opting_in_with_another_word_is_an_error_and_not_a_no() {
        let problem = annotate(&[("enabled", "yes")]).expect("said something").expect_err("a fault");
        assert!(problem.message.contains("zenvoy.dev/enabled"), "{problem:?}");
    }

    #[test]
    fn every_fault_of_the_annotations_is_told_in_one_message() {
        let problem = annotate(&[
            ("enabled", "true"),
            ("idle-afer", "5m"),
            ("target", "a/b/c"),
            ("hosts", "good.example.com, bad_host"),
        ])
        .expect("opted in")
        .expect_err("faults");
        assert_eq!(problem.reason, "InvalidConfiguration");
        for name in ["zenvoy.dev/idle-afer", "zenvoy.dev/target", "bad_host"] {
            assert!(problem.message.contains(name), "{}", problem.message);
        }
        assert!(!problem.message.contains("good.example.com"), "{}", problem.message);
    }

    #[test]
    fn what_the_leader_keeps_on_the_object_is_not_a_typing_error() {
        assert!(annotate(&[("enabled", "true"), ("last-good", "{}")]).expect("opted in").is_ok());
    }

    #[test]
    fn hosts_go_to_the_first_port_that_can_tell_by_host() {
        let configured =
            annotate(&[("enabled", "true"), ("hosts", "a.example.com")]).expect("opted in").expect("valid");
        let ports = [port(5432, Protocol::Tcp), port(80, Protocol::Http), port(81, Protocol::Http)];
        let all: Vec<&Port> = ports.iter().collect();
        let hosts: Vec<usize> = ports.iter().map(|port| configured.spec(port, &all).hosts.len()).collect();
        assert_eq!(hosts, [0, 1, 0]);
    }

    #[test]
    fn one_listen_port_for_several_ports_is_refused() {
        let configured =
            annotate(&[("enabled", "true"), ("listen-port", "5432")]).expect("opted in").expect("valid");
        assert!(configured.fits(1).is_ok());
        assert!(configured.fits(2).is_err());
    }

    #[test]
    fn the_protocol_follows_app_protocol_then_the_ports_name_then_http() {
        assert_eq!(protocol(Some("kubernetes.io/h2c"), Some("http")), Protocol::Http2);
        assert_eq!(protocol(None, Some("grpc-api")), Protocol::Http2);
        assert_eq!(protocol(Some("example.com/own"), Some("tcp-db")), Protocol::Tcp);
        assert_eq!(protocol(None, Some("https")), Protocol::Tls);
        assert_eq!(protocol(None, Some("web")), Protocol::Http);
        assert_eq!(protocol(None, None), Protocol::Http);
    }
}
