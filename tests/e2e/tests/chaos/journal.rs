//! What all clients of a test saw, and what may have been lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use zenvoy_e2e::http::Failure;
use zenvoy_e2e::load::{self, Record, Request};

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The node that it went through.
    pub(crate) node: usize,
    /// The workload that it was for.
    pub(crate) workload: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub(crate) began: u64,
    /// What became of it.
    pub(crate) record: Record,
}

impl Entry {
    /// When the pod that answered had started, and when it answered, in milliseconds since the Unix epoch.
    pub(crate) fn served(&self) -> Option<(u64, u64)> {
        let answer: Value = serde_json::from_str(self.record.result.as_ref().ok()?).ok()?;
        Some((answer["started_unix_ms"].as_u64()?, answer["answered_unix_ms"].as_u64()?))
    }
}

/// A stream that was open, in milliseconds since the Unix epoch.
#[derive(Debug, Clone)]
pub(crate) struct OpenFor {
    pub(crate) workload: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What runs through this node may be lost in this time: its proxy or its Envoy was killed.
#[derive(Debug, Clone, Copy)]
struct Excuse {
    node: usize,
    from: Instant,
    to: Option<Instant>,
}

/// In this time etcd was not there for all: a replica whose write is left unanswered, or whose lease has ended, wakes without a
/// record (rule W4). In milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) from: u64,
    /// `None`: it goes on.
    pub(crate) to: Option<u64>,
}

impl Outage {
    /// Whether something that happened then happened in it.
    pub(crate) fn covers(&self, at: u64) -> bool {
        self.from <= at && self.to.is_none_or(|to| at <= to)
    }
}

/// All of it. Clones are the same journal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    entries: Vec<Entry>,
    streams: Vec<OpenFor>,
    excuses: Vec<Excuse>,
    outages: Vec<Outage>,
}

impl Journal {
    /// Sends a request on a connection of its own, and writes down what became of it.
    pub(crate) async fn send(&self, node: usize, workload: &str, request: &Request) -> Record {
        let began = unix_millis();
        let record = load::once(request).await;
        self.write(node, workload, began, record.clone());
        record
    }

    /// Writes down what became of a request.
    pub(crate) fn write(&self, node: usize, workload: &str, began: u64, record: Record) {
        self.pages().entries.push(Entry { node, workload: workload.into(), began, record });
    }

    /// A stream was open from then until now.
    pub(crate) fn streamed(&self, workload: &str, from: u64) {
        let streamed = OpenFor { workload: workload.into(), from, to: unix_millis() };
        self.pages().streams.push(streamed);
    }

    /// A stream broke, or could not be opened.
    pub(crate) fn broke(&self, node: usize, workload: &str, started: Instant, failure: Failure) {
        let began = unix_millis();
        let record = Record { started, first_byte: None, ended: Instant::now(), result: Err(failure) };
        self.write(node, workload, began, record);
    }

    /// From now on, what runs through this node may be lost.
    pub(crate) fn excuse(&self, node: usize) {
        self.pages().excuses.push(Excuse { node, from: Instant::now(), to: None });
    }

    /// From now on, nothing may be lost again.
    pub(crate) fn no_more_excuses(&self) {
        let now = Instant::now();
        for excuse in &mut self.pages().excuses {
            excuse.to.get_or_insert(now);
        }
    }

    /// From now on, etcd is not there for all.
    pub(crate) fn etcd_breaks(&self) {
        self.pages().outages.push(Outage { from: unix_millis(), to: None });
    }

    /// All controllers have etcd again.
    pub(crate) fn etcd_is_whole(&self) {
        let now = unix_millis();
        for outage in &mut self.pages().outages {
            outage.to.get_or_insert(now);
        }
    }

    /// When etcd was not there for all.
    pub(crate) fn outages(&self) -> Vec<Outage> {
        self.pages().outages.clone()
    }

    /// Whether something that failed may have: it ran through a killed part.
    pub(crate) fn is_excused(&self, node: usize, from: Instant, to: Instant) -> bool {
        let pages = self.pages();
        let mut excuses = pages.excuses.iter().filter(|excuse| excuse.node == node);
        excuses.any(|excuse| excuse.from <= to && excuse.to.is_none_or(|end| from <= end))
    }

    /// All requests so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.pages().entries.clone()
    }

    /// All streams that have ended.
    pub(crate) fn streams(&self) -> Vec<OpenFor> {
        self.pages().streams.clone()
    }

    /// How many requests did not run through a killed part, and how many of them were served.
    pub(crate) fn share(&self) -> (usize, usize) {
        let entries = self.entries();
        let counted = entries.iter().filter(|entry| {
            entry.record.result.is_ok()
                || !self.is_excused(entry.node, entry.record.started, entry.record.ended)
        });
        let counted: Vec<_> = counted.collect();
        (counted.len(), counted.iter().filter(|entry| entry.record.result.is_ok()).count())
    }

    /// Of the requests since then for which a pod was up already, and that did not run through a killed part: how many there
    /// were, and how long the slowest took.
    pub(crate) fn warm(&self, workload: &str, since: u64) -> (usize, Duration) {
        let entries = self.entries();
        let warm = entries.iter().filter(|entry| {
            let record = &entry.record;
            entry.workload == workload
                && entry.began >= since
                && entry.served().is_some_and(|(started, _)| started < entry.began)
                && !self.is_excused(entry.node, record.started, record.ended)
        });
        let took: Vec<Duration> = warm.map(|entry| entry.record.took()).collect();
        (took.len(), took.into_iter().max().unwrap_or_default())
    }

    /// What failed and may not have, by what was seen.
    pub(crate) fn lost(&self) -> BTreeMap<String, usize> {
        let mut lost = BTreeMap::new();
        for entry in self.entries() {
            let Record { started, ended, result, .. } = &entry.record;
            if let Err(failure) = result
                && !self.is_excused(entry.node, *started, *ended)
            {
                *lost
                    .entry(format!("{} through node-{}: {failure}", entry.workload, entry.node + 1))
                    .or_default() += 1;
            }
        }
        lost
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.0.lock().expect("no task panics with the journal in hand")
    }
}

/// Now, by the clock that pods and the API server write down.
pub(crate) fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
