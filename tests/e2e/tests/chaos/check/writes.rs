//! I1 and I5: what zenvoy scaled.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use zenvoy_e2e::audit::{Audit, ScaleRequest};
use zenvoy_e2e::cluster::{NAMESPACE, User};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::store::Change;

use crate::journal::Journal;

/// I1: from the audit log, up and down in turn, and no write without effect; from etcd's history, as many as there were
/// wakes.
pub(super) fn found(audit: &Audit, backends: &[Backend], history: &[Change]) -> Vec<String> {
    let mut found = Vec::new();
    let all = audit.all();
    for backend in backends {
        let name = backend.name();
        let accepted = all.get(name).into_iter().flatten().filter(|request| is_accepted(request));
        let changes: Vec<_> = accepted.map(|request| (request.from, request.to)).collect();
        let in_turn = changes.iter().zip([(Some(0), Some(1)), (Some(1), Some(0))].iter().cycle());
        if in_turn.clone().any(|(change, expected)| change != expected) {
            found.push(format!("I1: {name} was scaled {changes:?}: not up and down in turn"));
        }
        let (ups, wakes) = (changes.len().div_ceil(2), episodes(history, backend).len());
        if ups > wakes {
            found.push(format!("I1: {name} was scaled up {ups} times for {wakes} wakes"));
        }
    }
    found
}

fn is_accepted(request: &ScaleRequest) -> bool {
    request.user == User::Zenvoy.name() && request.to.is_some()
}

/// The wakes of a backend.
fn episodes<'a>(history: &'a [Change], backend: &Backend) -> BTreeSet<&'a str> {
    let key = format!("wakes/{NAMESPACE}/{}/{}", backend.kind(), backend.name());
    let records =
        history.iter().filter(|change| change.key == key).filter_map(|change| change.record.as_ref());
    records.filter_map(|record| record["episode"].as_str()).collect()
}

/// I5, and rule D9: a pod that was there when its workload was scaled down answers nobody afterwards, and no stream was open
/// then.
pub(super) fn cut_short(audit: &Audit, journal: &Journal) -> Vec<String> {
    let downs: BTreeMap<String, Vec<u64>> = audit
        .all()
        .into_iter()
        .map(|(name, requests)| (name, requests.iter().filter_map(down).collect()))
        .collect();
    let of = |name: &str| downs.get(name).map_or(&[][..], Vec::as_slice);
    let mut found = Vec::new();
    for entry in journal.entries() {
        let Some((started, answered)) = entry.served() else { continue };
        for down in of(&entry.workload).iter().filter(|down| started < **down && **down < answered) {
            let name = &entry.workload;
            found.push(format!(
                "I5: {name} was scaled down at {down}, and its pod of {started} answered at {answered}"
            ));
        }
    }
    for stream in journal.streams() {
        let (name, from, to) = (&stream.workload, stream.from, stream.to);
        for down in of(name).iter().filter(|down| from < **down && **down < to) {
            found.push(format!(
                "I5: {name} was scaled down at {down} under a stream open from {from} to {to}"
            ));
        }
    }
    found
}

/// When zenvoy scaled something to zero.
fn down(request: &ScaleRequest) -> Option<u64> {
    at(request).filter(|_| is_accepted(request) && request.is_effective() && request.to == Some(0))
}

fn at(request: &ScaleRequest) -> Option<u64> {
    let at: Timestamp = request.at.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

/// When zenvoy scaled a backend up that was asked for at `asked`; then, if it was up already.
pub(crate) fn up_at(audit: &Audit, backend: &Backend, asked: u64) -> Option<u64> {
    let requests = audit.requests(backend.name());
    let changes = requests.iter().filter(|request| request.to.is_some());
    let (before, after): (Vec<_>, Vec<_>) =
        changes.partition(|request| at(request).is_some_and(|at| at < asked));
    if before.last().is_some_and(|last| last.to != Some(0)) {
        return Some(asked);
    }
    after.into_iter().find(|request| request.to != Some(0)).and_then(at)
}
