//! JSON of any message -> its encoding, by Envoy's own .proto files, of which only those needed are compiled.

use std::collections::BTreeSet;
use std::fs::ReadDir;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

pub(crate) struct Protos {
    folders: Vec<PathBuf>,
    /// What is compiled: all that these types need.
    known: BTreeSet<String>,
    pool: DescriptorPool,
}

/// The .proto files that the envoy-types crate carries.
pub(crate) fn of_envoy_types() -> Result<Vec<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Of this platform only: what others need has not been downloaded.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &platform()?])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .context("cargo cannot be run: give the folders with --protos")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cargo does not tell where the crate is: give the folders with --protos. It said: {said}");
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let envoy_types = packages.iter().find(|package| package["name"] == "envoy-types");
    let manifest =
        envoy_types.and_then(|package| package["manifest_path"].as_str()).context("no envoy-types")?;
    let root = PathBuf::from(manifest).with_file_name("proto");
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(&root).with_context(|| format!("{}", root.display()))? {
        // In some of them the files lie in a folder called proto.
        folders.push(entry?.path());
    }
    folders.push(root.join("cel-spec/proto"));
    Ok(folders)
}

/// The platform this runs on, as the compiler names it.
fn platform() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.context("rustc cannot be run: give the folders with --protos")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host: give the folders with --protos")?.to_owned())
}

impl Protos {
    pub(crate) fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, known: BTreeSet::new(), pool: DescriptorPool::new() }
    }

    /// Gets to know all types that the resources of these files name, before they can be encoded.
    pub(crate) fn learn(&mut self, files: &[(&Path, Vec<Value>)]) -> Result<()> {
        let mut types = self.known.clone();
        for (file, resources) in files {
            let mut named = BTreeSet::new();
            resources.iter().for_each(|resource| collect(resource, &mut named));
            for kind in &named {
                self.folder_of(kind).with_context(|| file.display().to_string())?;
            }
            types.extend(named);
        }
        if types != self.known {
            self.pool = self.compile(&types)?;
            self.known = types;
        }
        Ok(())
    }

    /// The type URL, the name and the encoding of a resource.
    pub(crate) fn encode(&self, mut resource: Value) -> Result<(String, String, Vec<u8>)> {
        let fields = resource.as_object_mut().context("it must be an object")?;
        let Some(Value::String(kind)) = fields.remove("@type") else { bail!("it has no `@type`") };
        let name =
            ["name", "cluster_name", "clusterName"].iter().find_map(|field| fields.get(*field)?.as_str());
        let name = name.with_context(|| format!("a {} without a name", message_name(&kind)))?.to_owned();
        let what = || format!("{} {name:?}", message_name(&kind));
        let message = self
            .pool
            .get_message_by_name(message_name(&kind))
            .context("an unknown type")
            .with_context(what)?;
        let message = DynamicMessage::deserialize(message, resource).with_context(what)?;
        Ok((kind, name, message.encode_to_vec()))
    }

    /// The folder, below those given, with a type's files, and its path there. A file declares the package of its folder;
    /// so a type's name says where it is.
    fn folder_of(&self, kind: &str) -> Result<(PathBuf, ReadDir)> {
        let (package, _) = message_name(kind)
            .rsplit_once('.')
            .with_context(|| format!("{kind:?} is no type: it has no package"))?;
        let path = PathBuf::from(package.replace('.', "/"));
        let found = self.folders.iter().find_map(|folder| std::fs::read_dir(folder.join(&path)).ok());
        Ok((path, found.with_context(|| format!("{kind:?} is an unknown type: no .proto files of it"))?))
    }

    fn compile(&self, types: &BTreeSet<String>) -> Result<DescriptorPool> {
        let mut files = Vec::new();
        for kind in types {
            let (path, found) = self.folder_of(kind)?;
            for entry in found {
                let name = entry?.file_name();
                if name.to_string_lossy().ends_with(".proto") {
                    files.push(path.join(name));
                }
            }
        }
        let mut compiler = protox::Compiler::new(&self.folders)?;
        compiler.include_imports(true).open_files(files)?;
        Ok(DescriptorPool::from_file_descriptor_set(compiler.file_descriptor_set())?)
    }
}

/// The full name of a type's message.
pub(crate) fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// All types that a value names, at any depth.
fn collect(value: &Value, types: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(kind)) = fields.get("@type") {
                types.insert(kind.clone());
            }
            fields.values().for_each(|value| collect(value, types));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, types)),
        _ => {}
    }
}
