//! Nodes move from one replica to another.

use futures::future::join_all;
use serde_json::Value;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Node;

use crate::check::until_all_sleep;
use crate::stage::on_a_fleet;

/// How often the node moves.
const MOVES: u64 = 2;

/// Answers of each kind that an Envoy has taken in: clusters, listeners, routes.
async fn taken_in(node: &Node) -> Vec<u64> {
    let clusters = "cluster_manager.cds.update_success";
    let listeners = "listener_manager.lds.update_success";
    let routes = "http.zenvoy_http.rds.zenvoy-http.update_success";
    join_all([clusters, listeners, routes].map(|name| node.stat(name))).await
}

/// What an Envoy has, with when it took it in.
async fn held(node: &Node) -> Value {
    let dump = node.envoy_says("/config_dump").await.expect("Envoy answers");
    let dump: Value = serde_json::from_str(&dump).expect("a dump is JSON");
    let parts = dump["configs"].as_array().expect("parts").iter();
    let dynamic = parts.map(|part| {
        ["dynamic_active_clusters", "dynamic_listeners", "dynamic_route_configs"]
            .map(|kind| part[kind].clone())
    });
    dynamic.flatten().filter(|part| !part.is_null()).collect()
}

#[test]
fn a_node_that_moves_to_another_replica_is_sent_nothing_again() {
    on_a_fleet(async |stage| {
        let all = stage.services.all();
        stage.storm(&all).over().await;
        until_all_sleep(&stage.fleet, &all).await;
        let (taken, have) = (taken_in(&stage.fleet.nodes[0]).await, held(&stage.fleet.nodes[0]).await);
        for _ in 0..MOVES {
            let left = until::some("the node is served", async || stage.fleet.controller_of(0).await).await;
            stage.fleet.controllers[left].process().kill().await;
            until::so("the node is served by another replica", async || {
                stage.fleet.controller_of(0).await.is_some_and(|controller| controller != left)
            })
            .await;
            stage.fleet.start_again();
            stage.fleet.until_ready().await;
        }
        // The first question for everything of a kind is always answered, by an empty answer when nothing differs.
        let expected: Vec<u64> =
            taken.iter().zip([MOVES, MOVES, 0]).map(|(taken, more)| taken + more).collect();
        until::so("the answers after the moves are taken in", async || {
            taken_in(&stage.fleet.nodes[0]).await == expected
        })
        .await;
        assert_eq!(held(&stage.fleet.nodes[0]).await, have, "nothing was taken in again");
        // What comes now has come after all that was sent at the moves.
        stage.fleet.create(&[Backend::http("mark")]).await;
        let expected: Vec<u64> = expected.iter().zip([1, 0, 1]).map(|(before, more)| before + more).collect();
        assert_eq!(
            taken_in(&stage.fleet.nodes[0]).await,
            expected,
            "one cluster and one change of the routes"
        );
        for node in &stage.fleet.nodes {
            node.assert_nothing_refused().await;
        }
    });
}
