//! What the API server's audit log says of replicas: who asked for how many, from how many, when, and with what success.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::cluster::{Cluster, NAMESPACE, User};

/// The audit log of a cluster. Clones are the same log, of which each line is read once.
#[derive(Debug, Clone)]
pub struct Audit {
    path: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

/// What was read of it so far.
#[derive(Debug, Default)]
struct Seen {
    /// Where the first unread line begins.
    until: u64,
    requests: Vec<ScaleRequest>,
    sightings: Vec<(String, Sighting)>,
}

/// A request that asked for a number of replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleRequest {
    /// Who.
    pub user: String,
    /// Of what: its name in the tests' namespace.
    pub workload: String,
    /// Whether it was a write of the `scale` subresource; else of the object itself.
    pub by_scale: bool,
    /// The answer's HTTP status. Of 500 and above, the write may have been made all the same: it is taken to have been when
    /// the object was seen with its number afterwards.
    pub code: u64,
    /// The replicas that were asked for, where that was all that was asked.
    pub asked: Option<u64>,
    /// The replicas before, of a request that succeeded; `None` for a creation.
    pub from: Option<u64>,
    /// The replicas afterwards, of a request that succeeded.
    pub to: Option<u64>,
    /// The object's resourceVersion afterwards, of a request that succeeded.
    pub version: Option<u64>,
    /// When it was answered, RFC 3339 with microseconds.
    pub at: String,
}

impl ScaleRequest {
    /// Whether it changed the number.
    pub fn is_effective(&self) -> bool {
        self.from.is_some() && self.from != self.to
    }
}

impl Audit {
    /// That of a cluster.
    pub fn of(cluster: &Cluster) -> Self {
        cluster.audit().clone()
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, seen: Arc::default() }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All requests so far that could change the replicas of `workload`: those that succeeded in the order in which they
    /// took effect, then the others.
    pub fn requests(&self, workload: &str) -> Vec<ScaleRequest> {
        self.all().remove(workload).unwrap_or_default()
    }

    /// The same of every workload, by name.
    ///
    /// # Panics
    /// When the log cannot be read, or a line of it is not what the API server writes.
    pub fn all(&self) -> BTreeMap<String, Vec<ScaleRequest>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.read_on(&self.path);
        let mut requests: BTreeMap<String, Vec<ScaleRequest>> = BTreeMap::new();
        let mut sightings: BTreeMap<String, Vec<Sighting>> = BTreeMap::new();
        for request in &seen.requests {
            requests.entry(request.workload.clone()).or_default().push(request.clone());
        }
        for (workload, sighting) in &seen.sightings {
            sightings.entry(workload.clone()).or_default().push(*sighting);
        }
        for (workload, of_one) in &mut requests {
            settle(of_one, sightings.remove(workload).unwrap_or_default());
            of_one.sort_by_key(|request| request.version.unwrap_or(u64::MAX));
            let mut before = None;
            for request in of_one.iter_mut().filter(|request| request.to.is_some()) {
                request.from = before;
                before = request.to;
            }
        }
        requests
    }

    /// All changes that zenvoy made to the replicas of `workload`, as (from, to), in order.
    pub fn effective(&self, workload: &str) -> Vec<(u64, u64)> {
        let requests = self.requests(workload);
        let by_zenvoy = requests.iter().filter(|request| request.user == User::Zenvoy.name());
        by_zenvoy
            .filter(|request| request.is_effective())
            .filter_map(|request| request.from.zip(request.to))
            .collect()
    }

    /// How many writes zenvoy sent for `workload`, whatever became of them.
    pub fn attempts(&self, workload: &str) -> usize {
        let requests = self.requests(workload);
        requests.iter().filter(|request| request.user == User::Zenvoy.name()).count()
    }

    /// Checks invariant I1 for one wake of a workload that has slept since its creation: of zenvoy's scale writes exactly
    /// one was accepted, and it went from 0 to `replicas`. Others may only have met a newer version (409) and so changed
    /// nothing: the workload's own controller writes to it as well.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn assert_one_wake(&self, workload: &str, replicas: u64) {
        let requests = self.requests(workload);
        let by_zenvoy = requests.iter().filter(|request| request.user == User::Zenvoy.name());
        let (conflicts, others): (Vec<_>, Vec<_>) = by_zenvoy.partition(|request| request.code == 409);
        let as_expected = matches!(others[..], [one]
            if one.by_scale && one.code == 200 && one.from == Some(0) && one.to == Some(replicas));
        assert!(
            as_expected,
            "{workload}: exactly one scale write, 0 -> {replicas}; the audit log: {others:#?} and {} conflicts",
            conflicts.len()
        );
    }

    /// Checks that zenvoy's effective changes of `workload` are exactly these, in order.
    ///
    /// # Panics
    /// When they are not.
    #[track_caller]
    pub fn assert_effective(&self, workload: &str, expected: &[(u64, u64)]) {
        let found = self.effective(workload);
        assert_eq!(found, expected, "{workload}; the audit log: {:#?}", self.requests(workload));
    }
}

