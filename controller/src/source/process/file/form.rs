//! The file as YAML: what may stand in it. Unknown fields are refused; what an upstream has on Kubernetes too is checked as
//! there, other values check themselves; each error has its line.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use zenvoy_shared::id::{Protocol, UpstreamId};

use super::fault::Fault;
use super::text::{HttpPath, Name, SpanText, Variable};
use crate::model::UpstreamSpec;
use crate::source::spec::{Draft, Invalid, Naming, Setting, check};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FileForm {
    #[serde(default)]
    pub(super) upstreams: Vec<Spanned<UpstreamForm>>,
    #[serde(default)]
    pub(super) processes: Vec<Spanned<ProcessForm>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct UpstreamForm {
    pub(super) name: Name,
    #[serde(default)]
    pub(super) namespace: Namespace,
    pub(super) port: NonZeroU16,
    protocol: Option<Spanned<String>>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    listen_port: Option<Spanned<String>>,
    idle_after: Option<Spanned<String>>,
    wake_timeout: Option<Spanned<String>>,
    wake_replicas: Option<Spanned<String>>,
    max_held: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) port_variable: Variable,
    pub(super) process: Option<Spanned<Name>>,
    command: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    env: BTreeMap<Variable, Spanned<String>>,
    working_directory: Option<PathBuf>,
    #[serde(default = "SpanText::ten_seconds")]
    stop_grace: SpanText,
    readiness: Option<ReadinessForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ProcessForm {
    pub(super) name: Name,
    #[serde(default)]
    pub(super) namespace: Namespace,
    command: Vec<Spanned<String>>,
    #[serde(default)]
    env: BTreeMap<Variable, Spanned<String>>,
    working_directory: Option<PathBuf>,
    #[serde(default = "SpanText::ten_seconds")]
    stop_grace: SpanText,
    readiness: Option<ReadinessForm>,
}

/// `connect` always holds; `http` is asked beside it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ReadinessForm {
    pub(super) http: Option<HttpPath>,
}

/// A namespace, `local` unless given.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Namespace(Name);

impl Default for Namespace {
    fn default() -> Self {
        Self(Name::local())
    }
}

impl Namespace {
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// How to run a process, wherever it stands in the file.
#[derive(Clone, Copy)]
pub(super) struct CommandForm<'a> {
    pub(super) argv: &'a [Spanned<String>],
    pub(super) env: &'a BTreeMap<Variable, Spanned<String>>,
    pub(super) working_directory: Option<&'a PathBuf>,
    pub(super) stop_grace: SpanText,
    pub(super) readiness: Option<&'a ReadinessForm>,
}

impl ProcessForm {
    pub(super) fn command(&self) -> CommandForm<'_> {
        CommandForm {
            argv: &self.command,
            env: &self.env,
            working_directory: self.working_directory.as_ref(),
            stop_grace: self.stop_grace,
            readiness: self.readiness.as_ref(),
        }
    }
}

impl UpstreamForm {
    pub(super) fn id(&self) -> UpstreamId {
        UpstreamId::new(self.namespace.as_str(), self.name.as_str(), self.port.get())
    }

    /// Where the claim stands that was lost for this reason.
    pub(super) fn claimed(&self, reason: &str) -> Option<Location> {
        match reason {
            "ListenPortConflict" => self.listen_port.as_ref().map(|port| port.referenced),
            _ => self.hosts.first().map(|host| host.referenced),
        }
    }

    /// Its settings, checked as annotations and objects on Kubernetes are.
    pub(super) fn spec(&self) -> Result<UpstreamSpec, Fault> {
        let text = |setting: &Option<Spanned<String>>| setting.as_ref().map(|text| text.value.clone());
        let draft = Draft {
            protocol: text(&self.protocol),
            hosts: self.hosts.iter().map(|host| host.value.clone()).collect(),
            listen_port: text(&self.listen_port),
            idle_after: text(&self.idle_after),
            wake_timeout: text(&self.wake_timeout),
            wake_replicas: text(&self.wake_replicas),
            max_held: text(&self.max_held),
        };
        match check(&draft, &Naming::Field { prefix: String::new() }) {
            Ok(checked) => Ok(checked.spec(Protocol::Http)),
            Err(faults) => {
                let location = faults.first().and_then(|fault| self.location(fault));
                let messages: Vec<String> = faults.iter().map(Invalid::to_string).collect();
                Err(Fault { location, message: messages.join("; ") })
            }
        }
    }

    /// Where the value stands that a fault is about.
    fn location(&self, fault: &Invalid) -> Option<Location> {
        let fields = [
            (Setting::Protocol, &self.protocol),
            (Setting::ListenPort, &self.listen_port),
            (Setting::IdleAfter, &self.idle_after),
            (Setting::WakeTimeout, &self.wake_timeout),
            (Setting::WakeReplicas, &self.wake_replicas),
            (Setting::MaxHeld, &self.max_held),
        ];
        let field =
            fields.into_iter().find(|(setting, _)| setting.camel() == fault.name).map(|(_, text)| text);
        let host = || self.hosts.iter().find(|host| host.value == fault.value).or_else(|| self.hosts.first());
        field.map_or_else(host, Option::as_ref).map(|text| text.referenced)
    }

    pub(super) fn command(&self) -> Option<CommandForm<'_>> {
        Some(CommandForm {
            argv: self.command.as_ref()?,
            env: &self.env,
            working_directory: self.working_directory.as_ref(),
            stop_grace: self.stop_grace,
            readiness: self.readiness.as_ref(),
        })
    }
}
