mod effect;

use serde_json::{Value, json};

use super::super::keep::fixture::{annotated, service_json, slice, upstream, workload};
use super::super::target::KindState;
use super::*;
use crate::model::{Condition, Target, UpstreamSpec};

/// A board that has listed everything; facts are taken one step at a time.
struct Cluster {
    board: Board,
    notices: BTreeMap<ObjectId, Notice>,
    /// Whose pods the inspector looks at.
    starting: BTreeMap<WorkloadId, Starting>,
}

impl Cluster {
    fn listed() -> Self {
        let mut cluster =
            Self { board: Board::default(), notices: BTreeMap::new(), starting: BTreeMap::new() };
        Room::ALL.iter().for_each(|room| cluster.board.apply(Change::Listed(*room)));
        cluster
    }

    fn with(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.step(changes);
        self
    }

    fn step(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Fact> {
        changes.into_iter().for_each(|change| self.board.apply(change));
        let settled = self.board.settle(false);
        for (id, notice) in settled.notices {
            put(&mut self.notices, id, notice);
        }
        for (id, starting) in settled.starts {
            put(&mut self.starting, id, starting);
        }
        settled.facts
    }

    fn condition(&self, id: &ObjectId, kind: &str) -> &Condition {
        let notice = self.notices.get(id).expect("a notice");
        notice.conditions.iter().find(|condition| condition.kind == kind).expect("the condition")
    }

    fn spec(&self) -> &UpstreamSpec {
        &self.board.in_effect.get(&cart()).expect("in effect").facts.spec
    }
}

fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

fn deployment() -> WorkloadId {
    WorkloadId::new("shop", "Deployment.apps", "cart")
}

fn key() -> Key {
    Key::new("shop", "cart")
}

fn on_service() -> ObjectId {
    ObjectId::service(key())
}

fn opted_in(annotations: &[(&str, &str)]) -> Change {
    let all: Vec<_> = [("enabled", "true")].iter().chain(annotations).copied().collect();
    Change::Service(key(), Some(annotated(&all)))
}

fn scaled(replicas: u32) -> Change {
    Change::Workload(deployment(), Some(workload(replicas)))
}

fn pods(pods: &[(&str, &str, bool)]) -> Change {
    Change::Slice(Key::new("shop", "cart-x"), Some(slice(pods)))
}

fn object(name: &str, spec: Value) -> Change {
    Change::Upstream(Key::new("shop", name), Some(upstream(name, spec)))
}

fn kinds(facts: &[Fact]) -> Vec<&'static str> {
    let name = |fact: &Fact| match fact {
        Fact::Upstream(..) => "upstream",
        Fact::UpstreamGone(_) => "upstream gone",
        Fact::Endpoints(..) => "endpoints",
        Fact::Workload(..) => "workload",
        Fact::WorkloadGone(_) => "workload gone",
        Fact::Started(_) => "started",
        Fact::Unready(..) => "unready",
        Fact::Complete => "complete",
    };
    facts.iter().map(name).collect()
}

#[test]
fn nothing_is_said_before_everything_has_been_listed() {
    let mut cluster =
        Cluster { board: Board::default(), notices: BTreeMap::new(), starting: BTreeMap::new() };
    let early = [opted_in(&[]), scaled(0), Change::Listed(Room::Services)];
    assert!(cluster.step(early).is_empty());
    let facts = cluster.step(Room::ALL.map(Change::Listed));
    assert_eq!(kinds(&facts), ["workload", "upstream", "complete"]);
}

#[test]
fn each_fact_is_said_once() {
    let mut cluster = Cluster::listed().with([opted_in(&[]), scaled(1), pods(&[("10.0.0.1", "a", true)])]);
    assert!(cluster.step([opted_in(&[]), scaled(1), pods(&[("10.0.0.1", "a", true)])]).is_empty());
}

#[test]
fn a_wake_is_seen_as_scaled_started_and_ready() {
    let mut cluster = Cluster::listed().with([opted_in(&[]), scaled(0)]);
    assert_eq!(kinds(&cluster.step([scaled(1)])), ["workload"]);
    assert_eq!(kinds(&cluster.step([pods(&[("10.0.0.1", "a", false)])])), ["started"]);
    let facts = cluster.step([pods(&[("10.0.0.1", "a", true)])]);
    assert_eq!(kinds(&facts), ["endpoints"]);
    let Fact::Endpoints(id, endpoints) = &facts[0] else { panic!() };
    assert_eq!((id, endpoints.len()), (&cart(), 1));
    assert_eq!(endpoints[0].address.to_string(), "10.0.0.1:8080");
}

