//! What is known -> what stands on an object, and what events say. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::{Condition, Phase, Problem};
use crate::report::{Happening, Occasion, Status, WakeTimeline};
use crate::source::kube::crd::{ConditionStatus, PortStatus, Status as ObjectStatus};
use crate::source::kube::notice::{ACCEPTED, Notice, TARGET_RESOLVED};
use crate::source::kube::target::short;

/// An event's severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Severity {
    Normal,
    Warning,
}

/// An event, before it is about an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Text {
    pub(super) severity: Severity,
    pub(super) reason: String,
    pub(super) note: String,
    pub(super) action: &'static str,
}

/// The status of an `Upstream` object. `ports` is what the leader says of what the object configures: `None` while it has
/// not said anything, and then what stands there stays. `before` is what stands there; times of transitions are kept.
pub(super) fn status(
    notice: &Notice,
    ports: Option<&BTreeMap<u16, &Status>>,
    before: &ObjectStatus,
    now: Timestamp,
) -> ObjectStatus {
    let mut status = ports.map_or_else(|| before.clone(), of_ports);
    if same_time(status.idle_since.as_deref(), before.idle_since.as_deref()) {
        status.idle_since.clone_from(&before.idle_since);
    }
    status.conditions = conditions(notice, ports, before, now);
    status.reason = reason(&status.conditions);
    status.observed_generation = Some(notice.generation);
    status.last_good.clone_from(&notice.last_good);
    status
}

fn of_ports(ports: &BTreeMap<u16, &Status>) -> ObjectStatus {
    let first = ports.values().next();
    let address = |status: &Status| status.address.map(|address| address.to_string());
    ObjectStatus {
        phase: first.map(|status| phase(status.phase).to_owned()),
        address: first.and_then(|status| address(status)),
        ports: ports
            .iter()
            .map(|(port, status)| PortStatus {
                port: *port,
                phase: phase(status.phase).to_owned(),
                address: address(status),
            })
            .collect(),
        workload: first.and_then(|status| status.workload.as_ref()).map(short),
        last_wake: ports.values().filter_map(|status| status.last_wake_unix_ms).max().map(time),
        // The youngest: idle is only who is idle on all ports.
        idle_since: ports
            .values()
            .map(|status| status.idle_since_unix_ms)
            .try_fold(0, |latest, since| Some(since?.max(latest)))
            .map(time),
        ..ObjectStatus::default()
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Cold => "Cold",
        Phase::Waking => "Waking",
        Phase::Active => "Active",
        Phase::Draining => "Draining",
    }
}

fn time(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(Timestamp::MAX).to_string()
}

/// Seconds, as Kubernetes writes times of conditions.
pub(super) fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What the source found comes first; of several ports the one that something is wrong with counts.
fn conditions(
    notice: &Notice,
    ports: Option<&BTreeMap<u16, &Status>>,
    before: &ObjectStatus,
    now: Timestamp,
) -> Vec<ConditionStatus> {
    let ours = |kind: &str| notice.conditions.iter().any(|own| own.kind == kind);
    let mut of_ports: BTreeMap<&'static str, &Condition> = BTreeMap::new();
    for condition in ports.into_iter().flat_map(BTreeMap::values).flat_map(|status| &status.conditions) {
        let known = of_ports.entry(condition.kind).or_insert(condition);
        if known.holds && !condition.holds {
            *known = condition;
        }
    }
    of_ports.retain(|kind, _| !ours(kind));
    let said = notice.conditions.iter().chain(of_ports.into_values());
    let mut written: Vec<ConditionStatus> =
        said.map(|condition| written(condition, notice.generation, before, now)).collect();
    if ports.is_none() {
        written.extend(before.conditions.iter().filter(|old| !ours(&old.kind)).cloned());
    }
    written
}

fn written(condition: &Condition, generation: i64, before: &ObjectStatus, now: Timestamp) -> ConditionStatus {
    let status = if condition.holds { "True" } else { "False" };
    let same = before.conditions.iter().find(|old| old.kind == condition.kind && old.status == status);
    ConditionStatus {
        kind: condition.kind.into(),
        status: status.into(),
        reason: condition.problem.reason.clone(),
        message: condition.problem.message.clone(),
        last_transition_time: same.map_or_else(|| seconds(now), |old| old.last_transition_time.clone()),
        observed_generation: Some(generation),
    }
}