/// An object as another write of it showed it, one that does not change its replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sighting {
    version: u64,
    replicas: u64,
}

/// Finds out which of the writes without an answer were made: a number was seen that no answered write had set.
fn settle(requests: &mut [ScaleRequest], mut sightings: Vec<Sighting>) {
    let answered = requests
        .iter()
        .filter_map(|request| Some((Sighting { version: request.version?, replicas: request.to? }, true)));
    let mut seen: Vec<(Sighting, bool)> = answered.collect();
    seen.extend(sightings.drain(..).map(|sighting| (sighting, false)));
    seen.sort_by_key(|(sighting, _)| sighting.version);
    let mut now = None;
    for (sighting, answered) in seen {
        let changed = now.replace(sighting.replicas).is_some_and(|before| before != sighting.replicas);
        if answered || !changed {
            continue;
        }
        let unknown = requests
            .iter_mut()
            .find(|request| request.code >= 500 && request.to.is_none() && request.asked == now);
        if let Some(made) = unknown {
            (made.to, made.version) = (now, Some(sighting.version));
        }
    }
}

fn sighting(event: &Value) -> Option<(String, Sighting)> {
    let (object, answer) = (&event["objectRef"], &event["responseObject"]);
    if object["namespace"] != NAMESPACE || object["subresource"] != "status" {
        return None;
    }
    let version = answer["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
    let replicas = answer["spec"]["replicas"].as_u64()?;
    Some((object["name"].as_str()?.to_owned(), Sighting { version, replicas }))
}

impl Seen {
    /// Reads what was written since.
    fn read_on(&mut self, path: &Path) {
        let mut file = File::open(path).expect("open the audit log");
        file.seek(SeekFrom::Start(self.until)).expect("go on in the audit log");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read the audit log");
        // The last line may be half written yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        for line in whole.lines() {
            let event: Value = serde_json::from_str(line).expect("a line of the audit log is JSON");
            self.requests.extend(request(&event));
            self.sightings.extend(sighting(&event));
        }
        self.until += whole.len() as u64;
    }
}

