//! Which store this is, and how far it has come.

use std::fmt;
use std::str::FromStr;

use crate::model::Revision;

/// One store at one time. A store only ever moves on, unless it is restored from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// etcd's cluster id; 0 where there is one store only.
    pub cluster: u64,
    /// Of its last write.
    pub revision: Revision,
}

impl History {
    /// Whether this may be what `earlier` has become.
    pub fn continues(self, earlier: Self) -> bool {
        self.cluster == earlier.cluster && self.revision >= earlier.revision
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}@{}", self.cluster, self.revision.0)
    }
}

/// Not the text of a [`History`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cluster id and revision, as cdf8181ed4ab57f1@1234")]
pub struct NoHistory(String);

impl FromStr for History {
    type Err = NoHistory;

    fn from_str(text: &str) -> Result<Self, NoHistory> {
        let parse = || {
            let (cluster, revision) = text.split_once('@')?;
            let cluster = u64::from_str_radix(cluster, 16).ok()?;
            Some(Self { cluster, revision: Revision(revision.parse().ok()?) })
        };
        parse().ok_or_else(|| NoHistory(text.into()))
    }
}