/// What a person should look at first: what does not hold; else what holds beside the conditions that should.
fn reason(conditions: &[ConditionStatus]) -> Option<String> {
    let should_hold = |kind: &str| [ACCEPTED, TARGET_RESOLVED, "Ready"].contains(&kind);
    let wrong = conditions.iter().find(|condition| condition.status == "False");
    let odd = || conditions.iter().find(|condition| !should_hold(&condition.kind));
    wrong.or_else(odd).map(|condition| condition.reason.clone())
}

/// What the leader finds wrong with any of the ports.
pub(super) fn problem<'a>(ports: &BTreeMap<u16, &'a Status>) -> Option<&'a Problem> {
    let conditions = ports.values().flat_map(|status| &status.conditions);
    conditions.filter(|condition| !condition.holds).map(|condition| &condition.problem).next()
}

/// Idleness is measured on a monotonic clock: the same start may be told a little differently each time.
fn same_time(one: Option<&str>, other: Option<&str>) -> bool {
    const SLACK_MS: u64 = 2_000;
    let read = |text: Option<&str>| text?.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    match (read(one), read(other)) {
        (Some(one), Some(other)) => one.abs_diff(other) <= SLACK_MS,
        _ => false,
    }
}

/// A merge patch that makes `status` the whole status: what is absent is taken away.
pub(super) fn status_patch(status: &ObjectStatus) -> Value {
    const FIELDS: [&str; 10] = [
        "phase",
        "address",
        "ports",
        "workload",
        "lastWake",
        "idleSince",
        "reason",
        "observedGeneration",
        "lastGood",
        "conditions",
    ];
    let mut whole = serde_json::to_value(status).expect("plain values are JSON");
    if let Some(fields) = whole.as_object_mut() {
        for field in FIELDS {
            fields.entry(field).or_insert(Value::Null);
        }
    }
    json!({ "status": whole })
}

/// What an event says of something that happened.
pub(super) fn event(occasion: &Occasion) -> Text {
    let workload = short(&occasion.workload);
    let text =
        |severity, reason: &str, note: String, action| Text { severity, reason: reason.into(), note, action };
    match &occasion.what {
        Happening::Waking => {
            let note = format!("a connection to port {} wakes {workload}", occasion.upstream.port);
            text(Severity::Normal, "Waking", note, "Wake")
        }
        Happening::Woken(timeline) => {
            text(Severity::Normal, "Woken", format!("{workload} woke{}", phases(timeline)), "Wake")
        }
        Happening::WakeFailed(problem) => {
            let note = format!("{workload} does not wake: {}: {}", problem.reason, problem.message);
            text(Severity::Warning, "WakeFailed", note, "Wake")
        }
        Happening::Unserved(problem) => {
            text(Severity::Warning, &problem.reason, problem.message.clone(), "Configure")
        }
        Happening::Slept => text(Severity::Normal, "Slept", format!("{workload} is scaled to zero"), "Drain"),
        Happening::DrainCancelled { reason } => {
            text(Severity::Normal, "DrainCancelled", format!("{workload} stays up: {reason}"), "Drain")
        }
    }
}

fn phases(timeline: &WakeTimeline) -> String {
    let ms = |duration: Duration| format!("{} ms", duration.as_millis());
    let phases = [
        ("intent", timeline.intent),
        ("scaled", timeline.scaled),
        ("started", timeline.started),
        ("ready", timeline.ready),
        ("switched", timeline.switched),
    ];
    let seen: Vec<String> =
        phases.into_iter().filter_map(|(name, at)| Some(format!("{name} {}", ms(at?)))).collect();
    let whole = timeline.first_byte.map(|at| format!(" in {}", ms(at))).unwrap_or_default();
    if seen.is_empty() { whole } else { format!("{whole} ({})", seen.join(", ")) }
}

/// What an event says of a fault in a user's object.
pub(super) fn fault(condition: &Condition) -> Text {
    Text {
        severity: Severity::Warning,
        reason: condition.problem.reason.clone(),
        note: condition.problem.message.clone(),
        action: "Configure",
    }
}
