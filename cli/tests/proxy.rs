//! `zenvoy proxy` alone: what it says when it cannot start, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zenvoy_e2e::net;

/// Nothing that happens at once takes longer.
const LIMIT: Duration = Duration::from_secs(30);

fn proxy(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zenvoy"));
    command
        .args(["proxy", "--node", "n1", "--controllers", "http://127.0.0.1:1", "--admin", "none"])
        .args(["--envoy-listen", "127.0.0.1:18001"])
        .args(flags);
    command
}

/// Ends when the proxy does, or with the limit.
fn until_ended(mut child: Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("waited") {
            return status.code();
        }
        if begun.elapsed() > LIMIT {
            child.kill().expect("killed");
            panic!("it has not ended within {LIMIT:?}");
        }
        std::thread::yield_now();
    }
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

#[test]
fn one_that_never_had_an_envoy_does_not_wait_for_its_end() {
    net::in_namespace(async || {
        let mut running = proxy(&["--mode", "listen", "--envoy-grace", "10m", "--shutdown-timeout", "20m"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("start zenvoy");
        let mut log = BufReader::new(running.stderr.take().expect("piped")).lines();
        let runs = log.find(|line| line.as_ref().expect("text").contains("the proxy runs"));
        let runs = runs.expect("it runs").expect("text");
        assert!(runs.contains("connections are taken by a socket for each activator address"), "{runs}");
        let pid = Pid::from_raw(i32::try_from(running.id()).expect("a process id"));
        kill(pid, Signal::SIGTERM).expect("it lives");
        // What it still writes must find room.
        let reading = std::thread::spawn(move || log.count());
        assert_eq!(until_ended(running), Some(0));
        reading.join().expect("read");
    });
}

#[test]
fn logs_as_json_are_one_object_a_line_from_the_first_to_the_last() {
    net::in_namespace(async || {
        let mut running = proxy(&["--mode", "listen", "--envoy-grace", "0s", "--log-format", "json"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("start zenvoy");
        let mut log = BufReader::new(running.stderr.take().expect("piped")).lines();
        let mut next = || -> Option<serde_json::Value> {
            let line = log.next()?.expect("text");
            Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
        };
        let mut seen = Vec::new();
        while !seen.iter().any(|event: &serde_json::Value| event["error"].is_string()) {
            seen.push(next().expect("it runs"));
        }
        let told = seen.last().expect("there is one");
        assert_eq!(
            (&told["level"], &told["controller"]),
            (&"WARN".into(), &"http://127.0.0.1:1/".into()),
            "{told}"
        );
        for event in &seen {
            assert!(event["message"].is_string() && event["timestamp"].is_string(), "{event}");
        }
        let pid = Pid::from_raw(i32::try_from(running.id()).expect("a process id"));
        kill(pid, Signal::SIGTERM).expect("it lives");
        while next().is_some() {}
        assert_eq!(until_ended(running), Some(0));
    });
}
