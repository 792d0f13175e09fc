//! Nodes move from one replica to another.

use futures::future::join_all;
use serde_json::Value;
use zenvoy_e2e::load;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::site::Member;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::Node;

use crate::check::until_all_sleep;
use crate::fault::controller;
use crate::stage::{Stage, on_a_fleet};

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

/// Proxy and Envoy of the first node end, and others take their place: as a node that nobody has registered.
async fn comes_anew(stage: &mut Stage) {
    stage.journal.excuse(0);
    stage.fleet.nodes[0].proxy().kill().await;
    stage.fleet.nodes[0].envoy().kill().await;
    stage.fleet.start_again();
    stage.fleet.nodes[0].until_ready().await;
    stage.journal.no_more_excuses();
}

/// Whether the first node's Envoy goes to the pods of a backend by itself, or to the proxy beside it.
async fn goes_directly(stage: &Stage, backend: &Backend) -> Option<bool> {
    let endpoints = stage.fleet.nodes[0].envoy_endpoints(backend).await;
    endpoints.first().map(|endpoint| !endpoint.ip().is_loopback())
}

#[test]
fn a_node_is_left_to_a_controller_without_etcd_only_while_no_other_can_be_reached() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic().await;
        let (busy, lost) = (stage.services.busy.clone(), stage.fleet.followers().await[0]);
        let others: Vec<usize> = (0..3).filter(|other| *other != lost).collect();
        stage.say(&format!("controller-{} loses etcd", lost + 1));
        stage.journal.etcd_breaks();
        (0..3).for_each(|member| stage.fleet.site.cut(controller(lost), Member::Etcd(member)));
        stage.fleet.controllers[lost].until_not_ready().await;

        stage.say("a node comes that reaches all");
        comes_anew(stage).await;
        let at = until::some("the node is served", async || stage.fleet.controller_of(0).await).await;
        assert_ne!(at, lost, "others could register it");
        until::so("Envoy goes to the pods itself", async || goes_directly(stage, &busy).await == Some(true))
            .await;

        stage.say("a node comes that reaches no other");
        others.iter().for_each(|other| stage.fleet.site.cut(Member::Node(0), controller(*other)));
        comes_anew(stage).await;
        let request = stage.fleet.http(0, &busy, "/");
        load::once(&request).await.served();
        assert_eq!(stage.fleet.controller_of(0).await, Some(lost));
        assert_eq!(goes_directly(stage, &busy).await, Some(false), "no direct route for a node nobody knows");
        assert!(stage.fleet.nodes[0].relayed_bytes(&busy).await > 0);

        stage.say("it reaches another");
        stage.fleet.site.mend(Member::Node(0), controller(others[0]));
        until::so("it has moved there", async || stage.fleet.controller_of(0).await == Some(others[0])).await;
        until::so("Envoy goes to the pods itself", async || goes_directly(stage, &busy).await == Some(true))
            .await;
        stage.fleet.site.heal();
        stage.fleet.until_ready().await;
        stage.journal.etcd_is_whole();
        traffic.stop().await;
    });
}
