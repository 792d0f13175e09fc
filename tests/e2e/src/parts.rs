//! Where the real parts are; the script gets them when they are not there yet.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The path of a part, as `scripts/parts` names them.
///
/// # Panics
/// When the part cannot be had: the script has said why.
pub fn path(name: &str) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/parts");
    let output = Command::new(script).arg(name).stderr(Stdio::inherit()).output().expect("run scripts/parts");
    assert!(output.status.success(), "scripts/parts {name} failed");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
