//! I1 and I5: what zenvoy scaled.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use zenvoy_e2e::audit::{Audit, ScaleRequest};
use zenvoy_e2e::cluster::{NAMESPACE, User};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::store::Change;

use crate::journal::{Journal, Outage};

/// I1: from the audit log, up and down in turn, and no write without effect; from etcd's history, as many as there were
/// wakes, but for those while etcd was not there for all.
pub(super) fn found(
    audit: &Audit,
    backends: &[Backend],
    history: &[Change],
    outages: &[Outage],
) -> Vec<String> {
    let all = audit.all();
    let of_one = |backend: &Backend| {
        let requests = all.get(backend.name()).map_or(&[][..], Vec::as_slice);
        out_of_turn(backend.name(), requests, episodes(history, backend).len(), outages)
    };
    backends.iter().flat_map(of_one).collect()
}

/// What is wrong with the writes of one workload that had so many wakes.
fn out_of_turn(name: &str, requests: &[ScaleRequest], wakes: usize, outages: &[Outage]) -> Vec<String> {
    let mut found = Vec::new();
    let accepted: Vec<&ScaleRequest> = requests.iter().filter(|request| is_accepted(request)).collect();
    let changes: Vec<_> = accepted.iter().map(|request| (request.from, request.to)).collect();
    let mut in_turn = changes.iter().zip([(Some(0), Some(1)), (Some(1), Some(0))].iter().cycle());
    if in_turn.any(|(change, expected)| change != expected) {
        found.push(format!("I1: {name} was scaled {changes:?}: not up and down in turn"));
    }
    let without_record =
        |request: &ScaleRequest| outages.iter().any(|outage| at(request).is_some_and(|at| outage.covers(at)));
    let ups = accepted.iter().filter(|request| request.from == Some(0) && !without_record(request)).count();
    if ups > wakes {
        found.push(format!("I1: {name} was scaled up {ups} times for {wakes} wakes"));
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
    let of_one =
        |(name, requests): (String, Vec<ScaleRequest>)| (name, requests.iter().filter_map(down).collect());
    cut_short_by(&audit.all().into_iter().map(of_one).collect(), journal)
}

fn cut_short_by(downs: &BTreeMap<String, Vec<u64>>, journal: &Journal) -> Vec<String> {
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

/// All changes of a backend since then, as (from, to).
pub(crate) fn changes_since(audit: &Audit, backend: &Backend, since: u64) -> Vec<(u64, u64)> {
    let requests = audit.requests(backend.name());
    let since = requests.iter().filter(|request| at(request).is_some_and(|at| at >= since));
    since
        .filter(|request| request.is_effective())
        .filter_map(|request| request.from.zip(request.to))
        .collect()
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;
    use zenvoy_e2e::load::Record;

    use super::*;

    fn write(from: u64, to: u64) -> ScaleRequest {
        ScaleRequest {
            user: User::Zenvoy.name().into(),
            workload: "cart".into(),
            by_scale: true,
            code: 200,
            asked: Some(to),
            from: Some(from),
            to: Some(to),
            version: None,
            at: String::new(),
        }
    }

    #[test]
    fn one_write_up_and_one_down_for_each_wake_are_in_turn() {
        let writes = [write(0, 1), write(1, 0), write(0, 1)];
        assert!(out_of_turn("cart", &writes, 2, &[]).is_empty());
    }

    #[test]
    fn a_write_without_a_wake_is_in_order_while_etcd_is_not_there_for_all() {
        let write =
            |from, to, at: &str| ScaleRequest { at: format!("1970-01-01T00:00:{at}Z"), ..write(from, to) };
        let writes = [write(0, 1, "01"), write(1, 0, "02"), write(0, 1, "03")];
        let outage = |from, to| Outage { from, to: Some(to) };
        assert!(out_of_turn("cart", &writes, 1, &[outage(2500, 3000)]).is_empty());
        assert_eq!(out_of_turn("cart", &writes, 1, &[outage(3001, 4000)]).len(), 1);
        assert!(out_of_turn("cart", &writes, 0, &[Outage { from: 0, to: None }]).is_empty());
    }

    #[test]
    fn a_second_write_and_a_write_without_a_wake_are_found() {
        assert_eq!(out_of_turn("cart", &[write(0, 1), write(1, 1)], 1, &[]).len(), 1);
        assert_eq!(out_of_turn("cart", &[write(0, 1), write(1, 2)], 1, &[]).len(), 1);
        assert_eq!(out_of_turn("cart", &[write(0, 1), write(1, 0), write(0, 1)], 1, &[]).len(), 1);
    }

    #[test]
    fn an_answer_after_its_pod_was_condemned_and_a_stream_that_was_open_then_are_found() {
        let journal = Journal::default();
        let answered = |started: u64, at: u64| {
            let result = Ok(json!({ "started_unix_ms": started, "answered_unix_ms": at }).to_string());
            let now = Instant::now();
            journal.write(0, "cart", at, Record { started: now, first_byte: None, ended: now, result });
        };
        let downs: BTreeMap<String, Vec<u64>> = [("cart".to_owned(), vec![100])].into();
        answered(50, 99);
        answered(110, 120);
        journal.streamed("other", 50);
        assert!(cut_short_by(&downs, &journal).is_empty());
        answered(50, 101);
        journal.streamed("cart", 50);
        assert_eq!(cut_short_by(&downs, &journal).len(), 2);
    }
}