#[test]
fn a_service_that_opts_out_or_goes_is_gone_and_its_workload_stays_followed() {
    for last in [Change::Service(key(), Some(annotated(&[]))), Change::Service(key(), None)] {
        let mut cluster = Cluster::listed().with([opted_in(&[]), scaled(1)]);
        assert_eq!(cluster.step([last]), [Fact::UpstreamGone(cart())]);
        assert_eq!(kinds(&cluster.step([scaled(2)])), ["workload"]);
        assert_eq!(kinds(&cluster.step([Change::Workload(deployment(), None)])), ["workload gone"]);
    }
}

#[test]
fn workloads_that_are_no_targets_are_not_talked_about() {
    let mut cluster = Cluster::listed();
    let other = WorkloadId::new("shop", "Deployment.apps", "other");
    assert_eq!(kinds(&cluster.step([Change::Workload(other, Some(workload(1)))])), ["complete"]);
}

#[test]
fn pods_are_looked_at_only_while_a_workload_starts_in_vain() {
    let mut cluster = Cluster::listed().with([opted_in(&[]), scaled(0)]);
    assert!(cluster.starting.is_empty());
    cluster.step([scaled(1)]);
    assert!(cluster.starting.contains_key(&deployment()));
    let problem = Problem { reason: "CrashLoop".into(), message: "x".into() };
    let facts = cluster.step([Change::Trouble(deployment(), Some(problem.clone()))]);
    assert!(matches!(&facts[0], Fact::Workload(_, facts) if facts.problem == Some(problem.clone())));
    let facts = cluster.step([pods(&[("10.0.0.1", "a", true)])]);
    assert_eq!(kinds(&facts), ["workload", "endpoints", "started"]);
    assert!(matches!(&facts[0], Fact::Workload(_, facts) if facts.problem.is_none()));
    assert!(cluster.starting.is_empty());
    assert!(cluster.step([Change::Trouble(deployment(), Some(problem))]).is_empty());
}

