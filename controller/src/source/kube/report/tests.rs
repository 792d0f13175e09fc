use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use zenvoy_shared::id::{Uid, UpstreamId, WorkloadId};

use super::desk::{Job, Papers};
use super::events::{EventLog, Verdict};
use super::render;
use crate::model::{Condition, Phase, Problem};
use crate::report::{Happening, Occasion, Status, WakeTimeline};
use crate::source::kube::crd;
use crate::source::kube::keep::Key;
use crate::source::kube::notice::{ACCEPTED, Notice, ObjectId, Shown};

fn object() -> ObjectId {
    ObjectId::upstream(Key::new("shop", "mine"))
}

fn service() -> ObjectId {
    ObjectId::service(Key::new("shop", "cart"))
}

fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

fn condition(kind: &'static str, holds: bool, reason: &str) -> Condition {
    Condition { kind, holds, problem: Problem { reason: reason.into(), message: format!("{reason}!") } }
}

fn notice(conditions: Vec<Condition>, shown: Shown) -> Notice {
    Notice { uid: Uid("u".into()), generation: 3, conditions, last_good: None, shown }
}

fn bare() -> Shown {
    Shown::Upstream { status: Value::Null }
}

fn status(phase: Phase) -> Status {
    Status {
        phase,
        workload: Some(WorkloadId::new("shop", "Deployment.apps", "cart")),
        address: "127.0.0.1:20000".parse().ok(),
        conditions: vec![condition("Ready", true, "Ready")],
        last_wake_unix_ms: Some(1_700_000_000_000),
        idle_since_unix_ms: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

/// A desk that leads, with a valid `Upstream` of one port.
fn papers() -> Papers {
    let mut papers = Papers::default();
    papers.set_leading(true);
    papers.set_home(cart(), Some(object()));
    papers.set_notice(object(), Some(notice(vec![condition(ACCEPTED, true, "Valid")], bare())));
    papers
}

fn written(papers: &mut Papers, now: i64) -> Option<crd::Status> {
    let job = papers.next(at(now))?;
    papers.done(&job);
    match job {
        Job::Status(_, status) => Some(status),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_status_is_written_once_and_again_only_when_it_changes() {
    let mut papers = papers();
    papers.set_status(&cart(), Some(status(Phase::Cold)));
    let first = written(&mut papers, 0).expect("a status");
    assert_eq!(first.phase.as_deref(), Some("Cold"));
    assert_eq!(first.address.as_deref(), Some("127.0.0.1:20000"));
    assert_eq!(first.last_wake.as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_eq!(first.workload.as_deref(), Some("Deployment/cart"));
    assert_eq!(first.observed_generation, Some(3));
    assert_eq!(written(&mut papers, 1), None);
    assert!(!papers.set_status(&cart(), Some(status(Phase::Cold))));
    papers.set_status(&cart(), Some(status(Phase::Waking)));
    papers.set_status(&cart(), Some(status(Phase::Active)));
    assert_eq!(written(&mut papers, 2).and_then(|status| status.phase).as_deref(), Some("Active"));
    assert_eq!(written(&mut papers, 3), None);
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut papers = papers();
    papers.set_status(&cart(), Some(status(Phase::Cold)));
    let time = |status: crd::Status| {
        let ready = status.conditions.into_iter().find(|condition| condition.kind == "Ready");
        ready.map(|ready| ready.last_transition_time)
    };
    let first = written(&mut papers, 0).and_then(time);
    papers.set_status(&cart(), Some(status(Phase::Active)));
    assert_eq!(written(&mut papers, 5).and_then(time), first);
    let failed = Status { conditions: vec![condition("Ready", false, "CrashLoop")], ..status(Phase::Cold) };
    papers.set_status(&cart(), Some(failed));
    let last = written(&mut papers, 9).expect("a status");
    assert_eq!(last.reason.as_deref(), Some("CrashLoop"));
    assert_ne!(time(last), first);
}

#[test]
fn who_does_not_lead_writes_nothing_and_a_new_leader_only_what_differs() {
    let mut leader = papers();
    leader.set_status(&cart(), Some(status(Phase::Cold)));
    let stands = written(&mut leader, 0).expect("a status");
    let mut follower = Papers::default();
    follower.set_home(cart(), Some(object()));
    let shown = Shown::Upstream { status: serde_json::to_value(&stands).expect("JSON") };
    follower.set_notice(object(), Some(notice(vec![condition(ACCEPTED, true, "Valid")], shown)));
    assert_eq!(follower.next(at(1)), None);
    follower.set_leading(true);
    assert_eq!(follower.next(at(2)), None, "the leader's loop has said nothing yet: what stands there stays");
    follower.set_status(&cart(), Some(status(Phase::Cold)));
    assert_eq!(follower.next(at(3)), None);
    follower.set_status(&cart(), Some(status(Phase::Active)));
    assert!(follower.next(at(4)).is_some());
}

#[test]
fn an_object_that_configures_nothing_any_more_has_no_phase() {
    let mut papers = papers();
    papers.set_status(&cart(), Some(status(Phase::Active)));
    assert!(written(&mut papers, 0).is_some());
    papers.set_home(cart(), None);
    papers.set_notice(object(), Some(notice(vec![condition(ACCEPTED, false, "ServiceMissing")], bare())));
    let Some(Job::Event(..)) = papers.next(at(1)) else { panic!("the fault is an event") };
    let last = written(&mut papers, 1).expect("a status");
    assert_eq!((last.phase, last.address, last.reason.as_deref()), (None, None, Some("ServiceMissing")));
    assert_eq!(last.conditions.len(), 1);
}

#[test]
fn the_same_idleness_told_a_little_differently_is_not_written_again() {
    let mut papers = papers();
    let idle = |ms| Some(Status { idle_since_unix_ms: Some(ms), ..status(Phase::Active) });
    papers.set_status(&cart(), idle(1_700_000_000_000));
    assert!(written(&mut papers, 0).is_some());
    papers.set_status(&cart(), idle(1_700_000_000_007));
    assert_eq!(written(&mut papers, 1), None);
    papers.set_status(&cart(), idle(1_700_000_009_000));
    assert!(written(&mut papers, 2).is_some());
}

#[test]
fn an_upstream_of_several_ports_is_idle_when_all_are_and_shows_what_is_wrong_with_any() {
    let idle = |since, ready: bool| Status {
        idle_since_unix_ms: since,
        conditions: vec![condition("Ready", ready, if ready { "Ready" } else { "HostTaken" })],
        ..status(Phase::Active)
    };
    let render = |one: &Status, other: &Status| {
        let notice = notice(vec![condition(ACCEPTED, true, "Valid")], bare());
        render::status(
            &notice,
            Some(&BTreeMap::from([(80, one), (81, other)])),
            &crd::Status::default(),
            at(0),
        )
    };
    let busy = render(&idle(None, true), &idle(Some(1_000), true));
    assert_eq!((busy.idle_since, busy.ports.len()), (None, 2));
    let wrong = render(&idle(Some(1_000), true), &idle(Some(2_000), false));
    assert_eq!(wrong.idle_since.as_deref(), Some("1970-01-01T00:00:02Z"));
    assert_eq!(wrong.reason.as_deref(), Some("HostTaken"));
}

#[test]
fn a_patch_takes_away_what_is_absent() {
    let patch = render::status_patch(&crd::Status { phase: Some("Cold".into()), ..crd::Status::default() });
    assert_eq!(patch["status"]["phase"], "Cold");
    for field in ["address", "ports", "lastWake", "idleSince", "reason", "conditions", "lastGood", "workload"]
    {
        assert_eq!(patch["status"].get(field), Some(&Value::Null), "{field}");
    }
    let whole = crd::Status::default();
    let known = serde_json::to_value(crd::Status {
        phase: Some(String::new()),
        address: Some(String::new()),
        ports: vec![crd::PortStatus { port: 1, phase: String::new(), address: None }],
        workload: Some(String::new()),
        last_wake: Some(String::new()),
        idle_since: Some(String::new()),
        reason: Some(String::new()),
        observed_generation: Some(0),
        last_good: Some(String::new()),
        conditions: vec![],
    })
    .expect("JSON");
    let patched = render::status_patch(&whole);
    for field in known.as_object().expect("an object").keys() {
        assert!(patched["status"].get(field).is_some(), "{field} is not taken away");
    }
}

#[test]
fn a_fault_becomes_an_event_once_and_again_when_it_changes() {
    let mut papers = papers();
    let faulty = |reason| Some(notice(vec![condition(ACCEPTED, false, reason)], bare()));
    let mut events = |notice: Option<Notice>| {
        papers.set_notice(object(), notice);
        let mut reasons = Vec::new();
        while let Some(job) = papers.next(at(0)) {
            papers.done(&job);
            if let Job::Event(_, _, text) = job {
                reasons.push(text.reason);
            }
        }
        reasons
    };
    assert_eq!(events(faulty("InvalidConfiguration")), ["InvalidConfiguration"]);
    assert!(events(faulty("InvalidConfiguration")).is_empty());
    assert_eq!(events(faulty("ServiceMissing")), ["ServiceMissing"]);
    assert!(events(Some(notice(vec![condition(ACCEPTED, true, "Valid")], bare()))).is_empty());
    assert_eq!(events(faulty("ServiceMissing")), ["ServiceMissing"]);
}

#[test]
fn a_service_carries_a_condition_only_while_something_is_wrong() {
    let mut papers = Papers::default();
    papers.set_leading(true);
    papers.set_home(cart(), Some(service()));
    let bare = Shown::Service { condition: None, last_good: None };
    let valid = notice(vec![condition(ACCEPTED, true, "Valid")], bare.clone());
    papers.set_notice(service(), Some(valid.clone()));
    assert_eq!(papers.next(at(0)), None);
    let lost = Status { conditions: vec![condition("Ready", false, "HostTaken")], ..status(Phase::Cold) };
    papers.set_status(&cart(), Some(lost));
    let job = papers.next(at(1)).expect("a condition");
    assert!(matches!(&job, Job::Condition(_, Some(condition)) if condition.reason == "HostTaken"), "{job:?}");
    papers.done(&job);
    assert_eq!(papers.next(at(2)), None);
    papers.set_status(&cart(), Some(status(Phase::Cold)));
    assert_eq!(papers.next(at(3)), Some(Job::Condition(service(), None)));
}

#[test]
fn what_stays_in_effect_is_kept_on_the_object_and_taken_away_again() {
    let mut papers = Papers::default();
    papers.set_leading(true);
    let shown = Shown::Service { condition: None, last_good: None };
    let broken = Notice {
        last_good: Some("{}".into()),
        ..notice(vec![condition(ACCEPTED, false, "InvalidConfiguration")], shown.clone())
    };
    papers.set_notice(service(), Some(broken));
    let mut jobs = Vec::new();
    while let Some(job) = papers.next(at(0)) {
        papers.done(&job);
        jobs.push(job);
    }
    assert!(
        matches!(&jobs[..], [Job::Event(..), Job::LastGood(_, Some(_)), Job::Condition(_, Some(_))]),
        "{jobs:?}"
    );
    papers.set_notice(service(), Some(notice(vec![condition(ACCEPTED, true, "Valid")], shown)));
    assert_eq!(papers.next(at(1)), Some(Job::LastGood(service(), None)));
}

#[test]
fn nothing_is_written_on_an_object_that_is_gone_until_something_changes() {
    let mut papers = papers();
    let job = papers.next(at(0)).expect("a status");
    papers.gone(&job);
    assert_eq!(papers.next(at(1)), None);
    papers.set_status(&cart(), Some(status(Phase::Cold)));
    assert!(papers.next(at(2)).is_some());
}

#[test]
fn occasions_are_told_on_the_object_that_configures_the_upstream() {
    let mut papers = papers();
    while let Some(job) = papers.next(at(0)) {
        papers.done(&job);
    }
    let timeline = WakeTimeline {
        scaled: Some(Duration::from_millis(9)),
        first_byte: Some(Duration::from_millis(312)),
        ..WakeTimeline::default()
    };
    let occasion = |upstream, what| Occasion {
        workload: WorkloadId::new("shop", "Deployment.apps", "cart"),
        upstream,
        what,
    };
    papers.happened(&occasion(cart(), Happening::Woken(timeline)));
    assert!(!papers.happened(&occasion(UpstreamId::new("a", "b", 1), Happening::Waking)));
    let Some(Job::Event(about, uid, text)) = papers.next(at(1)) else { panic!() };
    assert_eq!((about, uid), (object(), Uid("u".into())));
    assert_eq!(text.note, "Deployment/cart woke in 312 ms (scaled 9 ms)");
    papers.set_leading(false);
    assert!(!papers.happened(&occasion(cart(), Happening::Waking)));
}

#[tokio::test(start_paused = true)]
async fn the_same_event_is_counted_and_a_flood_is_dropped() {
    let (mut log, now) = (EventLog::default(), Instant::now());
    let text = render::fault(&condition(ACCEPTED, false, "X"));
    let decide = |log: &mut EventLog, name: &str, now| log.decide(&object(), &text, name.into(), now);
    assert_eq!(decide(&mut log, "one", now), Verdict::Create("one".into()));
    assert_eq!(decide(&mut log, "two", now), Verdict::Count("one".into(), 2));
    let later = now + Duration::from_secs(600);
    assert_eq!(decide(&mut log, "three", later), Verdict::Create("three".into()));
    log.forget(&object(), &text);
    assert_eq!(decide(&mut log, "four", later), Verdict::Create("four".into()));
    let dropped = (0..100).filter(|_| decide(&mut log, "x", later) == Verdict::Drop).count();
    assert!((70..80).contains(&dropped), "{dropped}");
    assert_ne!(decide(&mut log, "y", later + Duration::from_secs(31)), Verdict::Drop);
}

#[test]
fn a_status_that_stands_there_reads_back() {
    let status = json!({ "phase": "Cold", "conditions": [{ "type": "Ready", "status": "True", "reason": "Ready",
        "message": "m", "lastTransitionTime": "2024-01-01T00:00:00Z", "observedGeneration": 1 }] });
    let read: crd::Status = serde_json::from_value(status.clone()).expect("a status");
    assert_eq!(serde_json::to_value(read).expect("JSON"), status);
}
