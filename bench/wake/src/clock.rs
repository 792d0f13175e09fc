//! Moments of this process on the wall clock of the machine, which the API server's audit log speaks in.

use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wall(i128);

impl Wall {
    /// Of a moment of this process.
    pub(crate) fn of(moment: Instant) -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(nanos(unix) - nanos(moment.elapsed()))
    }

    /// Of a time as the audit log has it.
    ///
    /// # Panics
    /// When it is no time.
    pub(crate) fn read(text: &str) -> Self {
        let at: jiff::Timestamp = text.parse().expect("the audit log's times are RFC 3339");
        Self(at.as_nanosecond())
    }

    /// Of nanoseconds since the Unix epoch; `None`: they are none.
    pub(crate) fn of_nanos(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// How long after `earlier` it was; zero if it was not.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}
