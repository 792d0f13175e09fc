//! The wake and drain protocols, run by the production plans and views through every interleaving of a small world:
//! one replica with lagging views, one node whose Envoy worker may be late, one workload, one client after another.

mod explore;
mod world;

use explore::{Explored, explore};
use world::{Rules, World};

#[test]
fn no_connection_is_lost_and_every_held_one_can_be_served() {
    match explore(World::start(), Rules::ALL) {
        Explored::Holds { states } => {
            assert!(states > 1_000, "the world is too small to prove anything: {states}");
        }
        Explored::Violated { what, trace } => panic!("{what}\n{}", trace.join("\n")),
    }
}

/// Without a rule the model must find what the rule is for; a model that cannot is blind.
fn violated_without(rules: Rules) -> String {
    match explore(World::start(), rules) {
        Explored::Holds { states } => panic!("nothing found in {states} states"),
        Explored::Violated { what, .. } => what,
    }
}

#[test]
fn d3_without_the_flush_barrier_a_late_worker_loses_a_connection() {
    violated_without(Rules { flush_barrier: false, ..Rules::ALL });
}

#[test]
fn d9_without_condemned_pods_a_lagging_view_routes_to_a_dying_pod() {
    violated_without(Rules { condemned_pods: false, ..Rules::ALL });
}

#[test]
fn d11_when_a_connection_does_not_cancel_an_offer_its_pod_is_ended_under_it() {
    violated_without(Rules { connection_cancels: false, ..Rules::ALL });
}

#[test]
fn d10_when_a_wake_does_not_wait_for_a_committed_drain_and_no_pin_covers_for_it_its_pod_is_ended() {
    violated_without(Rules { commit_first: false, pinned: false, ..Rules::ALL });
}
