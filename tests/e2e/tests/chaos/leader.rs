use std::time::Instant;
use zenvoy_e2e::load;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::zenvoy::Fleet;

#[test]
fn smoke() {
    in_namespace(async || {
        let began = Instant::now();
        let mut fleet = Fleet::start().await;
        eprintln!("started in {:?}", began.elapsed());
        let backends: Vec<Backend> = (0..6).map(|number| Backend::http(&format!("shop-{number}"))).collect();
        fleet.create(&backends).await;
        eprintln!("created in {:?}", began.elapsed());
        let leader = fleet.until_leader().await;
        for node in 0..3 {
            eprintln!("node {node} at {:?}", fleet.controller_of(node).await);
        }
        eprintln!("leader {leader}");
        let report = load::all(
            backends.iter().zip([0, 1, 2, 0, 1, 2]).map(|(backend, node)| fleet.http(node, backend, "/")),
        )
        .await;
        report.assert_all_served();
        eprintln!("served in {:?}", report.slowest());
        for backend in &backends {
            fleet.audit().assert_one_wake(backend.name(), 1);
        }
        fleet.controllers[leader].process().kill().await;
        let killed = Instant::now();
        let next = fleet.until_successor(leader).await;
        eprintln!("{next} after {:?}", killed.elapsed());
    });
}
