//! Transparent accepting: one socket gets the connections to all activator addresses, by TPROXY rules in the kernel.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};

use tokio::net::TcpListener;

use super::{ListenError, bound};

/// A range of activator ports on one loopback address, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivatorRange {
    /// The loopback address.
    pub ip: Ipv4Addr,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// Rules could not be put in place. Nothing of them is left.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The program is missing or may not run.
    #[error("run nft: {0}; install nftables, or give --rules none and install the rules yourself")]
    Run(#[source] std::io::Error),
    /// The program refused.
    #[error("nft refused the rules: {0}; the process needs CAP_NET_ADMIN in its network namespace")]
    Refused(String),
}

/// Listens on `port` of 127.0.0.1 for connections that the rules bring, whatever their destination.
pub fn listen(port: u16) -> Result<TcpListener, ListenError> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    bound(address, |socket| socket.set_ip_transparent_v4(true)).map_err(|source| ListenError {
        address,
        source,
        hint: "transparent mode needs CAP_NET_ADMIN; listen mode does not",
    })
}

/// Rules in the kernel; taken out when this is dropped.
#[derive(Debug)]
pub struct Rules {
    table: String,
}

impl Rules {
    /// Brings connections to `ranges` to the transparent socket on `port`. A table left by a killed process is replaced.
    pub fn install(ranges: &[ActivatorRange], port: u16) -> Result<Self, RulesError> {
        let rules = Self { table: format!("zenvoy_{port}") };
        nft(&rules.script(ranges, port))?;
        Ok(rules)
    }

    fn script(&self, ranges: &[ActivatorRange], port: u16) -> String {
        let table = &self.table;
        let matches: String = ranges
            .iter()
            .map(|range| {
                format!(
                    "    ip daddr {} tcp dport {}-{} tproxy to 127.0.0.1:{port} accept\n",
                    range.ip, range.first, range.last
                )
            })
            .collect();
        format!(
            "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n  chain activators {{\n    type filter hook \
             prerouting priority mangle; policy accept;\n{matches}  }}\n}}\n"
        )
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        if let Err(error) = nft(&format!("delete table ip {}\n", self.table)) {
            tracing::warn!(table = self.table, %error, "the rules stay in the kernel; delete the table by hand");
        }
    }
}

fn nft(script: &str) -> Result<(), RulesError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(RulesError::Run)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).map_err(RulesError::Run)?;
    }
    let done = child.wait_with_output().map_err(RulesError::Run)?;
    if done.status.success() {
        Ok(())
    } else {
        Err(RulesError::Refused(String::from_utf8_lossy(&done.stderr).trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sched::{CloneFlags, unshare};
    use tokio::net::TcpStream;

    use super::*;
    use crate::transport::accept;

    /// Runs `test` in a network namespace of its own, on a thread of its own.
    fn in_namespace(test: impl Future<Output = ()> + Send + 'static) {
        let run = move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace: run the tests as root");
            let up = Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .expect("run ip: install iproute2");
            assert!(up.success());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let limited = async { tokio::time::timeout(Duration::from_secs(60), test).await };
            runtime.block_on(limited).expect("within 60 s");
        };
        std::thread::spawn(run).join().expect("the test passes");
    }

    fn ranges() -> Vec<ActivatorRange> {
        let range =
            |last: u8| ActivatorRange { ip: Ipv4Addr::new(127, 0, 0, last), first: 20_000, last: 20_999 };
        vec![range(1), range(2)]
    }

    #[test]
    fn connections_to_any_activator_address_reach_the_one_socket_with_their_destination() {
        in_namespace(async {
            let listener = listen(15_001).unwrap();
            let _rules = Rules::install(&ranges(), 15_001).unwrap();
            for destination in ["127.0.0.1:20000", "127.0.0.2:20999"] {
                let (client, accepted) = tokio::join!(TcpStream::connect(destination), accept(&listener));
                client.unwrap();
                assert_eq!(accepted.unwrap().activator.to_string(), destination);
            }
        });
    }

    #[test]
    fn nothing_is_left_in_the_kernel_after_the_rules_are_dropped() {
        in_namespace(async {
            drop(Rules::install(&ranges(), 15_001).unwrap());
            let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&tables.stdout), "");
        });
    }

    #[test]
    fn rules_left_by_a_killed_process_are_replaced() {
        in_namespace(async {
            std::mem::forget(Rules::install(&ranges(), 15_001).unwrap());
            drop(Rules::install(&ranges(), 15_001).unwrap());
        });
    }
}
