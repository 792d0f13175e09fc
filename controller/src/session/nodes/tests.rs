use super::*;

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

fn node(n: u8) -> NodeId {
    NodeId(format!("node-{n}"))
}

fn epoch() -> NodeEpoch {
    NodeEpoch("epoch-1".into())
}

fn idle(seconds: u64, now: u64) -> Activity {
    Activity::idle_for(Duration::from_secs(seconds), at(now))
}

fn demand(since: u64) -> BTreeMap<UpstreamId, Demand> {
    BTreeMap::from([(cart(), Demand { traceparent: String::new(), since_unix_nanos: since })])
}

fn about() -> BTreeSet<UpstreamId> {
    BTreeSet::from([cart()])
}

fn with_activity(activity: &[Option<Activity>]) -> Nodes {
    let mut nodes = Nodes::default();
    for (n, activity) in (1u8..).zip(activity) {
        let said = activity.map(|activity| (cart(), activity));
        nodes.open(node(n), epoch(), BTreeMap::new(), said);
    }
    nodes
}

const TEN: Duration = Duration::from_secs(10);

fn is_idle(nodes: &Nodes, idle_after: Duration, now: u64) -> bool {
    nodes.idle_at(&cart(), idle_after).is_some_and(|idle| idle <= at(now))
}

#[test]
fn an_upstream_is_idle_only_when_it_is_on_every_node() {
    assert!(is_idle(&with_activity(&[Some(idle(10, 100)), Some(idle(20, 100))]), TEN, 100));
    assert!(!is_idle(&with_activity(&[Some(idle(10, 100)), Some(idle(9, 100))]), TEN, 100));
    assert!(!is_idle(&with_activity(&[Some(idle(10, 100)), Some(Activity::Active)]), TEN, 100));
}

#[test]
fn what_a_node_never_mentioned_is_not_idle() {
    assert!(!is_idle(&with_activity(&[Some(idle(10, 100)), None]), TEN, 100));
    assert!(!is_idle(&with_activity(&[Some(Activity::Unknown)]), TEN, 100));
    assert_eq!(with_activity(&[None]).idle_at(&cart(), TEN), None);
}

#[test]
fn a_node_that_was_idle_before_this_replica_started_is_not_made_young() {
    let nodes = with_activity(&[Some(idle(3_600, 1))]);
    assert!(is_idle(&nodes, Duration::from_secs(1_800), 1));
    assert_eq!(nodes.idle_for(&cart(), at(2)), Some(Duration::from_secs(3_601)));
}

#[test]
fn a_node_that_was_idle_before_this_replica_started_is_not_made_old() {
    let nodes = with_activity(&[Some(idle(8, 1))]);
    assert!(!is_idle(&nodes, TEN, 2));
    assert_eq!(nodes.idle_at(&cart(), TEN), Some(at(3)));
}

#[test]
fn the_moment_it_becomes_idle_is_that_of_the_last_node() {
    let nodes = with_activity(&[Some(idle(10, 100)), Some(idle(4, 100))]);
    assert_eq!(nodes.idle_at(&cart(), TEN), Some(at(106)));
}

#[test]
fn the_longest_held_demand_speaks_for_the_upstream() {
    let mut nodes = Nodes::default();
    nodes.open(node(1), epoch(), demand(20), []);
    nodes.open(node(2), epoch(), demand(10), []);
    assert_eq!(nodes.demanded(&cart()).map(|held| held.since_unix_nanos), Some(10));
    nodes.close(&node(2));
    nodes.demand(&node(1), BTreeMap::new());
    assert_eq!(nodes.demanded(&cart()), None);
}

#[test]
fn a_replica_vouches_only_when_all_its_registered_nodes_proved_quiet() {
    let drain = DrainId("drain-1".into());
    let mut nodes = with_activity(&[Some(idle(10, 100)), Some(idle(10, 100))]);
    nodes.register(&node(1), Revision(5));
    nodes.register(&node(2), Revision(6));
    nodes.quiet(&node(1), &epoch(), drain.clone(), about());
    assert_eq!(nodes.vouched(&drain), None);
    nodes.quiet(&node(2), &epoch(), drain.clone(), about());
    let both = BTreeMap::from([("node-1".into(), Revision(5)), ("node-2".into(), Revision(6))]);
    assert_eq!(nodes.vouched(&drain), Some(both));
}

#[test]
fn demand_activity_a_new_session_and_a_resync_each_withdraw_a_proof() {
    let drain = DrainId("drain-1".into());
    let proven = || {
        let mut nodes = with_activity(&[Some(idle(10, 100))]);
        nodes.register(&node(1), Revision(5));
        nodes.quiet(&node(1), &epoch(), drain.clone(), about());
        assert!(nodes.vouched(&drain).is_some());
        nodes
    };
    let withdraw: [&dyn Fn(&mut Nodes); 4] = [
        &|nodes| drop(nodes.demand(&node(1), demand(1))),
        &|nodes| nodes.activity(&node(1), &cart(), Activity::Active),
        &|nodes| drop(nodes.open(node(1), epoch(), BTreeMap::new(), [])),
        &Nodes::drop_proofs,
    ];
    for step in withdraw {
        let mut nodes = proven();
        step(&mut nodes);
        assert_eq!(nodes.vouched(&drain), None);
    }
}

#[test]
fn a_demand_beyond_the_quota_wakes_nothing_and_is_not_quiet() {
    let drain = DrainId("drain-1".into());
    let mut nodes = with_activity(&[Some(idle(10, 100))]);
    nodes.register(&node(1), Revision(5));
    nodes.quiet(&node(1), &epoch(), drain.clone(), about());
    nodes.over_quota(&node(1), about());
    assert_eq!((nodes.demanded(&cart()), nodes.vouched(&drain)), (None, None));
    nodes.quiet(&node(1), &epoch(), drain.clone(), about());
    assert_eq!(nodes.vouched(&drain), None);
}

#[test]
fn a_proof_of_another_start_of_the_node_is_void() {
    let drain = DrainId("drain-1".into());
    let mut nodes = with_activity(&[None]);
    nodes.register(&node(1), Revision(5));
    nodes.quiet(&node(1), &NodeEpoch("epoch-0".into()), drain.clone(), about());
    assert_eq!(nodes.vouched(&drain), None);
}

#[test]
fn a_node_that_goes_names_what_it_alone_kept_from_being_idle_and_what_it_was_idle_on_last() {
    let mut nodes = with_activity(&[Some(idle(10, 100)), Some(Activity::Active), Some(idle(20, 100))]);
    let idle = |moved: Moved| moved.idle.into_iter().collect::<Vec<_>>();
    assert_eq!(idle(nodes.close(&node(3))), [], "another keeps it up");
    nodes.open(node(3), epoch(), BTreeMap::new(), [(cart(), idle_said())]);
    assert_eq!(idle(nodes.close(&node(2))), [cart()]);
    assert_eq!(nodes.idle_at(&cart(), TEN), Some(at(105)));
    assert_eq!(idle(nodes.close(&node(3))), [cart()], "idle sooner without it");
    assert_eq!(nodes.idle_at(&cart(), TEN), Some(at(100)));
}

fn idle_said() -> Activity {
    idle(5, 100)
}

#[test]
fn a_node_that_comes_anew_names_what_it_is_idle_on_now() {
    let mut nodes = with_activity(&[Some(Activity::Active)]);
    let moved = nodes.open(node(1), epoch(), BTreeMap::new(), [(cart(), idle_said())]);
    assert_eq!(moved.idle, about());
}
