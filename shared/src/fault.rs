//! How faults are told: an error with its causes, each once; and what fails again and again only now and then.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same fault is told again after this.
const AGAIN: Duration = Duration::from_secs(30);
/// Different faults that are remembered at most.
const REMEMBERED: usize = 64;

/// An error and its causes. A cause that the text tells already is not told again.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        source = cause.source();
    }
    text
}

/// The faults that were told lately; shared by all that may meet the same ones.
#[derive(Debug, Default)]
pub struct Faults {
    told: Mutex<BTreeMap<String, Instant>>,
}

impl Faults {
    /// Whether `fault` is to be told at `now`: it is new, or was told long ago.
    pub fn is_news(&self, fault: &str, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        if told.contains_key(fault) || told.len() >= REMEMBERED {
            return false;
        }
        told.insert(fault.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Caused(&'static str, #[source] io::Error);

    #[test]
    fn each_cause_is_told_once() {
        let cause = || io::Error::other("no room");
        assert_eq!(causes(&Caused("write", cause())), "write: no room");
        assert_eq!(causes(&Caused("write: no room; make some", cause())), "write: no room; make some");
    }

    #[test]
    fn a_fault_that_goes_on_is_told_now_and_then() {
        let (faults, start) = (Faults::default(), Instant::now());
        let told = (0..100).filter(|second| faults.is_news("away", start + Duration::from_secs(*second)));
        assert_eq!(told.collect::<Vec<_>>(), [0, 30, 60, 90]);
        assert!(faults.is_news("another", start + Duration::from_secs(91)));
    }

    #[test]
    fn a_flood_of_different_faults_costs_a_bounded_amount() {
        let (faults, start) = (Faults::default(), Instant::now());
        let told = (0..1_000).filter(|number| faults.is_news(&number.to_string(), start)).count();
        assert_eq!(told, REMEMBERED);
    }
}
