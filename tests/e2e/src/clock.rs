//! A wall clock for one process, that can be put forward and back while it runs.
//!
//! The kernel has one wall clock for all. So a library between the process and it (libfaketime, by `LD_PRELOAD`) adds what a file
//! says to every answer; monotonic clocks are left alone, as a machine's are when its wall clock is set.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::Folder;

/// A clock; right until it is put elsewhere.
#[derive(Debug)]
pub struct Clock {
    offset: PathBuf,
}

impl Clock {
    /// One for the part called `name`.
    ///
    /// # Panics
    /// When the library is not installed.
    pub fn new(folder: &Folder, name: &str) -> Self {
        let clock = Self { offset: folder.path().join(format!("{name}.clock")) };
        clock.put(0);
        clock
    }

    /// From now on, it is so many seconds ahead of all others, or behind.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn put(&self, ahead: i64) {
        // In one piece: it is read at every look at the clock.
        let next = self.offset.with_extension("next");
        fs::write(&next, format!("{ahead:+}\n")).expect("write a clock");
        fs::rename(&next, &self.offset).expect("set a clock");
    }

    /// What a process must be started with to have it.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let library = library();
        [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// Where Debian puts it.
fn library() -> PathBuf {
    let architectures = fs::read_dir("/usr/lib").expect("read /usr/lib").flatten();
    let at = |folder: &Path| folder.join("faketime/libfaketimeMT.so.1");
    let mut found = architectures.map(|entry| at(&entry.path())).filter(|path| path.exists());
    found.next().expect("libfaketime is missing: apt-get install libfaketime")
}
