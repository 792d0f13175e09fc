use zenvoy_shared::id::Protocol;
use zenvoy_shared::proto::upstream_activity::State;

use super::*;
use crate::activity::counters::Counters;

const SILENCE: Duration = Duration::from_secs(3);

fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

fn held(verdict: Verdict) -> Held {
    Held {
        upstream: cart(),
        activator: "127.0.0.1:20000".parse().unwrap(),
        protocol: Protocol::Http,
        wake_timeout: Duration::from_secs(60),
        max_held: 2,
        verdict,
        lacks: None,
        refused: None,
    }
}

fn node() -> Arc<Node> {
    let table = Arc::new(Table::default());
    table.set(held(Verdict::Hold { drain: None }));
    let node = Node::new(NodeId("node-1".into()), table, 3, SILENCE);
    node.track(Moment::now());
    node
}

fn held_place(node: &Arc<Node>) -> Place {
    let mut place = node.arrive(&held(Verdict::Hold { drain: None }));
    place.wait(Standing::Held, 2, Moment::now()).unwrap();
    place
}

#[test]
fn the_first_held_connection_is_news_and_so_is_the_end_of_the_last() {
    let node = node();
    let first = held_place(&node);
    let demand = node.news(Moment::now()).demand.expect("a new demand");
    assert_eq!(demand.held[0].upstream, "shop/cart:80");
    assert!(demand.held[0].traceparent.starts_with("00-"));
    let second = held_place(&node);
    assert_eq!(node.news(Moment::now()).demand, None);
    drop(first);
    assert_eq!(node.news(Moment::now()).demand, None);
    drop(second);
    assert_eq!(node.news(Moment::now()).demand, Some(proto::Demand::default()));
}

#[test]
fn a_connection_that_has_not_spoken_is_no_demand_and_no_activity() {
    let node = node();
    let mut place = node.arrive(&held(Verdict::Hold { drain: None }));
    place.wait(Standing::Silent, 2, Moment::now()).unwrap();
    let news = node.news(Moment::now());
    assert_eq!((news.demand, news.activity), (None, None));
    place.stand(Standing::Held, Moment::now());
    let news = node.news(Moment::now());
    assert!(news.demand.is_some());
    assert_eq!(news.activity.unwrap().upstreams[0].state, Some(State::Active(true)));
}

#[test]
fn more_than_the_cap_of_the_upstream_are_refused_and_counted() {
    let node = node();
    let _held = [held_place(&node), held_place(&node)];
    let mut third = node.arrive(&held(Verdict::Hold { drain: None }));
    assert_eq!(third.wait(Standing::Held, 2, Moment::now()), Err(Refused::Upstream(2)));
    let (counts, _) = node.counts(&cart());
    assert_eq!((counts.held, counts.refused, counts.arrived), (2, 1, 3));
}

#[test]
fn more_than_the_cap_of_the_node_are_refused_and_counted() {
    let node = node();
    let _held: Vec<Place> = (0..3)
        .map(|_| {
            let mut place = node.arrive(&held(Verdict::Hold { drain: None }));
            place.wait(Standing::Held, 100, Moment::now()).unwrap();
            place
        })
        .collect();
    let mut fourth = node.arrive(&held(Verdict::Hold { drain: None }));
    assert_eq!(fourth.wait(Standing::Silent, 100, Moment::now()), Err(Refused::Node(3)));
    assert_eq!((node.waiting(), node.counts(&cart()).0.refused), (3, 1));
}

#[test]
fn a_released_connection_is_no_demand_but_activity_until_it_ends() {
    let node = node();
    let mut place = held_place(&node);
    place.stand(Standing::Releasing, Moment::now());
    assert_eq!(node.hello(Moment::now()).demand, Some(proto::Demand::default()));
    place.stand(Standing::Held, Moment::now());
    assert_eq!(node.hello(Moment::now()).demand.unwrap().held.len(), 1, "held again: demanded again");
    place.stand(Standing::Relaying, Moment::now());
    assert_eq!((node.activity(&cart()), node.waiting()), (Activity::Active, 0));
    drop(place);
    assert_eq!(node.activity(&cart()), Activity::Unknown, "no Envoy has said anything");
}

