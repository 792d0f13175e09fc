//! What can be seen only of a file as a whole, once each entry is valid by itself.

use std::collections::BTreeSet;

use serde_saphyr::Spanned;
use zenvoy_shared::id::WorkloadId;

use super::super::config::Config;
use super::super::placeholder;
use super::fault::Fault;
use super::form::{FileForm, UpstreamForm};
use super::text::Name;
use super::{Conflicts, KIND};

/// Checks it.
pub(super) fn whole(config: &Config, form: &FileForm, conflicts: &Conflicts) -> Result<(), Fault> {
    placeholders(config, form)?;
    use_of_processes(config, form)?;
    if config.upstreams.is_empty() {
        let message = "there is no upstream: list at least one under `upstreams`".into();
        return Err(Fault { location: None, message });
    }
    claims(config, form, conflicts)
}

/// Each upstream may give its process another variable.
fn placeholders(config: &Config, form: &FileForm) -> Result<(), Fault> {
    let listed = form.processes.iter().map(|at| (&at.value.name, &at.value.namespace, at.value.command()));
    let own = form.upstreams.iter().filter_map(|at| {
        let form = &at.value;
        Some((&form.name, &form.namespace, form.command()?))
    });
    for (name, namespace, command) in listed.chain(own) {
        let id = WorkloadId::new(namespace.as_str(), KIND, name.as_str());
        let Some(process) = config.processes.get(&id) else { continue };
        for text in command.argv.iter().chain(command.env.values()) {
            if let Some(word) = placeholder::unknown(&text.value, &process.variables) {
                return Err(Fault::at(text, unknown_placeholder(name, word, &process.variables)));
            }
        }
    }
    Ok(())
}

fn unknown_placeholder(name: &Name, word: &str, variables: &BTreeSet<String>) -> String {
    let known: Vec<String> =
        variables.iter().map(|variable| format!("{{{}}}", placeholder::named(variable))).collect();
    let name = name.as_str();
    format!(
        "{name}: {{{word}}} stands for nothing: use {}, or {{{{{word}}}}} for the text {{{word}}} itself",
        known.join(" or ")
    )
}

fn use_of_processes(config: &Config, form: &FileForm) -> Result<(), Fault> {
    let unused = form.processes.iter().find(|process| {
        let id = WorkloadId::new(process.value.namespace.as_str(), KIND, process.value.name.as_str());
        config.processes.get(&id).is_some_and(|spec| spec.variables.is_empty())
    });
    match unused {
        None => Ok(()),
        Some(process) => {
            let name = process.value.name.as_str();
            let message =
                format!("process {name:?} stands behind no upstream, so nothing would ever wake it");
            Err(Fault::at(process, message))
        }
    }
}

/// What only one upstream can have, and no other may claim in the same file.
fn claims(config: &Config, form: &FileForm, conflicts: &Conflicts) -> Result<(), Fault> {
    let facts = config.upstreams.iter().map(|(id, upstream)| (id.clone(), upstream.facts())).collect();
    let lost = conflicts(&facts);
    let of = |at: &Spanned<UpstreamForm>| lost.get_key_value(&at.value.id());
    match form.upstreams.iter().find_map(|at| Some((at, of(at)?))) {
        None => Ok(()),
        Some((at, (id, problem))) => {
            let location = at.value.claimed(&problem.reason).unwrap_or(at.referenced);
            Err(Fault { location: Some(location), message: format!("{id}: {}", problem.message) })
        }
    }
}
