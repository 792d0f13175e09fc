//! A network namespace for each test, so that all can use the same ports at once.

use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

/// The longest any test may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs `test` in a network namespace of its own with loopback up, where every 10.42.x.y is local.
///
/// # Panics
/// When the namespace cannot be made, or the test fails or takes longer than five minutes.
pub fn in_namespace(test: impl Future<Output = ()> + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace: the tests need root");
        ip(&["link", "set", "lo", "up"]);
        ip(&["route", "add", "local", "10.42.0.0/16", "dev", "lo"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let limited = async { tokio::time::timeout(LIMIT, test).await };
        runtime.block_on(limited).expect("the test takes less than five minutes");
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("run ip: install iproute2");
    assert!(status.success(), "ip {arguments:?} failed");
}