#[test]
fn a_new_session_is_told_the_whole_and_then_only_changes() {
    let node = node();
    let _held = held_place(&node);
    let hello = node.hello(Moment::now());
    assert_eq!((hello.demand.unwrap().held.len(), hello.activity.unwrap().upstreams.len()), (1, 1));
    assert_eq!(node.news(Moment::now()), News::default());
}

#[test]
fn another_envoy_begins_a_new_epoch_and_the_first_does_not() {
    let node = node();
    let mut epoch = node.epoch();
    node.envoy_speaks(EnvoyId(1), Moment::now());
    assert!(!epoch.has_changed().unwrap());
    node.envoy_speaks(EnvoyId(2), Moment::now());
    assert!(epoch.has_changed().unwrap());
    epoch.mark_unchanged();
    node.envoy_gone(EnvoyId(1), Moment::now());
    assert!(!epoch.has_changed().unwrap());
}

/// The flush of a calm Envoy, taken `ms` after `from`.
fn calm(from: Moment, ms: u64) -> (Flush, Moment) {
    let later = Duration::from_millis(ms);
    let now = Moment { at: from.at + later, unix: from.unix + later };
    (Flush::with(Some(now.unix_ms()), &[(&cart(), Counters::default())]), now)
}

fn drained() -> (Arc<Node>, DrainId, Moment) {
    let (node, drain, start) = (node(), DrainId("drain-1".into()), Moment::now());
    node.table.set(held(Verdict::Hold { drain: Some(drain.clone()) }));
    node.envoy_speaks(EnvoyId(1), start);
    node.prove_quiet(drain.clone(), vec![cart()], start);
    (node, drain, start)
}

fn proven(node: &Node, from: Moment, times: &[u64]) -> Vec<proto::Quiet> {
    for ms in times {
        let (flush, now) = calm(from, *ms);
        node.flush(EnvoyId(1), &flush, now);
    }
    node.news(from).quiet
}

#[test]
fn a_proof_is_said_once_and_carries_the_epoch() {
    let (node, drain, start) = drained();
    let epoch = node.epoch().borrow().0.clone();
    assert_eq!(proven(&node, start, &[1, 1001, 2001, 3001]), [proto::Quiet { drain_id: drain.0, epoch }]);
    assert_eq!(proven(&node, start, &[4001]), []);
}

#[test]
fn a_connection_that_is_held_meanwhile_starts_the_proof_over() {
    let (node, _, start) = drained();
    assert_eq!(proven(&node, start, &[1, 1001]), []);
    drop(held_place(&node));
    assert_eq!(proven(&node, start, &[2001, 3001]), []);
    assert_eq!(proven(&node, start, &[4001]).len(), 1);
}

#[test]
fn while_two_envoys_live_nothing_is_proven() {
    let (node, _, start) = drained();
    node.envoy_speaks(EnvoyId(2), start);
    assert_eq!(proven(&node, start, &[1, 1001, 2001, 3001]), []);
    assert_eq!(node.activity(&cart()), Activity::Unknown);
}

/// Rule N5, and the same with the rule switched off: the Envoy that another takes the place of is taken for gone while it still
/// serves a request, which stands in its own statistics only.
#[test]
fn n5_with_the_earlier_envoy_not_counted_a_node_with_an_open_request_is_proven_quiet() {
    let proven = |counted: bool| {
        let (node, _, start) = drained();
        node.envoy_speaks(EnvoyId(2), start);
        if !counted {
            node.envoy_gone(EnvoyId(1), start);
        }
        for ms in [1, 1001, 2001, 3001] {
            let (flush, now) = calm(start, ms);
            let open = Counters { requests_active: 1, requests: 1, ..Counters::default() };
            node.flush(EnvoyId(1), &Flush::with(Some(now.unix_ms()), &[(&cart(), open)]), now);
            node.flush(EnvoyId(2), &flush, now);
        }
        node.news(start).quiet.len()
    };
    assert_eq!((proven(true), proven(false)), (0, 1));
}

