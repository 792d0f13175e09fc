//! What happens without a rule where chance takes long to come upon it: each scene ends well with the rule, and with a
//! violation without it.

use crate::rules::Rules;
use crate::world::World;

fn ends_badly_only_without(rules: Rules, violation: &str, scene: impl Fn(&mut World)) {
    for seed in 0..3 {
        let ends = |rules: Rules| {
            let mut world = World::new(3 * seed, rules);
            scene(&mut world);
            world.goes_on(6_000);
            world.violated()
        };
        assert_eq!(ends(Rules::ALL), None, "with all rules");
        let found = ends(rules).unwrap_or_default();
        assert!(found.starts_with(violation), "without the rule: {found:?}");
    }
}

/// Each node has its session with a replica of its own.
fn served_by_one_each(world: &mut World) {
    world.serve_all_at(0);
    world.moves(1, 1);
    world.until("the node is served again", |world| world.is_welcome(1));
}

/// A drain that every node has proven quiet for, and whose commit is under way at the leader. The other replica has not even
/// seen the offer.
fn about_to_commit(world: &mut World) {
    world.awake();
    world.until("a drain is offered", World::is_offered);
    world.replica(1).lags = true;
    world.until("a commit is under way", |world| world.is_about_to(0, "commit"));
}

#[test]
fn n1_when_ads_moves_alone_envoy_goes_back_to_pods_behind_a_proof() {
    ends_badly_only_without(Rules { one_fate: false, ..Rules::ALL }, "I5", |world| {
        about_to_commit(world);
        world.ads_goes_to(1, 1);
        world.catches_up(1, 0);
        world.connect(1);
        world.does(0, "commit");
        world.replica(1).lags = false;
    });
}

/// A node that nobody knows comes to a replica that alone has lost the store, and a client to the node.
fn comes_to_a_replica_that_lost_the_store(world: &mut World) {
    world.awake();
    world.is_without_store(1);
    world.says_goodbye(1);
    world.moves(1, 1);
    world.until("it is welcomed somewhere", |world| world.is_welcome(1));
    world.is_up_to_date(1);
    world.connect(1);
}

#[test]
fn n2_a_node_that_one_replica_cannot_register_is_overlooked_by_a_drain() {
    let neither = Rules { relayed_unregistered: false, all_asked: false, ..Rules::ALL };
    ends_badly_only_without(neither, "I5", comes_to_a_replica_that_lost_the_store);
}

#[test]
fn n2_routes_to_the_activator_do_not_save_what_an_unregistered_node_relays() {
    let unasked = Rules { all_asked: false, ..Rules::ALL };
    ends_badly_only_without(unasked, "I5", comes_to_a_replica_that_lost_the_store);
}

#[test]
fn n3_a_node_that_moves_to_a_lagging_replica_goes_back_to_pods_before_the_commit() {
    ends_badly_only_without(Rules { registered_first: false, ..Rules::ALL }, "I5", |world| {
        about_to_commit(world);
        world.moves(1, 1);
        world.catches_up(1, 1);
        world.connect(1);
        world.does(0, "commit");
        world.replica(1).lags = false;
    });
}

#[test]
fn d5_a_commit_that_compares_too_little_overlooks_a_node_that_moved_and_its_wake() {
    ends_badly_only_without(Rules { full_commit: false, ..Rules::ALL }, "I5", |world| {
        world.awake();
        world.until("a commit is under way", |world| world.is_about_to(0, "commit"));
        world.stands_still(0, true);
        world.moves(1, 1);
        world.connect(1);
        world.until("the offer is cancelled by a connection, which is served", World::serves_somebody);
        world.does(0, "commit");
        world.stands_still(0, false);
    });
}

#[test]
fn d6_and_d7_a_late_scale_down_ends_the_next_wakes_pods() {
    ends_badly_only_without(Rules { pinned: false, ..Rules::ALL }, "I5", |world| {
        world.awake();
        world.until("a scale-down is under way", |world| world.is_about_to(0, "scale down"));
        world.stands_still(0, true);
        world.leads(1);
        world.until("the drain is through", World::sleeps);
        world.serve_all_at(1);
        world.connect(0);
        world.until("the next wake serves", World::serves_somebody);
        world.does(0, "scale down");
        world.stands_still(0, false);
    });
}

#[test]
fn w3_a_late_scale_up_wakes_what_nobody_asks_for() {
    ends_badly_only_without(Rules { seen_at_zero: false, ..Rules::ALL }, "I1", |world| {
        world.serve_all_at(0);
        world.connect(0);
        world.until("a scale-up is under way", |world| world.is_about_to(0, "scale up"));
        world.stands_still(0, true);
        world.leads(1);
        world.serve_all_at(1);
        world.until("the wake serves", World::serves_somebody);
        world.hang_up();
        world.is_taken_for_dead(0);
        world.until("it sleeps again", World::sleeps);
        world.does(0, "scale up");
        world.stands_still(0, false);
    });
}

