use super::*;

fn resource() -> proto::HeldUpstream {
    proto::HeldUpstream {
        upstream: "shop/cart:80".into(),
        activator_address: "127.0.0.1:20000".into(),
        protocol: proto::Protocol::Http.into(),
        limits: Some(proto::Limits { wake_timeout_ms: 60_000, max_held: 10 }),
        verdict: Some(ProtoVerdict::Hold(proto::Hold::default())),
        ..Default::default()
    }
}

#[test]
fn a_resource_that_makes_no_sense_is_named_with_its_upstream() {
    let forward = |endpoints: &[&str]| {
        let endpoints = endpoints.iter().map(ToString::to_string).collect();
        Some(ProtoVerdict::Forward(proto::Forward { endpoints }))
    };
    let bad = [
        proto::HeldUpstream { verdict: None, ..resource() },
        proto::HeldUpstream { verdict: forward(&[]), ..resource() },
        proto::HeldUpstream { verdict: forward(&["pod:80"]), ..resource() },
        proto::HeldUpstream { verdict: forward(&["10.0.0.1:80", "127.0.0.1:20000"]), ..resource() },
        proto::HeldUpstream { limits: None, ..resource() },
        proto::HeldUpstream { limits: Some(proto::Limits::default()), ..resource() },
        proto::HeldUpstream { protocol: 99, ..resource() },
    ];
    for held in bad {
        let error = Held::try_from(held).unwrap_err().to_string();
        assert!(error.contains("shop/cart:80"), "{error}");
    }
}

#[test]
fn who_waits_on_an_address_is_told_of_the_new_verdict_and_of_the_end() {
    let table = Table::default();
    let held = Held::try_from(resource()).unwrap();
    table.set(held.clone());
    let mut row = table.get(held.activator).unwrap();
    let pods = Verdict::Forward(vec!["10.42.0.1:80".parse().unwrap(), "[fd00::1]:80".parse().unwrap()]);
    table.set(Held { verdict: pods.clone(), ..held.clone() });
    assert_eq!(row.borrow_and_update().verdict, pods);
    table.remove(&held.upstream);
    assert!(row.has_changed().is_err() && table.get(held.activator).is_none());
}

#[test]
fn a_refusal_takes_the_place_of_holding_and_of_nothing_else_for_its_time() {
    let table = Table::default();
    let held = Held::try_from(resource()).unwrap();
    table.set(held.clone());
    let mut row = table.get(held.activator).unwrap();
    let now = Instant::now();
    let until = now + Duration::from_secs(5);
    let verdict =
        Verdict::Fail { reason: "Quota".into(), message: String::new(), retry_after: Duration::ZERO };
    table.refuse(&held.upstream, Refused { verdict: verdict.clone(), until });
    assert!(row.has_changed().unwrap(), "what waits is told");
    table.set(held.clone());
    assert_eq!(row.borrow_and_update().verdict_at(now), &verdict, "a new row does not take it back");
    assert_eq!(row.borrow().verdict_at(until), &held.verdict);
    let pods = Verdict::Forward(vec!["10.42.0.1:80".parse().unwrap()]);
    table.set(Held { verdict: pods.clone(), ..held });
    assert_eq!(row.borrow_and_update().verdict_at(now), &pods, "another node may have woken it");
}

#[test]
fn an_upstream_that_moved_leaves_its_old_address() {
    let table = Table::default();
    let held = Held::try_from(resource()).unwrap();
    table.set(held.clone());
    let moved: ActivatorAddress = "127.0.0.1:20001".parse().unwrap();
    table.set(Held { activator: moved, ..held });
    assert_eq!(table.addresses(), [moved]);
}

#[test]
fn an_address_that_goes_to_another_upstream_ends_what_waits_on_the_first() {
    let table = Table::default();
    let held = Held::try_from(resource()).unwrap();
    table.set(held.clone());
    let row = table.get(held.activator).unwrap();
    let other = UpstreamId::new("shop", "other", 80);
    table.set(Held { upstream: other.clone(), ..held.clone() });
    assert!(row.has_changed().is_err(), "its connections must not reach another upstream");
    assert!(table.of(&held.upstream).is_none());
    assert_eq!(table.of(&other).unwrap().activator, held.activator);
}

#[test]
fn the_layout_changes_with_addresses_and_not_with_verdicts() {
    let table = Table::default();
    let mut layout = table.layout();
    let held = Held::try_from(resource()).unwrap();
    table.set(held.clone());
    assert!(layout.has_changed().unwrap());
    layout.mark_unchanged();
    let drain = Some(DrainId("drain-1".into()));
    table.set(Held { verdict: Verdict::Hold { drain }, ..held.clone() });
    assert!(!layout.has_changed().unwrap());
    table.remove(&held.upstream);
    assert!(layout.has_changed().unwrap());
}

fn forward() -> Verdict {
    Verdict::Forward(vec!["10.42.0.1:80".parse().unwrap()])
}

fn hold(drain: Option<&str>) -> Verdict {
    Verdict::Hold { drain: drain.map(|id| DrainId(id.into())) }
}

/// A table with one upstream, and what becomes of its verdict.
fn with(verdict: Verdict) -> (Table, impl Fn(&Table, Verdict) -> Verdict) {
    let table = Table::default();
    let held = Held::try_from(resource()).unwrap();
    table.set(Held { verdict, ..held.clone() });
    let said = move |table: &Table, verdict| {
        table.set(Held { verdict, ..held.clone() });
        table.of(&held.upstream).unwrap().verdict.clone()
    };
    (table, said)
}

#[test]
fn what_may_drain_is_kept_by_an_unregistered_node_until_it_was_seen_cold() {
    let (table, said) = with(hold(Some("drain-1")));
    table.begin(Standing::Unregistered);
    assert_eq!(said(&table, forward()), hold(Some("drain-1")), "the controller may not know of the drain");
    table.said_all();
    assert_eq!(said(&table, hold(None)), hold(None));
    assert_eq!(said(&table, forward()), forward(), "what is ready now came after");
}

#[test]
fn what_is_cold_to_both_wakes_and_what_is_warm_stays_so_while_the_node_is_unregistered() {
    let (table, said) = with(hold(None));
    table.begin(Standing::Unregistered);
    table.said_all();
    assert_eq!(said(&table, forward()), forward());
    table.begin(Standing::Unregistered);
    assert_eq!(said(&table, forward()), forward());
}

#[test]
fn a_verdict_that_was_kept_back_is_followed_once_the_node_is_registered_unless_another_is_said() {
    for (then, verdict) in [(None, forward()), (Some(hold(Some("drain-2"))), hold(Some("drain-2")))] {
        let (table, said) = with(hold(Some("drain-1")));
        table.begin(Standing::Unregistered);
        said(&table, forward());
        table.said_all();
        table.begin(Standing::Registered);
        then.map(|then| said(&table, then));
        table.said_all();
        assert_eq!(table.all()[0].verdict, verdict);
    }
}
