//! A test's own folder for data and logs: shown and kept when the test fails, removed when it does not.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// How much of each log a failed test shows.
const SHOWN_LINES: usize = 40;

/// A folder that lives as long as its test. Clones are not needed: parts keep paths, the test keeps the folder.
#[derive(Debug)]
pub struct Folder(Option<TempDir>);

impl Folder {
    /// A fresh one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[expect(clippy::new_without_default, reason = "it touches the disk")]
    pub fn new() -> Self {
        let made = tempfile::Builder::new().prefix("zenvoy-e2e-").tempdir();
        Self(Some(made.expect("make a folder for the test")))
    }

    /// Where it is.
    ///
    /// # Panics
    /// Never: it is only gone while it is dropped.
    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("kept until the drop").path()
    }

    /// Where the part called `name` logs.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.log"))
    }

    /// Writes a file with this text and says where.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("write a file of the test");
        path
    }

    fn show(&self) {
        let Ok(entries) = self.path().read_dir() else { return };
        let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        for path in logs {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(SHOWN_LINES);
            eprintln!("--- {} ({} lines)", path.display(), lines.len());
            for line in &lines[from..] {
                eprintln!("{}", line.chars().take(400).collect::<String>());
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
            if let Some(folder) = self.0.take() {
                eprintln!("--- kept: {}", folder.keep().display());
            }
        }
    }
}

/// Opens a log to append to: a part that is started again goes on in the same file.
pub(crate) fn open_log(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("open a log")
}