#[test]
fn a_refusal_to_create_pods_counts_only_while_pods_are_asked_for() {
    let refused = |replicas| {
        let refusal = Some(Problem { reason: "QuotaExceeded".into(), message: "x".into() });
        Change::Workload(deployment(), Some(Workload { refusal, ..workload(replicas) }))
    };
    let mut cluster = Cluster::listed();
    let problem = |facts: &[Fact]| match &facts[0] {
        Fact::Workload(_, facts) => facts.problem.clone().map(|problem| problem.reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(&cluster.step([opted_in(&[]), refused(0)])), None);
    assert_eq!(problem(&cluster.step([refused(1)])).as_deref(), Some("QuotaExceeded"));
}

#[test]
fn a_further_kind_is_discovered_watched_and_read_before_all_is_complete() {
    let rollout = WorkloadId::new("shop", "Rollout.argoproj.io", "cart");
    let mut cluster = Cluster::listed();
    let facts = cluster.step([opted_in(&[("target", "Rollout.argoproj.io/cart")])]);
    assert_eq!(kinds(&facts), ["upstream"]);
    assert!(cluster.board.wants().kinds.contains(&rollout.kind));
    cluster.step([
        Change::Kind(rollout.kind.clone(), KindState::Scalable),
        Change::Seen(rollout.clone(), Some("9".into())),
    ]);
    let listed = cluster.step([Change::KindListed(rollout.kind.clone())]);
    assert!(listed.is_empty(), "{listed:?}");
    assert_eq!(cluster.board.wants().reads.get(&rollout).map(String::as_str), Some("9"));
    let read = Change::Read(rollout.clone(), "9".into(), Some(workload(0)));
    assert_eq!(kinds(&cluster.step([read])), ["workload", "complete"]);
    assert!(cluster.board.wants().reads.is_empty());
    cluster.step([Change::Seen(rollout.clone(), Some("10".into()))]);
    assert_eq!(cluster.board.wants().reads.get(&rollout).map(String::as_str), Some("10"));
    assert_eq!(kinds(&cluster.step([Change::Seen(rollout, None)])), ["workload gone"]);
}

#[test]
fn a_kind_that_cannot_be_scaled_is_an_error_on_the_object_and_holds_nothing_up() {
    let mut cluster = Cluster::listed();
    cluster.step([opted_in(&[("target", "DaemonSet.apps/cart")])]);
    let problem = Problem { reason: "TargetNotScalable".into(), message: "no".into() };
    let facts = cluster.step([Change::Kind("DaemonSet.apps".into(), KindState::Unusable(problem))]);
    assert_eq!(kinds(&facts), ["upstream", "complete"]);
    assert_eq!(cluster.condition(&on_service(), "TargetResolved").problem.reason, "TargetNotScalable");
}

#[test]
fn further_kinds_that_do_not_answer_hold_up_the_start_only_for_so_long() {
    let mut cluster = Cluster::listed();
    assert_eq!(kinds(&cluster.step([opted_in(&[("target", "Rollout.argoproj.io/cart")])])), ["upstream"]);
    assert_eq!(cluster.board.settle(true).facts, [Fact::Complete]);
}

#[test]
fn a_service_without_pods_of_its_own_is_refused() {
    let mut external = service_json(&[("enabled", "true")]);
    external["spec"] =
        json!({ "type": "ExternalName", "externalName": "x.example", "ports": [{ "port": 80 }] });
    let external = Service::read(serde_json::from_value(external).expect("a Service"));
    let mut udp = service_json(&[("enabled", "true")]);
    udp["spec"]["ports"] = json!([{ "port": 53, "protocol": "UDP" }]);
    let udp = Service::read(serde_json::from_value(udp).expect("a Service"));
    for (service, reason) in [(external, "ServiceHasNoPods"), (udp, "NoTcpPort")] {
        let cluster = Cluster::listed().with([Change::Service(key(), Some(service))]);
        assert_eq!(cluster.condition(&on_service(), "Accepted").problem.reason, reason);
        assert!(cluster.board.in_effect.is_empty());
    }
}

#[test]
fn a_slice_that_changes_its_service_leaves_the_old_one() {
    let mut cluster = Cluster::listed().with([opted_in(&[]), scaled(1), pods(&[("10.0.0.1", "a", true)])]);
    let moved = Slice { service: Key::new("shop", "other"), ..slice(&[("10.0.0.1", "a", true)]) };
    let facts = cluster.step([Change::Slice(Key::new("shop", "cart-x"), Some(moved))]);
    assert!(
        matches!(&facts[..], [Fact::Workload(..), Fact::Endpoints(_, endpoints)] | [Fact::Endpoints(_, endpoints)] if endpoints.is_empty()),
        "{facts:?}"
    );
}

#[test]
fn nothing_stays_of_what_is_gone() {
    let mut cluster = Cluster::listed().with([
        opted_in(&[]),
        object("mine", json!({})),
        scaled(1),
        pods(&[("10.0.0.1", "a", true)]),
    ]);
    cluster.step([
        Change::Service(key(), None),
        Change::Upstream(Key::new("shop", "mine"), None),
        Change::Slice(Key::new("shop", "cart-x"), None),
        Change::Workload(deployment(), None),
    ]);
    let board = &cluster.board;
    assert!(board.services.is_empty() && board.upstreams.is_empty() && board.upstreams_of.is_empty());
    assert!(board.slices.is_empty() && board.slice_homes.is_empty() && board.workloads.is_empty());
    assert!(board.in_effect.is_empty() && board.on_workload.is_empty() && board.followed.is_empty());
    assert!(
        board.said_upstreams.is_empty() && board.said_endpoints.is_empty() && board.said_workloads.is_empty()
    );
    assert!(board.said_notices.is_empty() && board.running.is_empty() && board.trouble.is_empty());
    assert!(board.starting.is_empty() && cluster.starting.is_empty());
}

#[test]
fn a_rollout_of_one_workload_does_not_configure_its_namespace_anew() {
    let mut cluster = Cluster::listed().with([opted_in(&[]), scaled(1)]);
    let set = WorkloadId::new("shop", "ReplicaSet.apps", "cart-5d4f");
    let owned = Workload { controller: Some("Deployment.apps/cart".into()), ..workload(1) };
    cluster.board.apply(Change::Workload(set, Some(owned)));
    cluster.board.apply(scaled(2));
    assert!(cluster.board.dirty.is_empty());
    let stranger = Workload { labels: BTreeMap::new(), ..workload(1) };
    cluster
        .board
        .apply(Change::Workload(WorkloadId::new("shop", "Deployment.apps", "other"), Some(stranger)));
    assert!(cluster.board.dirty.is_empty());
}

#[test]
fn ten_thousand_services_in_one_namespace_are_taken_in_at_once() {
    let mut board = Board::default();
    for n in 0..10_000 {
        let mut service = annotated(&[("enabled", "true")]);
        service.selector.insert("app".into(), format!("s{n}"));
        board.apply(Change::Service(Key::new("shop", format!("s{n}")), Some(service)));
        let mut of_service = workload(0);
        of_service.labels.insert("app".into(), format!("s{n}"));
        let id = WorkloadId::new("shop", "Deployment.apps", format!("s{n}"));
        board.apply(Change::Workload(id, Some(of_service)));
    }
    Room::ALL.iter().for_each(|room| board.apply(Change::Listed(*room)));
    let facts = board.settle(false).facts;
    assert_eq!(facts.len(), 20_001);
    let resolved =
        |fact: &Fact| matches!(fact, Fact::Upstream(_, facts) if matches!(facts.target, Target::Workload(_)));
    assert_eq!(facts.iter().filter(|fact| resolved(fact)).count(), 10_000);
}
