//! A network namespace for each test, so that all can use the same ports at once.

use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

/// The longest any test may take.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs `test` in a network namespace of its own with loopback up.
///
/// # Panics
/// When the namespace cannot be made, or the test fails or takes too long.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace: the tests need root");
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.expect("run ip: install iproute2").success(), "loopback comes up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let limited = async { tokio::time::timeout(LIMIT, test()).await };
        runtime.block_on(limited).expect("the test ends in time");
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}
