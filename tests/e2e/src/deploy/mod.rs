//! What users deploy: the manifests in `deploy/ha`, as the real kustomize renders them; and their pods as processes.

mod container;
mod deployed;
pub mod image;
mod network;
mod object;
mod pod;
pub mod rights;
mod secrets;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::parts;
pub use deployed::Deployed;
pub use object::{Applied, Object};
pub use pod::Pod;

/// The namespace of controllers, and of their Lease.
pub const SYSTEM: &str = "zenvoy-system";

/// The controllers' ServiceAccount.
pub const ACCOUNT: &str = "zenvoy-controller";

/// The user or group to run as for one in the manifests: root without rights takes its place where only root exists, as in
/// the user namespace of a test run without root.
///
/// # Panics
/// When the kernel does not say which users exist.
pub fn user(id: u64) -> u64 {
    let map = std::fs::read_to_string("/proc/self/uid_map").expect("the users that exist");
    let exists = map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&id))
    });
    if exists { id } else { 0 }
}

/// The folder of all manifests.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/ha")
}

/// The names of the overlays that users choose from.
///
/// # Panics
/// When there is no folder of overlays.
pub fn overlays() -> Vec<String> {
    let entries = std::fs::read_dir(folder().join("overlays")).expect("deploy/ha/overlays");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// What `kustomize build` makes of a folder in `deploy/ha`, as text.
///
/// # Panics
/// When kustomize refuses it.
pub fn render_text(kustomization: &str) -> String {
    let folder = folder().join(kustomization);
    let output =
        Command::new(parts::path("kustomize")).arg("build").arg(&folder).output().expect("run kustomize");
    assert!(
        output.status.success(),
        "kustomize build {}: {}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("manifests are text")
}

/// The same as objects, in the order in which they are to be applied.
///
/// # Panics
/// When kustomize refuses it.
pub fn render(kustomization: &str) -> Vec<Object> {
    read(&render_text(kustomization))
}

/// The controllers' ServiceAccount and what it may do, as it is written for kustomize.
///
/// # Panics
/// When the file cannot be read.
pub fn controller_rights() -> Vec<Object> {
    let file = folder().join("base/controller/rbac.yaml");
    read(&std::fs::read_to_string(file).expect("the controllers' rights"))
}

fn read(text: &str) -> Vec<Object> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("manifests are YAML");
    documents.into_iter().map(Object::from).collect()
}
