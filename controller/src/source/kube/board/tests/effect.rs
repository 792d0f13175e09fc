//! Which configuration and which target are in effect, and what is said on the objects.

use super::*;

#[test]
fn an_invalid_annotation_keeps_the_last_good_configuration_and_says_so() {
    let mut cluster = Cluster::listed().with([opted_in(&[("idle-after", "10m")]), scaled(0)]);
    assert!(cluster.step([opted_in(&[("idle-after", "soon")])]).is_empty());
    assert_eq!(cluster.spec().idle_after.as_secs(), 600);
    let accepted = cluster.condition(&on_service(), "Accepted");
    assert!(!accepted.holds && accepted.problem.message.contains("zenvoy.dev/idle-after"));
    assert!(accepted.problem.message.contains("stays in effect"));
    cluster.step([opted_in(&[("idle-after", "20m")])]);
    assert_eq!(cluster.spec().idle_after.as_secs(), 1200);
    assert!(cluster.condition(&on_service(), "Accepted").holds);
    assert_eq!(cluster.notices[&on_service()].last_good, None);
}

#[test]
fn a_replica_that_starts_while_the_annotations_are_invalid_serves_what_the_others_serve() {
    let mut old = Cluster::listed().with([opted_in(&[("idle-after", "10m")]), scaled(0)]);
    old.step([opted_in(&[("idle-after", "soon")])]);
    let kept = old.notices[&on_service()].last_good.clone().expect("kept");
    let fresh =
        Cluster::listed().with([opted_in(&[("idle-after", "soon"), ("last-good", &kept)]), scaled(0)]);
    assert_eq!(fresh.board.in_effect, old.board.in_effect);
    assert_eq!(fresh.notices[&on_service()].last_good, Some(kept));
}

#[test]
fn what_was_never_valid_is_not_configured_and_others_are() {
    let mut cluster = Cluster::listed();
    let mut other = service_json(&[("enabled", "true")]);
    other["metadata"]["name"] = json!("other");
    let other = Service::read(serde_json::from_value(other).expect("a Service"));
    let facts = cluster.step([
        opted_in(&[("protocol", "htpp")]),
        scaled(0),
        Change::Service(Key::new("shop", "other"), Some(other)),
    ]);
    assert_eq!(kinds(&facts), ["workload", "upstream", "complete"]);
    assert!(!cluster.board.in_effect.contains_key(&cart()));
    assert!(cluster.condition(&on_service(), "Accepted").problem.message.contains("nothing is configured"));
}

#[test]
fn an_upstream_wins_over_annotations_and_both_are_told() {
    let cluster = Cluster::listed().with([
        opted_in(&[("idle-after", "10m")]),
        object("mine", json!({ "idleAfter": "20m" })),
        scaled(0),
    ]);
    assert_eq!(cluster.spec().idle_after.as_secs(), 1200);
    let lost = cluster.condition(&on_service(), "Accepted");
    assert_eq!(lost.problem.reason, "Overridden");
    assert!(lost.problem.message.contains("shop/mine"));
    assert!(cluster.condition(&ObjectId::upstream(Key::new("shop", "mine")), "Accepted").holds);
}

#[test]
fn annotations_count_again_when_the_upstream_goes() {
    let mut cluster = Cluster::listed().with([
        opted_in(&[("idle-after", "10m")]),
        object("mine", json!({ "idleAfter": "20m" })),
        scaled(0),
    ]);
    let facts = cluster.step([Change::Upstream(Key::new("shop", "mine"), None)]);
    assert_eq!(kinds(&facts), ["upstream"]);
    assert_eq!(cluster.spec().idle_after.as_secs(), 600);
    assert!(!cluster.notices.contains_key(&ObjectId::upstream(Key::new("shop", "mine"))));
}

#[test]
fn the_older_of_two_upstreams_for_a_port_wins() {
    let mut young = upstream("a-young", json!({ "idleAfter": "10m" }));
    young.created += 60;
    let cluster = Cluster::listed().with([
        Change::Service(key(), Some(annotated(&[]))),
        Change::Upstream(Key::new("shop", "a-young"), Some(young)),
        object("old", json!({ "idleAfter": "20m" })),
        scaled(0),
    ]);
    assert_eq!(cluster.spec().idle_after.as_secs(), 1200);
    let lost = cluster.condition(&ObjectId::upstream(Key::new("shop", "a-young")), "Accepted");
    assert_eq!(lost.problem.reason, "Conflict");
}

#[test]
fn an_upstream_that_was_never_valid_does_not_shadow_valid_annotations() {
    let cluster = Cluster::listed().with([
        opted_in(&[("idle-after", "10m")]),
        object("broken", json!({ "idleAfter": "soon" })),
        scaled(0),
    ]);
    assert_eq!(cluster.spec().idle_after.as_secs(), 600);
    assert!(!cluster.condition(&ObjectId::upstream(Key::new("shop", "broken")), "Accepted").holds);
}

#[test]
fn an_upstream_of_a_missing_service_or_port_says_so() {
    let mut cluster = Cluster::listed().with([object("mine", json!({ "ports": [80, 81] }))]);
    let mine = ObjectId::upstream(Key::new("shop", "mine"));
    assert_eq!(cluster.condition(&mine, "Accepted").problem.reason, "ServiceMissing");
    cluster.step([Change::Service(key(), Some(annotated(&[]))), scaled(0)]);
    let missing = cluster.condition(&mine, "Accepted");
    assert_eq!((missing.problem.reason.as_str(), missing.holds), ("PortMissing", false));
    assert!(missing.problem.message.ends_with("81") && cluster.board.in_effect.contains_key(&cart()));
}

#[test]
fn a_missing_target_is_told_and_found_when_it_comes() {
    let mut cluster = Cluster::listed();
    let facts = cluster.step([opted_in(&[])]);
    let Fact::Upstream(_, facts) = &facts[0] else { panic!("{facts:?}") };
    assert!(matches!(&facts.target, Target::Unresolved(problem) if problem.reason == "TargetNotFound"));
    assert_eq!(cluster.condition(&on_service(), "TargetResolved").problem.reason, "TargetNotFound");
    assert_eq!(kinds(&cluster.step([scaled(0)])), ["workload", "upstream"]);
    assert!(cluster.condition(&on_service(), "TargetResolved").holds);
}

#[test]
fn a_second_candidate_does_not_take_a_resolved_target_away() {
    let second = WorkloadId::new("shop", "StatefulSet.apps", "cart");
    let rival = Change::Workload(second.clone(), Some(workload(1)));
    let mut old = Cluster::listed().with([opted_in(&[]), scaled(1)]);
    assert!(old.step([rival.clone()]).is_empty());
    let ambiguous = old.condition(&on_service(), "TargetResolved");
    assert!(!ambiguous.holds && ambiguous.problem.message.contains("Deployment/cart stays"));
    let kept = old.notices[&on_service()].last_good.clone().expect("kept");
    let fresh = Cluster::listed().with([opted_in(&[("last-good", &kept)]), scaled(1), rival.clone()]);
    assert_eq!(fresh.board.in_effect, old.board.in_effect);
    let unknown = Cluster::listed().with([opted_in(&[]), scaled(1), rival]);
    assert!(matches!(unknown.board.in_effect[&cart()].facts.target, Target::Unresolved(_)));
}