#[test]
fn a_proof_that_was_withdrawn_is_not_said() {
    let (node, drain, start) = drained();
    for ms in [1, 1001, 2001] {
        let (flush, now) = calm(start, ms);
        node.flush(EnvoyId(1), &flush, now);
    }
    node.withdraw_proof(&drain);
    assert_eq!(node.news(start).quiet, []);
}

#[test]
fn upstreams_that_left_the_table_are_forgotten_once_their_connections_ended() {
    let node = node();
    let place = held_place(&node);
    node.table.remove(&cart());
    node.track(Moment::now());
    assert_eq!(node.counts(&cart()).0.held, 1);
    drop(place);
    node.track(Moment::now());
    assert_eq!(node.counts(&cart()).0, Counts::default());
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn standing() -> impl Strategy<Value = Option<Standing>> {
        prop_oneof![
            Just(None),
            Just(Some(Standing::Silent)),
            Just(Some(Standing::Held)),
            Just(Some(Standing::Releasing)),
            Just(Some(Standing::Relaying)),
        ]
    }

    proptest! {
        /// Whatever connections do: demand is what is held, activity what is open, and nothing is left when all ended.
        #[test]
        fn the_account_is_the_sum_of_its_places(moves in prop::collection::vec((0..4_usize, standing()), 0..60)) {
            let node = node();
            let mut places: [Option<Place>; 4] = Default::default();
            for (which, to) in moves {
                match to {
                    None => places[which] = None,
                    Some(to) => {
                        let arrive = || node.arrive(&held(Verdict::Hold { drain: None }));
                        places[which].get_or_insert_with(arrive).stand(to, Moment::now());
                    }
                }
                let at = |standing| {
                    let count = places.iter().flatten().filter(|place| place.standing() == standing).count();
                    u32::try_from(count).unwrap()
                };
                let (counts, demand) = node.counts(&cart());
                prop_assert_eq!(counts.silent, at(Standing::Silent));
                prop_assert_eq!(counts.held, at(Standing::Held));
                prop_assert_eq!(counts.releasing, at(Standing::Releasing));
                prop_assert_eq!(counts.relaying, at(Standing::Relaying));
                prop_assert_eq!(demand.is_some(), counts.held > 0);
                prop_assert_eq!(node.waiting(), counts.silent + counts.held + counts.releasing);
                let open = counts.held + counts.releasing + counts.relaying;
                prop_assert_eq!(node.activity(&cart()) == Activity::Active, open > 0);
            }
            drop(places);
            prop_assert_eq!((node.waiting(), node.relaying()), (0, 0));
            prop_assert_eq!(node.hello(Moment::now()).demand, Some(proto::Demand::default()));
        }

        /// A session that takes news at any moments knows in the end what one that opens then is told.
        #[test]
        fn news_add_up_to_the_whole(moves in prop::collection::vec((0..4_usize, standing(), any::<bool>()), 0..60)) {
            let node = node();
            let mut told = node.hello(Moment::now()).demand;
            let mut places: [Option<Place>; 4] = Default::default();
            for (which, to, take) in moves {
                match to {
                    None => places[which] = None,
                    Some(to) => {
                        let arrive = || node.arrive(&held(Verdict::Hold { drain: None }));
                        places[which].get_or_insert_with(arrive).stand(to, Moment::now());
                    }
                }
                if take && let Some(demand) = node.news(Moment::now()).demand {
                    told = Some(demand);
                }
            }
            told = node.news(Moment::now()).demand.or(told);
            prop_assert_eq!(told, node.hello(Moment::now()).demand);
        }
    }
}
