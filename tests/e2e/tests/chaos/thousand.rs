//! Very many services asked for at once.

use std::time::{Duration, Instant};

use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::zenvoy::Fleet;

use crate::check::assert_no_violation;
use crate::journal::Journal;
use crate::stage::alone;
use crate::traffic::Storm;

/// Kubernetes and all the pods share two cores with the rest: it starts five of them in a second.
const PATIENCE: Duration = Duration::from_secs(480);
const LIMIT: Duration = Duration::from_secs(600);

/// Asks for so many services that sleep, each through each node at once: so many scale writes are made, and every request is
/// served.
fn all_at_once(services: usize) {
    alone(LIMIT, async move || {
        let (mut fleet, journal) = (Fleet::start().await, Journal::default());
        let asleep = |number| {
            let backend = Backend::http(&format!("cold-{number}"));
            // None goes back to sleep before the last has woken.
            backend.set("idle-after", "1h").set("wake-timeout", "10m")
        };
        let services: Vec<Backend> = (0..services).map(asleep).collect();
        let began = Instant::now();
        fleet.create(&services).await;
        eprintln!("{} services are known to all nodes after {:?}", services.len(), began.elapsed());
        let began = Instant::now();
        Storm::start(&fleet, &services, &journal).over_within(PATIENCE).await;
        eprintln!("all were served after {:?}", began.elapsed());
        let audit = fleet.audit().all();
        let effective = |name: &str| audit[name].iter().filter(|request| request.is_effective()).count();
        let writes: usize = services.iter().map(|service| effective(service.name())).sum();
        assert_eq!(writes, services.len(), "effective scale writes");
        assert_eq!(journal.entries().len(), services.len() * fleet.nodes.len());
        assert_no_violation(&mut fleet, &services, &journal).await;
    });
}

#[test]
fn services_asked_for_at_once_through_three_nodes_are_woken_by_one_write_each() {
    all_at_once(100);
}

#[test]
#[ignore = "five minutes: make storm"]
fn a_thousand_services_asked_for_at_once_through_three_nodes_are_woken_by_a_thousand_writes() {
    all_at_once(1000);
}
