//! The production election of three replicas in a simulated world: they pause, crash, lose answers, are cut off from the
//! store or the API server, and their wall clocks jump; writes arrive late; a seed decides.
//!
//! `ZENVOY_SIMULATION_SEEDS=10000-20000` runs others than the fixed ones.

use crate::world::{Rules, World};

/// About ten minutes of the world.
const STEPS: usize = 6_000;

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("ZENVOY_SIMULATION_SEEDS").ok();
    let parsed = given.as_deref().and_then(|text| {
        let (first, end) = text.split_once('-')?;
        Some(first.parse().ok()?..end.parse().ok()?)
    });
    parsed.unwrap_or(0..200)
}

#[test]
fn one_leads_at_a_time_nobody_writes_past_its_term_and_whoever_can_lead_does() {
    let mut terms = 0;
    for seed in seeds() {
        match World::new(seed, Rules::ALL).run(STEPS) {
            Ok(taken) => terms += taken,
            Err((violation, trace)) => {
                let tail = trace.len().saturating_sub(80);
                panic!("seed {seed}: {violation}\n{}", trace[tail..].join("\n"));
            }
        }
    }
    assert!(terms > 1_000, "too little happened to prove anything: {terms} terms");
}

/// Without a rule some seed must find what the rule is for; a simulation that cannot is blind.
fn violated_without(rules: Rules, violation: &str) {
    let found = (0..1_000).any(|seed| match World::new(seed, rules).run(STEPS) {
        Ok(_) => false,
        Err((what, _)) => what.contains(violation),
    });
    assert!(found, "nothing found without a rule: {rules:?}");
}

#[test]
fn without_compare_and_swap_two_hold_the_lease() {
    violated_without(Rules { compare_and_swap: false, ..Rules::ALL }, "lead at once");
}

#[test]
fn with_wall_clocks_a_live_lease_is_stolen() {
    violated_without(Rules { monotonic_expiry: false, ..Rules::ALL }, "lead at once");
}

#[test]
fn counted_from_the_answer_a_holder_believes_for_too_long() {
    violated_without(Rules { counts_from_asking: false, ..Rules::ALL }, "lead at once");
}

#[test]
fn without_fencing_a_write_arrives_in_a_later_term() {
    violated_without(Rules { fencing: false, ..Rules::ALL }, "written in a later term");
}

#[test]
fn a_leader_without_the_store_that_does_not_let_go_keeps_others_from_leading() {
    violated_without(Rules { lets_go: false, ..Rules::ALL }, "nobody leads");
}

#[test]
fn a_term_observed_after_the_lease_is_taken_from_its_rightful_leader() {
    violated_without(Rules { term_before_lease: false, ..Rules::ALL }, "lost its term");
}
