//! The file of local commands: YAML in, a valid [`Config`] or an error that names place and cure out.

mod check;
mod fault;
mod form;
#[cfg(test)]
mod tests;
mod text;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_saphyr::{Location, Spanned};
use zenvoy_shared::id::{Protocol, UpstreamId, WorkloadId};

use self::fault::Fault;
use self::form::{CommandForm, UpstreamForm};
use super::config::{Config, ProcessSpec, ProcessUpstream, Readiness};
use crate::model::{Problem, UpstreamFacts, UpstreamSpec};

/// The kind of workloads that are local commands.
pub const KIND: &str = "Process.zenvoy.dev";
/// The namespace of what names none.
pub const LOCAL: &str = "local";

/// A file of local commands that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its content is no valid configuration.
    #[error("{}{}: {message}{}", .path.display(), .place.as_ref().map(Place::position).unwrap_or_default(),
        .place.as_ref().map(Place::quote).unwrap_or_default())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it, when it is at one place.
        place: Option<Place>,
        /// What is wrong, and what is expected.
        message: String,
    },
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// The line's text.
    pub text: String,
}

impl Place {
    fn position(&self) -> String {
        format!(":{}:{}", self.line, self.column)
    }

    fn quote(&self) -> String {
        format!("\n  {} | {}", self.line, self.text)
    }
}

/// Finds those that would not get what they claim, with the reason: a host or port can belong to one upstream only. What
/// stands earlier in a file has the older claim.
pub type Conflicts =
    dyn Fn(&BTreeMap<UpstreamId, UpstreamFacts>) -> BTreeMap<UpstreamId, Problem> + Send + Sync;

