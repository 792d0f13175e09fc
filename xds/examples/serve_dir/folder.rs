//! Files -> changes. Only what differs from the last reading is said.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use zenvoy_xds::core::Change;

use crate::protos::{Protos, message_name};

/// By type and name.
type Resources = BTreeMap<(String, String), Resource>;

struct Resource {
    content: Vec<u8>,
    file: PathBuf,
}

pub(crate) struct Folder {
    path: PathBuf,
    protos: Protos,
    served: Resources,
    /// The files' texts at the last reading; `None`: they could not be read.
    texts: Option<BTreeMap<PathBuf, String>>,
}

impl Folder {
    pub(crate) fn new(path: PathBuf, protos: Protos) -> Self {
        Self { path, protos, served: Resources::new(), texts: None }
    }

    /// What is served from now on, as changes; `None`: no file has changed since the last reading.
    ///
    /// # Errors
    /// When any file cannot be taken in, which the error names: then nothing has changed. Said once, until a file changes.
    pub(crate) fn read(&mut self) -> Result<Option<Vec<Change>>> {
        let texts = texts(&self.path).inspect_err(|_| self.texts = None)?;
        if self.texts.as_ref() == Some(&texts) {
            return Ok(None);
        }
        let parsed = self.texts.insert(texts).iter().map(|(path, text)| {
            let values = parse(text).with_context(|| path.display().to_string())?;
            Ok((path.as_path(), values))
        });
        let parsed: Vec<(&Path, Vec<Value>)> = parsed.collect::<Result<_>>()?;
        self.protos.learn(&parsed)?;
        let resources = encode(&self.protos, parsed)?;
        let gone = self.served.keys().filter(|key| !resources.contains_key(*key));
        let mut changes: Vec<Change> =
            gone.map(|(kind, name)| Change::remove(kind.as_str(), name.as_str())).collect();
        // What is unchanged is known by its content's version, and costs nobody anything.
        let set = |((kind, name), resource): (&(String, String), &Resource)| {
            Change::set(kind.as_str(), name.as_str(), resource.content.clone())
        };
        changes.extend(resources.iter().map(set));
        self.served = resources;
        Ok(Some(changes))
    }

    /// The file that a resource is from.
    pub(crate) fn file_of(&self, kind: &str, name: &str) -> Option<&Path> {
        let resource = self.served.get(&(kind.to_owned(), name.to_owned()))?;
        Some(&resource.file)
    }
}

fn encode(protos: &Protos, parsed: Vec<(&Path, Vec<Value>)>) -> Result<Resources> {
    let mut resources = Resources::new();
    for (file, values) in parsed {
        for value in values {
            let encoded = protos.encode(value).with_context(|| file.display().to_string())?;
            let (kind, name, content) = encoded;
            let what = format!("{} {name:?}", message_name(&kind));
            let resource = Resource { content, file: file.to_owned() };
            if let Some(other) = resources.insert((kind, name), resource) {
                bail!("{}: {what} is in {} already", file.display(), other.file.display());
            }
        }
    }
    Ok(resources)
}

/// The resources of a file.
fn parse(text: &str) -> Result<Vec<Value>> {
    // The place is said in the words, so that they need no lines of the file below them.
    let value: std::result::Result<Value, _> = serde_saphyr::from_str(text);
    let value = value.map_err(|error| anyhow!("{}", error.without_snippet()));
    let value = value.context("it is neither YAML nor JSON")?;
    Ok(match value {
        Value::Array(all) => all,
        Value::Object(mut fields) if fields.contains_key("resources") => match fields.remove("resources") {
            Some(Value::Array(all)) => all,
            _ => bail!("`resources` must be a list"),
        },
        one => vec![one],
    })
}

fn texts(folder: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut texts = BTreeMap::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if !holds_resources(&path) {
            continue;
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => drop(texts.insert(path, text)),
            // It went between the two calls, as files do that are replaced.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    Ok(texts)
}

/// Whether its name says so. Hidden files, and those that editors keep beside the one that is edited, do not count.
fn holds_resources(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json")) && !name.starts_with(['.', '#', '~']) && !path.is_dir()
}