/// What an event of the log says of replicas, if anything.
fn request(event: &Value) -> Option<ScaleRequest> {
    let object = &event["objectRef"];
    let subresource = object["subresource"].as_str();
    if object["namespace"] != NAMESPACE || !matches!(subresource, None | Some("scale")) {
        return None;
    }
    if event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun=")) {
        return None;
    }
    let (answer, code) = (&event["responseObject"], event["responseStatus"]["code"].as_u64()?);
    let succeeded = (200..300).contains(&code);
    let named = object["name"].as_str().or_else(|| answer["metadata"]["name"].as_str())?;
    // A Scale leaves out a zero.
    let to = answer["spec"]["replicas"].as_u64().or_else(|| (answer["kind"] == "Scale").then_some(0));
    if succeeded && to.is_none() {
        return None;
    }
    Some(ScaleRequest {
        user: event["user"]["username"].as_str()?.to_owned(),
        workload: named.to_owned(),
        by_scale: subresource.is_some(),
        code,
        asked: event["requestObject"]["spec"]["replicas"].as_u64(),
        from: None,
        to: to.filter(|_| succeeded),
        version: answer["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()),
        at: event["stageTimestamp"].as_str().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(
        user: &str,
        subresource: Option<&str>,
        code: u64,
        version: &str,
        replicas: Option<u64>,
    ) -> Value {
        json!({
            "user": { "username": user },
            "objectRef": { "namespace": NAMESPACE, "name": "cart", "subresource": subresource },
            "responseStatus": { "code": code },
            "responseObject": {
                "kind": if subresource.is_some() { "Scale" } else { "Deployment" },
                "metadata": { "name": "cart", "resourceVersion": version },
                "spec": { "replicas": replicas },
            },
            "stageTimestamp": "2026-01-01T00:00:00.000000Z",
        })
    }

    fn audit(events: &[Value]) -> (tempfile::TempDir, Audit) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.json");
        let lines: Vec<String> = events.iter().map(|event| format!("{event}\n")).collect();
        std::fs::write(&path, lines.concat() + "{\"half").unwrap();
        (folder, Audit::at(path))
    }

    #[test]
    fn a_write_is_effective_when_it_changed_the_number_in_the_order_of_versions() {
        let zenvoy = User::Zenvoy.name();
        let (_folder, audit) = audit(&[
            event("test-admin", None, 201, "5", Some(0)),
            event(zenvoy, Some("scale"), 200, "9", None),
            event(zenvoy, Some("scale"), 200, "7", Some(2)),
            event(zenvoy, Some("scale"), 409, "", None),
            event(zenvoy, Some("scale"), 200, "9", None),
        ]);
        audit.assert_effective("cart", &[(0, 2), (2, 0)]);
        assert_eq!(audit.attempts("cart"), 4);
    }

    #[test]
    fn a_write_without_an_answer_was_made_when_its_number_was_seen_afterwards() {
        let zenvoy = User::Zenvoy.name();
        let unanswered = |replicas: u64| {
            let mut event = event(zenvoy, Some("scale"), 504, "", None);
            event["requestObject"] = json!({ "spec": { "replicas": replicas } });
            event
        };
        let seen = |version: &str, replicas| event("kcm", Some("status"), 200, version, Some(replicas));
        let (_folder, audit) = audit(&[
            event("test-admin", None, 201, "5", Some(0)),
            seen("6", 0),
            unanswered(1),
            seen("8", 1),
            seen("9", 1),
            event(zenvoy, Some("scale"), 200, "11", None),
            unanswered(1),
            seen("12", 0),
        ]);
        audit.assert_effective("cart", &[(0, 1), (1, 0)]);
    }

    #[test]
    fn what_is_written_after_a_look_is_seen_by_the_next() {
        let zenvoy = User::Zenvoy.name();
        let (_folder, audit) = audit(&[event("test-admin", None, 201, "5", Some(0))]);
        audit.assert_effective("cart", &[]);
        let before = std::fs::read_to_string(audit.path()).unwrap();
        let whole = before.trim_end_matches("{\"half");
        let next = format!("{whole}{}\n", event(zenvoy, Some("scale"), 200, "7", Some(2)));
        std::fs::write(audit.path(), next).unwrap();
        audit.assert_effective("cart", &[(0, 2)]);
    }

    #[test]
    fn one_wake_is_one_write_that_was_accepted() {
        let zenvoy = User::Zenvoy.name();
        let (_folder, audit) = audit(&[
            event("test-admin", None, 201, "5", Some(0)),
            event(zenvoy, Some("scale"), 409, "", None),
            event(zenvoy, Some("scale"), 200, "7", Some(1)),
        ]);
        audit.assert_one_wake("cart", 1);
    }

    #[test]
    #[should_panic = "exactly one scale write"]
    fn a_second_write_is_not_one_wake_even_if_it_changes_nothing() {
        let zenvoy = User::Zenvoy.name();
        let (_folder, audit) = audit(&[
            event("test-admin", None, 201, "5", Some(0)),
            event(zenvoy, Some("scale"), 200, "7", Some(1)),
            event(zenvoy, Some("scale"), 200, "7", Some(1)),
        ]);
        audit.assert_one_wake("cart", 1);
    }
}
