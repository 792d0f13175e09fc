//! Rules as one nftables table, replaced and removed as a whole.

use std::fmt::Write;

use zenvoy_shared::pool::PortPool;

use super::{RulesError, run};

pub(super) fn install(name: &str, pool: &PortPool, port: u16) -> Result<(), RulesError> {
    run("nft", &["-f", "-"], &script(name, pool, port))
}

pub(super) fn remove(name: &str) -> Result<(), RulesError> {
    run("nft", &["-f", "-"], &format!("delete table ip {name}\n"))
}

/// Adding before deleting makes the deletion succeed whether or not one is there.
fn script(name: &str, pool: &PortPool, port: u16) -> String {
    let mut script =
        format!("add table ip {name}\ndelete table ip {name}\ntable ip {name} {{\n  chain activators {{\n");
    script.push_str("    type filter hook prerouting priority mangle; policy accept;\n");
    for range in pool.ranges() {
        let (ip, (first, last)) = (range.ip(), range.ports());
        let _ =
            writeln!(script, "    ip daddr {ip} tcp dport {first}-{last} tproxy to 127.0.0.1:{port} accept");
    }
    script.push_str("  }\n}\n");
    script
}
