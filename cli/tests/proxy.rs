//! `zenvoy proxy` alone: what it says when it cannot start.

use std::process::Command;

use zenvoy_e2e::net;

fn proxy(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zenvoy"));
    command
        .args(["proxy", "--node", "n1", "--controllers", "http://127.0.0.1:1", "--admin", "none"])
        .args(["--envoy-listen", "127.0.0.1:18001"])
        .args(flags);
    command
}

#[test]
fn without_nft_it_is_said_what_to_install_and_nothing_of_rules_that_never_were() {
    net::in_namespace(async || {
        for (by, package) in [("nft", "nftables"), ("iptables", "iptables")] {
            let output = proxy(&["--rules", by]).env("PATH", "/nowhere").output().expect("run zenvoy");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(&format!("install the package {package}")), "{said}");
            assert!(said.contains("is not installed") && !said.contains("stay in the kernel"), "{said}");
        }
    });
}
