//! Nodes spread over replicas, and move from one to another.

use futures::future::join_all;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Node;

use crate::stage::{Stage, on_a_fleet};

/// What an Envoy has taken in: a resource that is sent again counts, whether it differs or not.
async fn taken_in(node: &Node) -> Vec<u64> {
    let cds = "cluster_manager.cds.update_success";
    let lds = "listener_manager.lds.update_success";
    let rds = "http.http.rds.zenvoy.update_success";
    join_all([cds, lds, rds].map(|name| node.stat(name))).await
}

async fn until_all_sessions_open(stage: &Stage) {
    for node in 0..stage.fleet.nodes.len() {
        until::so("the node is served", async || stage.fleet.controller_of(node).await.is_some()).await;
    }
}

#[test]
fn a_node_that_moves_to_another_replica_is_sent_nothing_again() {
    on_a_fleet(async |stage| {
        until_all_sessions_open(stage).await;
        let names = stage.fleet.nodes[0].envoy_says("/stats?filter=update_success").await;
        eprintln!("{}", names.unwrap_or_default());
        stage.storm(&stage.services.all()).over().await;
        let _ = taken_in(&stage.fleet.nodes[0]).await;
    });
}
