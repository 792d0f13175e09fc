//! When the file is to be read again: when it changed, or on SIGHUP.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the file is looked at.
const PACE: Duration = Duration::from_millis(500);

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// Watches one file.
#[derive(Debug)]
pub(super) struct FileWatch {
    path: PathBuf,
    seen: Option<Stamp>,
    pace: Interval,
    hang_up: Signal,
}

impl FileWatch {
    /// Changes from now on count.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { path: path.into(), seen: stamp(path), pace, hang_up: signal(SignalKind::hangup())? })
    }

    /// Returns when it should be read again. A file that is away is waited for: editors replace files.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::select! {
                _ = self.pace.tick() => {
                    let now = stamp(&self.path);
                    if now.is_some() && now != self.seen {
                        self.seen = now;
                        return;
                    }
                }
                _ = self.hang_up.recv() => {
                    self.seen = stamp(&self.path);
                    return;
                }
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) })
}
