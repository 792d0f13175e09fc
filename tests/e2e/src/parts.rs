//! Where programs are: the real parts, which a script gets when they are not there yet, and this crate's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;

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

/// The `zenvoy` program under test: what `ZENVOY_BIN` names, else what lies beside the tests. `cargo test --workspace`
/// builds it; to run single tests, build it before.
///
/// # Panics
/// When it is missing, or older than its sources in this checkout: a test of yesterday's program proves nothing.
pub fn zenvoy() -> PathBuf {
    if let Some(given) = std::env::var_os("ZENVOY_BIN") {
        return given.into();
    }
    static CHECKED: LazyLock<PathBuf> = LazyLock::new(|| {
        let program = beside_tests().join("zenvoy");
        let built = modified(&program).expect("zenvoy is missing: cargo build -p zenvoy");
        // Cargo says what it is made of when it is built by itself; what it said last may be about another checkout, or name
        // files that have moved.
        let sources = std::fs::read_to_string(program.with_extension("d")).unwrap_or_default();
        let sources = sources.split_once(": ").map_or("", |(_, sources)| sources).split_whitespace();
        let newer = sources
            .map(Path::new)
            .filter(|source| source.starts_with(checkout()))
            .find(|source| modified(source).is_some_and(|changed| changed > built));
        assert!(newer.is_none(), "zenvoy is older than {newer:?}: cargo build -p zenvoy");
        program
    });
    CHECKED.clone()
}

fn checkout() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn beside_tests() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    let mut folder = test.parent().expect("programs lie in a folder").to_path_buf();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}
