//! What clients saw.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::http::Failure;

/// One request.
#[derive(Debug, Clone)]
pub struct Record {
    /// When it began: before its connection.
    pub started: Instant,
    /// When the first byte of the answer was there.
    pub first_byte: Option<Instant>,
    /// When it was over.
    pub ended: Instant,
    /// What was answered. An HTTP status other than 200 is a failure.
    pub result: Result<String, Failure>,
}

impl Record {
    /// How long it took.
    pub fn took(&self) -> Duration {
        self.ended - self.started
    }

    /// The pod that answered, if an HTTP backend did.
    pub fn pod(&self) -> Option<String> {
        let answer: serde_json::Value = serde_json::from_str(self.result.as_ref().ok()?).ok()?;
        Some(answer["pod"].as_str()?.to_owned())
    }

    /// What was answered.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    pub fn served(&self) -> &str {
        match &self.result {
            Ok(answer) => answer,
            Err(failure) => panic!("the request failed after {:?}: {failure}", self.took()),
        }
    }
}

/// Many requests.
#[derive(Debug, Clone, Default)]
pub struct Report(pub Vec<Record>);

impl Report {
    /// Checks that there were requests and that all were served.
    ///
    /// # Panics
    /// When one was not.
    #[track_caller]
    pub fn assert_all_served(&self) {
        assert!(!self.0.is_empty(), "no request was sent");
        let mut failures: BTreeMap<&str, usize> = BTreeMap::new();
        for failure in self.0.iter().filter_map(|record| record.result.as_ref().err()) {
            *failures.entry(&failure.0).or_default() += 1;
        }
        let (failed, all) = (failures.values().sum::<usize>(), self.0.len());
        assert!(failures.is_empty(), "{failed} of {all} requests failed: {failures:#?}");
    }

    /// How many requests each pod answered.
    pub fn pods(&self) -> BTreeMap<String, usize> {
        let mut pods = BTreeMap::new();
        for pod in self.0.iter().filter_map(Record::pod) {
            *pods.entry(pod).or_default() += 1;
        }
        pods
    }

    /// The slowest.
    pub fn slowest(&self) -> Duration {
        self.0.iter().map(Record::took).max().unwrap_or_default()
    }
}
