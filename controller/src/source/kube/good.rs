//! The configuration that was last in effect. In memory it stays with each upstream; for a replica that starts while the
//! user's object is invalid, the leader keeps it on the object, so that all replicas serve the same. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zenvoy_shared::id::{Protocol, WorkloadId};

use super::target::Choice;
use crate::model::UpstreamSpec;

/// What is in effect for one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Good {
    pub(super) spec: UpstreamSpec,
    pub(super) choice: Choice,
    /// What the target was last resolved to.
    pub(super) target: Option<WorkloadId>,
}

/// What is in effect for the ports of one object, by port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LastGood(BTreeMap<u16, Good>);

impl LastGood {
    pub(super) fn of(ports: impl IntoIterator<Item = (u16, Good)>) -> Self {
        Self(ports.into_iter().collect())
    }

    pub(super) fn get(&self, port: u16) -> Option<&Good> {
        self.0.get(&port)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As it stands on an object. One that cannot be read is as good as none: only zenvoy writes it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let written: BTreeMap<u16, Written> = serde_json::from_str(text).ok()?;
        Some(Self(written.into_iter().map(|(port, written)| (port, written.into())).collect()))
    }

    /// As [`LastGood::parse`] reads it; always the same text for the same content.
    pub(super) fn text(&self) -> String {
        let written: BTreeMap<u16, Written> =
            self.0.iter().map(|(port, good)| (*port, Written::from(good))).collect();
        serde_json::to_string(&written).expect("maps of plain values are JSON")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    protocol: Protocol,
    hosts: Vec<String>,
    listen_port: Option<u16>,
    idle_after_ms: u64,
    wake_timeout_ms: u64,
    wake_replicas: u32,
    max_held: u32,
    /// As the user chose it; nothing for the default.
    choice: Option<String>,
    target: Option<WorkloadId>,
}

impl From<&Good> for Written {
    fn from(good: &Good) -> Self {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            protocol: good.spec.protocol,
            hosts: good.spec.hosts.clone(),
            listen_port: good.spec.listen_port,
            idle_after_ms: milliseconds(good.spec.idle_after),
            wake_timeout_ms: milliseconds(good.spec.wake_timeout),
            wake_replicas: good.spec.wake_replicas,
            max_held: good.spec.max_held,
            choice: good.choice.text(),
            target: good.target.clone(),
        }
    }
}

impl From<Written> for Good {
    fn from(written: Written) -> Self {
        Self {
            spec: UpstreamSpec {
                protocol: written.protocol,
                hosts: written.hosts,
                listen_port: written.listen_port,
                idle_after: Duration::from_millis(written.idle_after_ms),
                wake_timeout: Duration::from_millis(written.wake_timeout_ms),
                wake_replicas: written.wake_replicas,
                max_held: written.max_held,
            },
            choice: written.choice.as_deref().and_then(Choice::parse).unwrap_or(Choice::Default),
            target: written.target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_on_an_object_reads_back() {
        let good = Good {
            spec: UpstreamSpec {
                hosts: vec!["a.example.com".into()],
                listen_port: Some(1),
                ..UpstreamSpec::default()
            },
            choice: Choice::parse("Rollout.argoproj.io/x").expect("a target"),
            target: Some(WorkloadId::new("shop", "Rollout.argoproj.io", "x")),
        };
        for choice in [Choice::Default, Choice::Name("x".into()), good.choice.clone()] {
            let kept = LastGood::of([(80, Good { choice, ..good.clone() })]);
            assert_eq!(LastGood::parse(&kept.text()), Some(kept));
        }
    }

    #[test]
    fn a_damaged_text_is_none() {
        assert_eq!(LastGood::parse("{\"80\":{}}"), None);
        assert_eq!(LastGood::parse("?"), None);
    }
}
