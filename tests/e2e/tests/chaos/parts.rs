//! Members of etcd, the API server, proxies and Envoys end and come back.

use zenvoy_e2e::until;

use crate::stage::{Stage, on_a_fleet};

/// A storm while a part is away; then it comes back, and all is calm.
async fn storm_without(stage: &mut Stage) {
    let all = stage.services.stormed.clone();
    let (before, after) = all.split_at(all.len() / 2);
    let storm = stage.storm(before);
    stage.fleet.start_again();
    let second = stage.storm(after);
    storm.over().await;
    second.over().await;
    stage.fleet.until_ready().await;
    stage.journal.no_more_excuses();
    stage.until_calm().await;
}

#[test]
fn members_of_etcd_and_the_api_server_may_be_killed_in_turn() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic();
        for member in 0..stage.fleet.etcd.len() {
            stage.say(&format!("etcd-{} is killed", member + 1));
            stage.fleet.etcd[member].process().kill().await;
            let storm = stage.storm(&stage.services.stormed);
            storm.over().await;
            stage.fleet.start_again();
            stage.fleet.until_ready().await;
            stage.until_calm().await;
        }
        stage.say("the API server is killed");
        stage.fleet.cluster.api().kill().await;
        storm_without(stage).await;
        traffic.stop().await;
    });
}

#[test]
fn a_killed_proxy_or_envoy_loses_only_what_ran_through_it() {
    on_a_fleet(async |stage| {
        let traffic = stage.traffic();
        for kill_envoy in [false, true] {
            stage.journal.excuse(0);
            let node = &mut stage.fleet.nodes[0];
            let part = if kill_envoy { node.envoy() } else { node.proxy() };
            part.kill().await;
            storm_without(stage).await;
            until::so("the node is served again", async || stage.fleet.controller_of(0).await.is_some())
                .await;
        }
        traffic.stop().await;
    });
}
