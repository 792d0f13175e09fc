//! The file as YAML: what may stand in it. Unknown fields are refused; each value checks itself, so that an error has
//! its line.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Fault;
use super::text::{Host, HttpPath, Name, ProtocolText, SpanText, Variable};

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
    #[serde(default)]
    pub(super) protocol: ProtocolText,
    #[serde(default)]
    pub(super) hosts: Vec<Host>,
    pub(super) listen_port: Option<NonZeroU16>,
    pub(super) idle_after: Option<SpanText>,
    pub(super) wake_timeout: Option<SpanText>,
    pub(super) wake_replicas: Option<NonZeroU32>,
    pub(super) max_held: Option<NonZeroU32>,
    #[serde(default)]
    pub(super) port_variable: Variable,
    pub(super) process: Option<Spanned<Name>>,
    command: Option<Vec<String>>,
    #[serde(default)]
    env: BTreeMap<Variable, String>,
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
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<Variable, String>,
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
    pub(super) argv: &'a [String],
    pub(super) env: &'a BTreeMap<Variable, String>,
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

/// The parser's error without its own quotation: ours is the same for all errors.
pub(super) fn fault(error: &serde_saphyr::Error) -> Fault {
    let location = error.location();
    let message = error.without_snippet().render();
    // The place stands before the message already.
    let message = match message.rfind(" at line ") {
        Some(at) if location.is_some() => message[..at].to_owned(),
        _ => message,
    };
    Fault { location, message }
}
