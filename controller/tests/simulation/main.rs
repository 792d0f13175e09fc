//! The production core, executor and plans of two replicas in a simulated world of two nodes, one workload, a store and an
//! API server. Views lag independently, writes go unanswered, leases end, replicas crash and take over from each other,
//! sessions break, nodes restart, Envoy's worker is late; a seed decides. Invariants are those of the design (I1, I2, I5),
//! and that everything held is served in the end and everything idle sleeps.
//!
//! `ZENVOY_SIMULATION_SEEDS=10000-20000` runs others than the fixed ones.

mod api;
mod node;
mod replica;
mod store;
mod world;

use world::{Rules, World};

/// Each is something that happens to one part.
const STEPS: usize = 3_000;

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("ZENVOY_SIMULATION_SEEDS").ok();
    let parsed = given.as_deref().and_then(|text| {
        let (first, end) = text.split_once('-')?;
        Some(first.parse().ok()?..end.parse().ok()?)
    });
    parsed.unwrap_or(0..150)
}

#[test]
fn whatever_breaks_no_connection_is_lost_and_no_episode_is_scaled_twice() {
    let (mut served, mut wakes, mut sleeps) = (0, 0, 0);
    for seed in seeds() {
        match World::new(seed, Rules::ALL).run(STEPS) {
            Ok(seen) => {
                served += seen.served;
                wakes += seen.wakes;
                sleeps += seen.sleeps;
            }
            Err((violation, trace)) => {
                let tail = trace.len().saturating_sub(150);
                panic!("seed {seed}: {violation}\n{}", trace[tail..].join("\n"));
            }
        }
    }
    println!("{served} connections served, {wakes} wakes, {sleeps} sleeps");
    assert!(served > 1_000 && wakes > 150 && sleeps > 150, "{served} served, {wakes} wakes, {sleeps} sleeps");
}

/// Without a rule some seed must find what the rule is for; a simulation that cannot is blind.
fn violated_without(rules: Rules) {
    let found = (0..2_000).any(|seed| World::new(seed, rules).run(STEPS).is_err());
    assert!(found, "nothing found without a rule: {rules:?}");
}

#[test]
fn without_the_flush_barrier_a_late_worker_loses_a_connection() {
    violated_without(Rules { flush_barrier: false, ..Rules::ALL });
}

#[test]
fn served_before_its_registration_is_watched_a_node_reaches_a_dying_pod() {
    violated_without(Rules { registered_first: false, ..Rules::ALL });
}
