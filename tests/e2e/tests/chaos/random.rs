//! Faults at random, for as long as one likes: `make chaos SEED=… MINUTES=…`. The same seed brings the same faults in the same
//! order; when exactly each part meets them is the machine's to decide.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fault::Fault;
use crate::stage::{Stage, on_a_fleet_within};
use crate::traffic::Traffic;

/// Faults between two checks.
const ROUND: usize = 4;

fn told(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => otherwise,
    }
}

#[test]
#[ignore = "it takes as long as it is told: make chaos"]
fn no_invariant_breaks_under_random_faults() {
    let (seed, minutes) = (told("SEED", 1), told("MINUTES", 5));
    let lasts = Duration::from_secs(60 * minutes);
    eprintln!("SEED={seed} MINUTES={minutes}");
    // A round that has begun is ended.
    on_a_fleet_within(lasts + Duration::from_secs(600), async move |stage| {
        let (mut random, began) = (StdRng::seed_from_u64(seed), Instant::now());
        let mut rounds = 0;
        stage.give_clocks().await;
        while began.elapsed() < lasts {
            round(stage, &mut random).await;
            rounds += 1;
            stage.say(&format!("round {rounds} is over: all invariants hold (SEED={seed})"));
        }
    });
}

async fn round(stage: &mut Stage, random: &mut StdRng) {
    let traffic = Traffic::start(&stage.fleet, &stage.services, &stage.journal, random.random());
    for _ in 0..ROUND {
        let leader = stage.fleet.leader().await;
        let fault = Fault::random(random, leader);
        let before = Duration::from_millis(random.random_range(0..1000));
        let lasts = Duration::from_millis(random.random_range(500..10_000));
        let led = leader.map_or("nobody leads".into(), |leader| format!("controller-{} leads", leader + 1));
        stage.say(&format!("{fault} for {lasts:?}, {before:?} into a storm; {led}"));
        let storm = stage.storm(&stage.services.stormed);
        tokio::time::sleep(before).await;
        fault.begin(stage).await;
        tokio::time::sleep(lasts).await;
        fault.end(stage).await;
        storm.over().await;
    }
    traffic.stop().await;
    stage.check().await;
}
