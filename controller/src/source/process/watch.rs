//! What becomes of the file: it changed, or SIGHUP asks for it to be read again, or it is gone.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the file is looked at.
const PACE: Duration = Duration::from_millis(500);
/// Editors replace files: one that is away for less than so many looks is not gone.
const LOOKS: u32 = 2;

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    /// It is to be read again.
    Changed,
    /// It is not there any more.
    Gone,
}

/// Watches one file.
#[derive(Debug)]
pub(super) struct FileWatch {
    path: PathBuf,
    seen: Option<Stamp>,
    /// How often it was looked for in vain since it was there.
    missed: u32,
    pace: Interval,
    hang_up: Signal,
}

impl FileWatch {
    /// Changes from now on count.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            path: path.into(),
            seen: stamp(path),
            missed: 0,
            pace,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when it should be read again; and once when it is gone, until it is back.
    pub(super) async fn next(&mut self) -> Became {
        loop {
            tokio::select! {
                _ = self.pace.tick() => match stamp(&self.path) {
                    None => {
                        self.missed = self.missed.saturating_add(1);
                        if self.missed == LOOKS {
                            return Became::Gone;
                        }
                    }
                    // The same one that was told to be gone counts as well: that it is back is news.
                    now if now != self.seen || self.missed >= LOOKS => return self.read(now),
                    Some(_) => self.missed = 0,
                },
                _ = self.hang_up.recv() => return self.read(stamp(&self.path)),
            }
        }
    }

    fn read(&mut self, seen: Option<Stamp>) -> Became {
        // Who is told to read a file that is not there says so.
        self.missed = if seen.is_none() { LOOKS } else { 0 };
        self.seen = seen;
        Became::Changed
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_is_told_once_and_read_when_it_is_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, away) = (folder.path().join("up.yaml"), folder.path().join("away"));
        std::fs::write(&path, "one").expect("written");
        let mut watch = FileWatch::new(&path).expect("a watch");
        std::fs::rename(&path, &away).expect("moved");
        assert_eq!(watch.next().await, Became::Gone);
        let quiet = tokio::time::timeout(PACE * 10, watch.next()).await;
        assert!(quiet.is_err(), "it was told");
        std::fs::rename(&away, &path).expect("moved back");
        assert_eq!(watch.next().await, Became::Changed);
        std::fs::write(&path, "other").expect("written");
        assert_eq!(watch.next().await, Became::Changed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_replaced_is_never_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("up.yaml");
        std::fs::write(&path, "one").expect("written");
        let mut watch = FileWatch::new(&path).expect("a watch");
        std::fs::remove_file(&path).expect("removed");
        let away = tokio::time::timeout(PACE / 2, watch.next()).await;
        assert!(away.is_err(), "it was looked for once");
        std::fs::write(&path, "other").expect("written");
        assert_eq!(watch.next().await, Became::Changed);
    }
}
