//! Where programs are: the real parts, which a script gets when they are not there yet, and this crate's own.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

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

/// A program of this crate: cargo builds them together with its tests.
///
/// # Panics
/// When cargo has not.
pub fn own(name: &str) -> PathBuf {
    let path = beside_tests().join(name);
    assert!(path.exists(), "{} is missing: cargo build -p zenvoy-e2e --bins", path.display());
    path
}

/// The `zenvoy` program under test: what `ZENVOY_BIN` names, else built from the sources as they are now.
///
/// # Panics
/// When it does not build.
pub fn zenvoy() -> PathBuf {
    if let Some(given) = std::env::var_os("ZENVOY_BIN") {
        return given.into();
    }
    static BUILT: LazyLock<Mutex<bool>> = LazyLock::new(|| Mutex::new(false));
    let mut built = BUILT.lock().expect("no test panics while it builds");
    if !*built {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--offline", "--bin", "zenvoy"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .status()
            .expect("run cargo");
        assert!(status.success(), "zenvoy does not build");
        *built = true;
    }
    beside_tests().join("zenvoy")
}

fn beside_tests() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    let mut folder = test.parent().expect("programs lie in a folder").to_path_buf();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}
