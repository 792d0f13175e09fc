//! A network namespace for each test, so that all can use the same ports at once; and further ones for its parts.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

/// The longest any test may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs `test` in a network namespace of its own with loopback up, where every 10.42.x.y and fd00:42::x is local.
///
/// # Panics
/// When the namespace cannot be made, or the test fails or takes longer than five minutes.
pub fn in_namespace(test: impl AsyncFnOnce() + Send + 'static) {
    in_namespace_within(LIMIT, test);
}

/// The same, with another limit than five minutes.
///
/// # Panics
/// When the namespace cannot be made, or the test fails or takes longer.
pub fn in_namespace_within(limit: Duration, test: impl AsyncFnOnce() + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace: the tests need root");
        ip(&["link", "set", "lo", "up"]);
        ip(&["route", "add", "local", "10.42.0.0/16", "dev", "lo"]);
        ip(&["-6", "route", "add", "local", "fd00:42::/64", "dev", "lo"]);
        // IPv4 lets a process bind what a route calls local, IPv6 only when told.
        std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")
            .expect("let pods bind their IPv6 addresses");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Kept until after the check: what a test that takes too long holds is dropped by a panic, and shows its logs.
        let mut limited = Box::pin(async { tokio::time::timeout(limit, test()).await });
        let within = runtime.block_on(&mut limited).is_ok();
        assert!(within, "the test takes less than {limit:?}");
    };
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let thread = std::thread::Builder::new().name(name).spawn(run).expect("start a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Where a part runs: its address, and the network namespace that has it.
#[derive(Debug, Clone)]
pub struct Place {
    ip: Ipv4Addr,
    namespace: Option<Arc<Namespace>>,
}

impl Place {
    /// Loopback of the test's own namespace.
    pub fn here() -> Self {
        Self { ip: Ipv4Addr::LOCALHOST, namespace: None }
    }

    pub(crate) fn of(ip: Ipv4Addr, namespace: Namespace) -> Self {
        Self { ip, namespace: Some(Arc::new(namespace)) }
    }

    /// A port of it.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.ip, port))
    }

    /// The file by which a process enters the namespace; `None`: it is born there.
    pub(crate) fn door(&self) -> Option<PathBuf> {
        self.namespace.as_ref().map(|namespace| namespace.door())
    }
}

/// A network namespace. It lives as long as this, or a process in it.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    /// A fresh one, in which nothing is up.
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace: the tests need root");
            File::open("/proc/thread-self/ns/net").expect("open a namespace")
        };
        Self(std::thread::spawn(make).join().expect("a namespace"))
    }

    pub(crate) fn door(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Runs something inside: on a thread of its own, as a thread is in one namespace at a time.
    pub(crate) fn within(&self, run: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("enter a namespace");
                run();
            });
            inside.join().expect("run something in a namespace");
        });
    }
}

pub(crate) fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("run ip: install iproute2");
    assert!(status.success(), "ip {arguments:?} failed");
}
