//! A network for pods: each has a namespace and an address of its own, on a bridge in the test's namespace.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

const BRIDGE: &str = "pods";

/// The bridge. To be made in a test's namespace, once.
#[derive(Debug)]
pub(super) struct Network {
    joined: u8,
}

/// A pod's place in it.
#[derive(Debug)]
pub(super) struct Place {
    /// Its address.
    pub(super) ip: Ipv4Addr,
    namespace: File,
}

impl Network {
    /// The test's own address: where the API server's is.
    pub(super) const HUB: Ipv4Addr = Ipv4Addr::new(10, 43, 255, 254);

    /// Makes the bridge.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub(super) fn new() -> Self {
        ip(&["link", "add", BRIDGE, "type", "bridge"]);
        ip(&["address", "add", &format!("{}/16", Self::HUB), "dev", BRIDGE]);
        ip(&["link", "set", BRIDGE, "up"]);
        Self { joined: 0 }
    }

    /// A further pod's place.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub(super) fn join(&mut self) -> Place {
        self.joined += 1;
        let (outside, address) = (format!("pod-{}", self.joined), Ipv4Addr::new(10, 43, 0, self.joined));
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("make a network namespace: the tests need root");
            File::open("/proc/thread-self/ns/net").expect("open a namespace")
        };
        let place = Place { ip: address, namespace: std::thread::spawn(make).join().expect("a namespace") };
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &place.door()]);
        ip(&["link", "set", &outside, "master", BRIDGE, "up"]);
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&place.namespace, CloneFlags::CLONE_NEWNET).expect("enter a namespace");
                ip(&["link", "set", "lo", "up"]);
                ip(&["address", "add", &format!("{address}/16"), "dev", "eth0"]);
                ip(&["link", "set", "eth0", "up"]);
                ip(&["route", "add", "default", "via", &Self::HUB.to_string()]);
            });
            inside.join().expect("set up a namespace");
        });
        place
    }
}

impl Place {
    /// The file by which a process enters it.
    pub(super) fn door(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("run ip: install iproute2");
    assert!(status.success(), "ip {arguments:?} failed");
}
