//! Rules as one chain in the mangle table, for hosts without nft. `iptables-restore` applies a script in one step.

use std::fmt::Write;

use zenvoy_shared::pool::PortPool;

use super::{RulesError, run};

pub(super) fn install(name: &str, pool: &PortPool, port: u16) -> Result<(), RulesError> {
    // A process that was killed left a jump; a script cannot ask whether one is there.
    while jump("-D", name).is_ok() {}
    restore(&script(name, pool, port)).inspect_err(|_| {
        let _ = restore(&format!("*mangle\n:{name} - [0:0]\n-F {name}\n-X {name}\nCOMMIT\n"));
    })
}

pub(super) fn remove(name: &str) -> Result<(), RulesError> {
    restore(&format!("*mangle\n-D PREROUTING -p tcp -j {name}\n-F {name}\n-X {name}\nCOMMIT\n"))
}

fn jump(action: &str, name: &str) -> Result<(), RulesError> {
    run("iptables", &["--wait", "5", "-t", "mangle", action, "PREROUTING", "-p", "tcp", "-j", name], "")
}

fn restore(script: &str) -> Result<(), RulesError> {
    run("iptables-restore", &["--wait", "5", "--noflush"], script)
}

/// Naming the chain empties one that is there.
fn script(name: &str, pool: &PortPool, port: u16) -> String {
    let mut script = format!("*mangle\n:{name} - [0:0]\n");
    for range in pool.ranges() {
        let (ip, (first, last)) = (range.ip(), range.ports());
        let _ = writeln!(
            script,
            "-A {name} -p tcp -d {ip}/32 --dport {first}:{last} -j TPROXY --on-ip 127.0.0.1 --on-port {port}"
        );
    }
    let _ = writeln!(script, "-A PREROUTING -p tcp -j {name}\nCOMMIT");
    script
}
