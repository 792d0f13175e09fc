//! A folder in the layout of cert-manager's secrets.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";

/// What such a folder holds, as PEM text.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) authority: String,
}

/// What becomes of files that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Refused,
    Replaced,
}

/// One folder.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether a certificate or key is there.
    pub(super) fn is_written(&self) -> bool {
        [CERTIFICATE, KEY].iter().any(|file| self.0.join(file).exists())
    }

    /// What it holds; `None` when it holds nothing.
    pub(super) fn read(&self) -> anyhow::Result<Option<Pair>> {
        if !self.is_written() {
            return Ok(None);
        }
        let read = |file: &str| {
            let path = self.0.join(file);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        Ok(Some(Pair { certificate: read(CERTIFICATE)?, key: read(KEY)?, authority: read(AUTHORITY)? }))
    }

    /// Writes all of it; the key only for its owner to read.
    pub(super) fn write(&self, pair: &Pair, existing: Existing) -> anyhow::Result<()> {
        if existing == Existing::Refused && self.is_written() {
            bail!("{} holds a certificate already", self.0.display());
        }
        fs::create_dir_all(&self.0).with_context(|| format!("make {}", self.0.display()))?;
        for (file, text, mode) in [
            (KEY, &pair.key, 0o600),
            (CERTIFICATE, &pair.certificate, 0o644),
            (AUTHORITY, &pair.authority, 0o644),
        ] {
            let path = self.0.join(file);
            replace(&path, text, mode).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Whoever reads the file meanwhile sees the old text or the new one, never a part.
fn replace(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // What a call left that was killed may be readable by others.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