#[test]
fn g1_a_drain_that_ends_on_cached_reads_overlooks_a_pod_that_is_not_ready_yet() {
    ends_badly_only_without(Rules { quorum_reads: false, ..Rules::ALL }, "I5", |world| {
        world.serve_all_at(0);
        world.freeze(true);
        world.connect(0);
        world.until("it is scaled up", |world| world.replicas_asked_for() == 1);
        world.a_pod_starts();
        // Nobody waits for it any more.
        world.held_clients_go(0);
        world.until("it is scaled down", |world| world.replicas_asked_for() == 0);
        world.goes_on(3_000);
        world.pods_become_ready();
        world.goes_on(3_000);
        world.connect(0);
        world.goes_on(3_000);
        world.freeze(false);
    });
}

#[test]
fn d8_a_drain_that_lists_no_pods_ends_while_one_that_came_after_the_commit_lives() {
    ends_badly_only_without(Rules { living_pods: false, ..Rules::ALL }, "I5", |world| {
        world.awake();
        world.freeze(true);
        world.until("a scale-down is under way", |world| world.is_about_to(0, "scale down"));
        world.a_pod_is_replaced();
        world.does(0, "scale down");
        world.goes_on(3_000);
        world.connect(0);
        world.goes_on(3_000);
        world.freeze(false);
    });
}

#[test]
fn g3_a_list_that_ends_nothing_leaves_a_node_that_is_gone_and_nothing_sleeps() {
    ends_badly_only_without(Rules { lists_end: false, ..Rules::ALL }, "it never sleeps", |world| {
        world.awake();
        served_by_one_each(world);
        world.replica(0).lags = true;
        world.says_goodbye(1);
        world.lists_anew(0);
        world.replica(0).lags = false;
        world.goes_on(6_000);
        world.must("it never sleeps", World::sleeps);
    });
}

#[test]
fn g4_a_workload_that_is_created_anew_inherits_a_scale_down() {
    ends_badly_only_without(Rules { uids: false, ..Rules::ALL }, "I5", |world| {
        world.awake();
        world.until("a scale-down is under way", |world| world.is_about_to(0, "scale down"));
        world.the_object_is_recreated();
        world.does(0, "scale down");
    });
}

#[test]
fn w2_a_replica_that_sees_no_pods_leaves_those_waiting_that_others_woke() {
    let violation = "a held connection waits for a view that stands still";
    ends_badly_only_without(Rules { names_pods: false, ..Rules::ALL }, violation, |world| {
        served_by_one_each(world);
        world.is_blind(1, true);
        world.connect(1);
        world.goes_on(6_000);
        world.must(violation, World::serves_somebody);
        world.is_blind(1, false);
    });
}

#[test]
fn d4_an_acknowledgement_for_a_node_of_another_replica_ends_its_pods() {
    ends_badly_only_without(Rules { own_nodes_only: false, ..Rules::ALL }, "I2", |world| {
        world.awake();
        served_by_one_each(world);
        world.stalls(0, true);
        world.goes_on(6_000);
        world.connect(0);
        world.stalls(0, false);
    });
}

#[test]
fn g5_a_leader_that_writes_over_what_it_did_not_decide_on_loses_a_wake() {
    ends_badly_only_without(Rules { decided_on: false, ..Rules::ALL }, "W1", |world| {
        served_by_one_each(world);
        world.freeze(true);
        world.connect(0);
        world.until("it is scaled up", |world| world.replicas_asked_for() == 1);
        world.a_pod_starts();
        world.pods_become_ready();
        world.until("its wake is about to be retired", |world| world.is_about_to(0, "retire"));
        world.replica(0).lags = true;
        world.does_unanswered(0, "retire");
        world.until("it is about to be again", |world| world.is_about_to(0, "retire"));
        world.stands_still(0, true);
        world.held_clients_go(0);
        world.the_pods_are_lost();
        world.until("the other replica knows", |world| world.is_at_activator(1) && !world.is_asked_for());
        world.connect(1);
        world.until("it is asked for again", World::is_asked_for);
        world.does(0, "retire");
        world.stands_still(0, false);
        world.replica(0).lags = false;
        world.freeze(false);
    });
}

#[test]
fn n5_a_node_that_came_back_as_the_same_is_taken_for_the_one_that_left() {
    ends_badly_only_without(Rules { epochs: false, ..Rules::ALL }, "I5", |world| {
        world.awake();
        world.is_about_to_leave(1, 0);
        world.stands_still(0, true);
        world.moves(1, 1);
        world.until("it is back", |world| world.is_welcome(1));
        world.connect(1);
        world.does(0, "forget a node");
        world.stands_still(0, false);
    });
}
