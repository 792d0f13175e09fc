use tokio::net::TcpStream;
use zenvoy_e2e::net::in_namespace;

use super::*;
use crate::transport::{accept, tproxy};

fn pool() -> PortPool {
    "127.0.0.1:20000-20999,127.0.0.2:20000-20999".parse().unwrap()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What stands in the kernel that names us.
fn left() -> String {
    let all = output("nft", &["list", "tables"]) + &output("iptables", &["-t", "mangle", "-S"]);
    all.lines().filter(|line| line.contains("zenvoy")).collect()
}

async fn connections_arrive_with_their_destination(by: RulesBy) {
    let listener = tproxy::listen(15_001).unwrap();
    let _rules = Rules::install(by, &pool(), 15_001).unwrap();
    for destination in ["127.0.0.1:20000", "127.0.0.2:20999"] {
        let (client, accepted) = tokio::join!(TcpStream::connect(destination), accept(&listener));
        client.unwrap();
        assert_eq!(accepted.unwrap().activator.to_string(), destination);
    }
}

#[test]
fn connections_to_any_activator_address_reach_the_one_socket_by_nft() {
    in_namespace(async || connections_arrive_with_their_destination(RulesBy::Nft).await);
}

#[test]
fn connections_to_any_activator_address_reach_the_one_socket_by_iptables() {
    in_namespace(async || connections_arrive_with_their_destination(RulesBy::Iptables).await);
}

#[test]
fn nothing_is_left_in_the_kernel_after_the_rules_are_dropped() {
    in_namespace(async || {
        for by in [RulesBy::Nft, RulesBy::Iptables] {
            let rules = Rules::install(by, &pool(), 15_001).unwrap();
            assert_ne!(left(), "", "{by:?}");
            drop(rules);
            assert_eq!(left(), "", "{by:?}");
        }
    });
}

#[test]
fn rules_left_by_a_killed_process_are_replaced() {
    in_namespace(async || {
        for by in [RulesBy::Nft, RulesBy::Iptables] {
            std::mem::forget(Rules::install(by, &pool(), 15_001).unwrap());
            drop(Rules::install(by, &pool(), 15_001).unwrap());
            assert_eq!(left(), "", "{by:?}");
        }
    });
}
