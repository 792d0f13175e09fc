//! Files -> changes. Only what differs from the last reading is said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use zenvoy_xds::core::Change;

use crate::protos::Protos;

/// Type and name, and the encoded message.
type Resources = BTreeMap<(String, String), Vec<u8>>;

pub(crate) struct Folder {
    path: PathBuf,
    protos: Protos,
    served: Resources,
    /// The files' texts at the last reading.
    texts: BTreeMap<PathBuf, String>,
}

impl Folder {
    pub(crate) fn new(path: PathBuf, protos: Protos) -> Self {
        Self { path, protos, served: Resources::new(), texts: BTreeMap::new() }
    }

    /// What has changed since the last reading.
    ///
    /// # Errors
    /// When any file cannot be read: then nothing has changed. Said once, until a file changes.
    pub(crate) fn read(&mut self) -> Result<Vec<Change>> {
        let texts = texts(&self.path)?;
        if texts == self.texts {
            return Ok(Vec::new());
        }
        self.texts = texts;
        let mut all = Vec::new();
        for (path, text) in &self.texts {
            all.extend(parse(text).with_context(|| format!("{}", path.display()))?);
        }
        self.protos.learn(&all)?;
        let mut resources = Resources::new();
        for resource in all {
            let (kind, name, content) = self.protos.encode(resource)?;
            let twice = format!("{kind} {name:?} is there twice");
            ensure!(resources.insert((kind, name), content).is_none(), twice);
        }
        let gone = self.served.keys().filter(|key| !resources.contains_key(*key));
        let mut changes: Vec<Change> =
            gone.map(|(kind, name)| Change::remove(kind.as_str(), name.as_str())).collect();
        // What is unchanged is known by its content's version, and costs nobody anything.
        let set = |((kind, name), content): (&(String, String), &Vec<u8>)| {
            Change::set(kind.as_str(), name.as_str(), content.clone())
        };
        changes.extend(resources.iter().map(set));
        self.served = resources;
        Ok(changes)
    }
}

/// The resources of a file.
fn parse(text: &str) -> Result<Vec<Value>> {
    let value: Value = serde_saphyr::from_str(text).context("it is neither YAML nor JSON")?;
    Ok(match value {
        Value::Array(all) => all,
        Value::Object(mut fields) if fields.contains_key("resources") => match fields.remove("resources") {
            Some(Value::Array(all)) => all,
            _ => bail!("`resources` must be a list"),
        },
        one => vec![one],
    })
}

fn texts(path: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            texts.insert(path, text);
        }
    }
    Ok(texts)
}
