//! The production core, executor and plans of two replicas in a simulated world of two nodes, one workload, a store and an
//! API server. Views lag independently, writes go unanswered, the store goes for one replica or for all, leases end, replicas
//! crash, stand still and take over from each other, sessions break, nodes and proxies restart and leave, Envoy's worker is
//! late, a quota refuses pods; a seed decides. Invariants are those of the design (I1, I2, I3, I5), and that everything held is
//! served or failed with a reason in the end, and everything idle sleeps.
//!
//! Each rule of the protocols that the world asks for can be switched off, and then something must be found.
//!
//! `ZENVOY_SIMULATION_SEEDS=10000-20000` runs others than the fixed ones.

mod api;
mod counterexamples;
mod node;
mod replica;
mod rules;
mod store;
mod watchdog;
mod world;

use std::collections::BTreeMap;

use rules::Rules;
use world::{Seen, World};

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
    let mut seen = Seen::default();
    for seed in seeds() {
        match World::new(seed, Rules::ALL).run(STEPS) {
            Ok(run) => seen += run,
            Err((violation, _)) => {
                let (_, trace) =
                    World::told(seed, Rules::ALL).run(STEPS).expect_err("the same happens again");
                let tail = trace.len().saturating_sub(150);
                panic!("seed {seed}: {violation}\n{}", trace[tail..].join("\n"));
            }
        }
    }
    println!("{seen:?}");
    assert!(seen.served > 1_000 && seen.wakes > 150 && seen.sleeps > 150, "too little happened: {seen:?}");
    assert!(
        seen.failed > 50 && seen.two_led > 150 && seen.woken_alone > 10,
        "too little went wrong: {seen:?}"
    );
}

/// Without a rule some seed must find what the rule is for; a simulation that cannot is blind.
fn violated_without(rules: Rules, violations: &[&str]) {
    let mut others = BTreeMap::<String, u32>::new();
    for seed in 0..400 {
        match World::new(seed, rules).endures(STEPS) {
            Some(what) if violations.iter().any(|violation| what.starts_with(violation)) => return,
            Some(what) => *others.entry(what).or_default() += 1,
            None => {}
        }
    }
    panic!("nothing found without a rule, but {others:?}: {rules:?}");
}

/// Any of these is a connection lost.
const LOST: &[&str] = &["I2", "I5"];

#[test]
fn d3_without_the_flush_barrier_a_late_worker_loses_a_connection() {
    violated_without(Rules { flush_barrier: false, ..Rules::ALL }, LOST);
}

#[test]
fn n4_when_a_timer_forgets_a_node_its_pods_are_ended_under_its_connections() {
    violated_without(Rules { no_timer: false, ..Rules::ALL }, LOST);
}

#[test]
fn w1_opened_without_comparing_a_wake_replaces_the_one_that_goes_on() {
    violated_without(Rules { wake_compares: false, ..Rules::ALL }, &["W1"]);
}
