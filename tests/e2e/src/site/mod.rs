//! Many machines in one test: a network namespace for each, joined by links to a bridge in the test's own, and cut from each
//! other at will. What is cut off hears nothing any more and is told nothing: packets vanish, as between real machines.
//!
//! The test and the pods stand at the bridge itself, and reach every member whatever is cut. A slow link is slow for them too.

mod tap;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::net::{Namespace, Place, ip};
use tap::Tap;
use way::LongWay;

/// The bridge, where the test and the pods are.
const BRIDGE: &str = "bridge";
const HUB: &str = "10.41.0.254";

/// A machine; numbers count from 0, names from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// With a controller replica.
    Controller(u8),
    /// With a proxy and an Envoy.
    Node(u8),
    /// With a member of zenvoy's etcd.
    Etcd(u8),
    /// With the API server, its etcd and kube-controller-manager.
    Kubernetes,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller(number) => write!(f, "controller-{}", number + 1),
            Self::Node(number) => write!(f, "node-{}", number + 1),
            Self::Etcd(number) => write!(f, "etcd-{}", number + 1),
            Self::Kubernetes => f.write_str("kubernetes"),
        }
    }
}

impl Member {
    fn ip(self) -> Ipv4Addr {
        let (kind, number) = match self {
            Self::Controller(number) => (1, number),
            Self::Node(number) => (2, number),
            Self::Etcd(number) => (3, number),
            Self::Kubernetes => (4, 0),
        };
        Ipv4Addr::new(10, 41, kind, number + 1)
    }

    /// The other end of its link.
    fn link(self) -> String {
        format!("to-{self}")
    }

    /// What belongs to its link while that is slow. Names of interfaces are short.
    fn of_slow_link(self, what: &str) -> String {
        let [_, _, kind, number] = self.ip().octets();
        format!("{what}-{kind}-{number}")
    }
}

/// What packets pass no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Nothing passes between two, either way.
    Cut(Member, Member),
    /// Nothing passes between one and all others.
    CutOff(Member),
    /// Of what one sends and is sent, so many in a hundred are lost.
    Loss(Member, u8),
}

impl Fault {
    /// As nft says it; `port` is where a member is joined to the bridge.
    fn rules(self, port: impl Fn(Member) -> String) -> Vec<String> {
        let both = |rest: &str, one: Member| {
            ["iifname", "oifname"].map(|way| format!("{way} {:?} {rest} drop", port(one))).to_vec()
        };
        match self {
            Self::Cut(one, other) => [(one, other), (other, one)]
                .map(|(from, to)| format!("iifname {:?} oifname {:?} drop", port(from), port(to)))
                .to_vec(),
            Self::CutOff(one) => both("", one),
            Self::Loss(one, percent) => both(&format!("numgen random mod 100 < {percent}"), one),
        }
    }
}

/// All machines of a test, in its namespace and below; gone with it.
#[derive(Debug)]
pub struct Site {
    places: BTreeMap<Member, Place>,
    faults: BTreeSet<Fault>,
    slow: BTreeMap<Member, LongWay>,
}

impl Site {
    /// Joins these. To be called in a test's namespace, once.
    ///
    /// # Panics
    /// When a link cannot be made.
    pub fn join(members: impl IntoIterator<Item = Member>) -> Self {
        ip(&["link", "add", BRIDGE, "type", "bridge"]);
        ip(&["address", "add", &format!("{HUB}/16"), "dev", BRIDGE]);
        ip(&["link", "set", BRIDGE, "up"]);
        let places = members.into_iter().map(|member| (member, link(member))).collect();
        let site = Self { places, faults: BTreeSet::new(), slow: BTreeMap::new() };
        nft(
            "add table bridge faults; add chain bridge faults forward { type filter hook forward priority 0; }",
        );
        site
    }

    /// Where a member is.
    ///
    /// # Panics
    /// When it was not joined.
    pub fn place(&self, member: Member) -> &Place {
        self.places.get(&member).unwrap_or_else(|| panic!("{member} is not here"))
    }

    /// Nothing passes between the two any more, either way.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn cut(&mut self, one: Member, other: Member) {
        self.faults.insert(Fault::Cut(one, other));
        self.impose();
    }

    /// Everything passes again between two that were cut from each other.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn mend(&mut self, one: Member, other: Member) {
        self.faults.retain(
            |fault| !matches!(*fault, Fault::Cut(a, b) if (a, b) == (one, other) || (a, b) == (other, one)),
        );
        self.impose();
    }

    /// Nothing passes between one and all other members any more.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn cut_off(&mut self, member: Member) {
        self.faults.insert(Fault::CutOff(member));
        self.impose();
    }

    /// Of all packets between one and the other members so many in a hundred are lost.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn lose(&mut self, member: Member, percent: u8) {
        self.faults.insert(Fault::Loss(member, percent));
        self.impose();
    }

    /// What this member sends and is sent takes so much longer, each way.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn slow(&mut self, member: Member, by: Duration) {
        let [way, near, far] = ["way", "near", "far"].map(|what| member.of_slow_link(what));
        let long = LongWay::between(Tap::new(&near), Tap::new(&far), by);
        ip(&["link", "add", &way, "type", "bridge"]);
        ip(&["link", "set", &way, "up"]);
        ip(&["link", "set", &far, "master", &way, "up"]);
        ip(&["link", "set", &near, "master", BRIDGE, "up"]);
        ip(&["link", "set", &member.link(), "master", &way]);
        self.slow.insert(member, long);
        self.impose();
    }

    /// Everything passes again, and at once.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn heal(&mut self) {
        for (member, long) in std::mem::take(&mut self.slow) {
            ip(&["link", "set", &member.link(), "master", BRIDGE]);
            drop(long);
            ip(&["link", "delete", &member.of_slow_link("way")]);
        }
        self.faults.clear();
        self.impose();
    }

    /// Where a member is joined to the bridge.
    fn port(&self, member: Member) -> String {
        if self.slow.contains_key(&member) { member.of_slow_link("near") } else { member.link() }
    }

    fn impose(&self) {
        let rules = self.faults.iter().flat_map(|fault| fault.rules(|member| self.port(member)));
        let adding = rules.map(|rule| format!("add rule bridge faults forward {rule}; "));
        // One transaction: there is no moment at which nothing is cut.
        nft(&format!("flush chain bridge faults forward; {}", adding.collect::<String>()));
    }
}

/// A namespace with a link to the bridge.
fn link(member: Member) -> Place {
    let (namespace, link, address) = (Namespace::new(), member.link(), format!("{}/16", member.ip()));
    let door = namespace.door();
    let door = door.to_str().expect("a path of digits and letters");
    ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", door]);
    ip(&["link", "set", &link, "master", BRIDGE, "up"]);
    namespace.within(|| {
        ip(&["link", "set", "lo", "up"]);
        ip(&["address", "add", &address, "dev", "eth0"]);
        ip(&["link", "set", "eth0", "up"]);
        ip(&["route", "add", "default", "via", HUB]);
    });
    Place::of(member.ip(), namespace)
}

fn nft(commands: &str) {
    let started = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
    let mut nft = started.expect("run nft: install nftables");
    let mut input = nft.stdin.take().expect("its input is a pipe");
    input.write_all(commands.as_bytes()).expect("tell nft");
    drop(input);
    assert!(nft.wait().expect("nft ends").success(), "nft failed at: {commands}");
}
