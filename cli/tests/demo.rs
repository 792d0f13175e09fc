//! `make demo`: it runs to its end, and says what it should.

use std::process::Command;

use zenvoy_e2e::{net, parts};

#[test]
fn the_demo_shows_sleep_wake_direct_traffic_and_sleep_again_and_ends_well() {
    net::in_namespace(async || {
        let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo"))
            .env("ZENVOY_BIN", env!("CARGO_BIN_EXE_zenvoy"))
            .env("ZENVOY_ENVOY", parts::path("envoy"))
            .output()
            .expect("run the demo");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        let mut rest = said.as_str();
        for expected in [
            "1. Nothing runs",
            "2. The first HTTP request",
            "HTTP 200 after",
            "woken, first byte after",
            "3. A warm request",
            "; 0 bytes passed the zenvoy proxy",
            "4. The first raw TCP connection",
            "sent ping, got ping",
            "local/echo:7  woken, first byte after",
            "directly: 0 bytes passed the zenvoy proxy",
            "5. Both are idle",
            "local/hello:80  asleep",
            "local/echo:7  asleep",
            "nothing runs any more",
            "6. The next request wakes hello again",
            "HTTP 200 after",
            "Summary",
            "demo: OK",
        ] {
            let at = rest.find(expected).unwrap_or_else(|| panic!("{expected:?} is missing after\n{said}"));
            rest = &rest[at + expected.len()..];
        }
        let wakes: Vec<Vec<(&str, f64)>> = waterfalls(&said).collect();
        assert_eq!(wakes.len(), 3, "{said}");
        for mut wake in wakes {
            assert!(wake.is_sorted_by_key(|(_, end)| *end), "in the order of time: {wake:?}");
            wake.sort_by_key(|(phase, _)| PHASES.iter().position(|known| known == phase));
            assert_eq!(wake.iter().map(|(phase, _)| *phase).collect::<Vec<_>>(), PHASES, "{said}");
        }
    });
}

const PHASES: [&str; 7] = ["held", "intent", "scale", "started", "ready", "switched", "first byte"];

/// The phases below each wake, with the milliseconds after which they ended.
fn waterfalls(said: &str) -> impl Iterator<Item = Vec<(&str, f64)>> {
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let woken = |(at, line): (usize, &&str)| line.contains("woken, first byte after").then_some(at + 1);
    let starts: Vec<usize> = lines.iter().enumerate().filter_map(woken).collect();
    let phase = |line: &&'_ str| {
        let name = PHASES.into_iter().find(|name| line.starts_with(name)).unwrap_or_else(|| panic!("{line}"));
        let millis = line.split_whitespace().rev().nth(1).and_then(|millis| millis.parse().ok());
        (name, millis.unwrap_or_else(|| panic!("{line}")))
    };
    starts.into_iter().map(move |start| lines[start..start + PHASES.len()].iter().map(phase).collect())
}
