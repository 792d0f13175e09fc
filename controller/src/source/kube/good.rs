//! The configuration that was last in effect. In memory it stays with each upstream; for a replica that starts while the
//! user's object is invalid, the leader keeps it on the object, so that all replicas serve the same. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zenvoy_shared::duration::Span;
use zenvoy_shared::id::{Protocol, WorkloadId};

use super::target::Choice;
use crate::model::UpstreamSpec;
use crate::source::spec::{self, Draft, Naming};

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

    /// As it stands on an object. Only zenvoy writes it there, but anybody could: it is validated like anything else, and
    /// what does not hold is as good as nothing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let written: BTreeMap<u16, Written> = serde_json::from_str(text).ok()?;
        let read = written.into_iter().map(|(port, written)| Some((port, written.check()?)));
        read.collect::<Option<_>>().map(Self)
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
    idle_after: String,
    wake_timeout: String,
    wake_replicas: u32,
    max_held: u32,
    /// As the user chose it; nothing for the default.
    choice: Option<String>,
    target: Option<WorkloadId>,
}

impl From<&Good> for Written {
    fn from(good: &Good) -> Self {
        Self {
            protocol: good.spec.protocol,
            hosts: good.spec.hosts.clone(),
            listen_port: good.spec.listen_port,
            idle_after: Span(good.spec.idle_after).to_string(),
            wake_timeout: Span(good.spec.wake_timeout).to_string(),
            wake_replicas: good.spec.wake_replicas,
            max_held: good.spec.max_held,
            choice: good.choice.text(),
            target: good.target.clone(),
        }
    }
}

impl Written {
    fn check(self) -> Option<Good> {
        let draft = Draft {
            hosts: self.hosts,
            listen_port: self.listen_port.map(|port| port.to_string()),
            idle_after: Some(self.idle_after),
            wake_timeout: Some(self.wake_timeout),
            wake_replicas: Some(self.wake_replicas.to_string()),
            max_held: Some(self.max_held.to_string()),
            protocol: None,
        };
        let settings = spec::check(&draft, &Naming::Annotation).ok()?;
        let choice = match self.choice {
            Some(choice) => Choice::parse(&choice)?,
            None => Choice::Default,
        };
        Some(Good { spec: settings.spec(self.protocol), choice, target: self.target })
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
    fn a_text_that_was_damaged_or_forged_is_none() {
        let whole = LastGood::of([(
            80,
            Good { spec: UpstreamSpec::default(), choice: Choice::Default, target: None },
        )])
        .text();
        assert!(LastGood::parse(&whole).is_some());
        for (part, forged) in [
            (r#""hosts":[]"#, r#""hosts":["*"]"#),
            (r#""wakeReplicas":1"#, r#""wakeReplicas":0"#),
            ("5m", "5"),
            ("80", "x"),
        ] {
            assert!(whole.contains(part), "{whole}");
            assert_eq!(LastGood::parse(&whole.replacen(part, forged, 1)), None, "{forged}");
        }
    }
}