/// Reads and checks the file.
pub(super) fn read(path: &Path, conflicts: &Conflicts) -> Result<Config, FileError> {
    let unreadable = |source| FileError::Read { path: path.into(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let folder = path.canonicalize().map_err(unreadable)?.parent().map(Path::to_path_buf).unwrap_or_default();
    parse(&text, &folder, conflicts).map_err(|fault| FileError::Invalid {
        path: path.into(),
        place: fault.location.and_then(|location| place(&text, location)),
        message: fault.message,
    })
}

fn place(text: &str, location: Location) -> Option<Place> {
    let line = usize::try_from(location.line()).ok()?.checked_sub(1)?;
    let text = text.lines().nth(line)?.trim_end().to_owned();
    Some(Place { line: location.line(), column: location.column(), text })
}

/// `folder` is what relative paths stand in.
fn parse(text: &str, folder: &Path, conflicts: &Conflicts) -> Result<Config, Fault> {
    let form = fault::read(text)?;
    let mut builder = Builder { folder, config: Config::default(), listen_ports: BTreeMap::new() };
    for process in &form.processes {
        let id = WorkloadId::new(process.value.namespace.as_str(), KIND, process.value.name.as_str());
        builder.add_process(process, id, process.value.command())?;
    }
    for (position, upstream) in (0i64..).zip(&form.upstreams) {
        builder.add_upstream(upstream, position)?;
    }
    check::whole(&builder.config, &form, conflicts)?;
    Ok(builder.config)
}

struct Builder<'a> {
    folder: &'a Path,
    config: Config,
    listen_ports: BTreeMap<u16, UpstreamId>,
}

impl Builder<'_> {
    fn add_process<T>(
        &mut self,
        at: &Spanned<T>,
        id: WorkloadId,
        command: CommandForm<'_>,
    ) -> Result<(), Fault> {
        if command.argv.iter().all(|part| part.value.is_empty()) {
            let message = format!("{}: command is empty: list the program and its arguments", id.name);
            return Err(Fault::at(at, message));
        }
        let directory = command.working_directory.map_or(self.folder.into(), |path| self.folder.join(path));
        let spec = ProcessSpec {
            command: command.argv.iter().map(|part| part.value.clone()).collect(),
            env: command.env.iter().map(|(name, text)| (name.to_string(), text.value.clone())).collect(),
            directory,
            stop_grace: command.stop_grace.0,
            readiness: match command.readiness.and_then(|readiness| readiness.http.as_ref()) {
                Some(path) => Readiness::Http { path: path.to_string() },
                None => Readiness::Connect,
            },
            variables: BTreeSet::new(),
        };
        match self.config.processes.entry(id) {
            Entry::Vacant(free) => {
                free.insert(Arc::new(spec));
                Ok(())
            }
            Entry::Occupied(taken) => {
                let name = &taken.key().name;
                Err(Fault::at(
                    at,
                    format!(
                        "a second process is named {name:?}: list it once under `processes` and refer to it by \
                         `process: {name}`"
                    ),
                ))
            }
        }
    }

    fn add_upstream(&mut self, at: &Spanned<UpstreamForm>, position: i64) -> Result<(), Fault> {
        let form = &at.value;
        let id = form.id();
        let workload = self.workload(at)?;
        let variable = form.port_variable.to_string();
        let Some(process) = self.config.processes.get_mut(&workload) else {
            return Err(Fault::at(at, format!("{id} refers to no process")));
        };
        Arc::make_mut(process).variables.insert(variable.clone());
        let mut spec = form.spec()?;
        let host = local_host(&id);
        if spec.protocol != Protocol::Tcp && !spec.hosts.contains(&host) {
            spec.hosts.push(host);
        }
        self.check_listener(at, &id, &spec)?;
        match self.config.upstreams.entry(id) {
            Entry::Vacant(free) => {
                free.insert(ProcessUpstream { spec, workload, variable, position });
                Ok(())
            }
            Entry::Occupied(taken) => {
                let message =
                    format!("{} stands here a second time: give it another name or port", taken.key());
                Err(Fault::at(at, message))
            }
        }
    }

    /// The process behind an upstream: named, or its own command.
    fn workload(&mut self, at: &Spanned<UpstreamForm>) -> Result<WorkloadId, Fault> {
        let form = &at.value;
        match (&form.process, form.command()) {
            (Some(process), None) => {
                let id = WorkloadId::new(form.namespace.as_str(), KIND, process.value.as_str());
                if self.config.processes.contains_key(&id) {
                    return Ok(id);
                }
                let message = format!(
                    "no process {:?} is listed under `processes` in namespace {}",
                    id.name, id.namespace
                );
                Err(Fault::at(process, message))
            }
            (None, Some(command)) => {
                let id = WorkloadId::new(form.namespace.as_str(), KIND, form.name.as_str());
                self.add_process(at, id.clone(), command)?;
                Ok(id)
            }
            (Some(process), Some(_)) => Err(Fault::at(
                process,
                format!("{}: give either `command` or `process`, not both", form.name.as_str()),
            )),
            (None, None) => {
                let message = format!(
                    "{}: nothing to run: give `command`, or `process` with the name of one under `processes`",
                    form.name.as_str()
                );
                Err(Fault::at(at, message))
            }
        }
    }

    fn check_listener(
        &mut self,
        at: &Spanned<UpstreamForm>,
        id: &UpstreamId,
        spec: &UpstreamSpec,
    ) -> Result<(), Fault> {
        match spec.listen_port {
            None if spec.protocol == Protocol::Tcp => Err(Fault::at(
                at,
                format!("{id}: clients reach a tcp upstream only by a port of its own: give `listenPort`"),
            )),
            None => Ok(()),
            Some(port) => match self.listen_ports.insert(port, id.clone()) {
                None => Ok(()),
                Some(other) => {
                    let message = format!("{id}: listenPort {port} is that of {other} already: give another");
                    Err(Fault::at(at, message))
                }
            },
        }
    }
}

/// A host under `localhost` resolves to this machine without any set-up.
fn local_host(id: &UpstreamId) -> String {
    match id.namespace.as_str() {
        LOCAL => format!("{}.localhost", id.service),
        namespace => format!("{}.{namespace}.localhost", id.service),
    }
}
