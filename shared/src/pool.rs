//! The pool of activator addresses, the same for controllers, which allocate from it, and for proxies, which accept on it. In:
//! text; out: addresses. Pure.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;

use crate::id::ActivatorAddress;

/// The addresses that may be allocated: ranges of ports on loopback addresses, in order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPool {
    ranges: Vec<PortRange>,
}

/// `ip:first-last`, both ends included, or `ip:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    ip: Ipv4Addr,
    first: u16,
    last: u16,
}

/// A pool's text has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPool {
    /// A range is malformed.
    #[error(
        "{0:?} is not a range of activator addresses: give loopback-ip:first-last (IPv4), as 127.0.0.1:20000-32767"
    )]
    Range(String),
    /// Two ranges share addresses.
    #[error(
        "the ranges {0} and {1} of activator addresses overlap: every address may stand in the pool once"
    )]
    Overlap(String, String),
    /// There is no range at all.
    #[error("the pool of activator addresses is empty: give at least one range, as 127.0.0.1:20000-32767")]
    Empty,
}

impl Default for PortPool {
    fn default() -> Self {
        Self { ranges: vec![PortRange { ip: Ipv4Addr::LOCALHOST, first: 20_000, last: 32_767 }] }
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}-{}", self.ip, self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = InvalidPool;

    fn from_str(text: &str) -> Result<Self, InvalidPool> {
        let parse = || {
            let (ip, ports) = text.split_once(':')?;
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let range = Self { ip: ip.parse().ok()?, first: first.parse().ok()?, last: last.parse().ok()? };
            (range.ip.is_loopback() && range.first > 0 && range.first <= range.last).then_some(range)
        };
        parse().ok_or_else(|| InvalidPool::Range(text.into()))
    }
}

impl PortRange {
    /// The loopback address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    fn size(&self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// The first port and the last.
    pub fn ports(&self) -> (u16, u16) {
        (self.first, self.last)
    }
}

impl std::fmt::Display for PortPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ranges: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
        f.write_str(&ranges.join(","))
    }
}

impl FromStr for PortPool {
    type Err = InvalidPool;

    /// Ranges separated by commas.
    fn from_str(text: &str) -> Result<Self, InvalidPool> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let ranges = parts.map(PortRange::from_str).collect::<Result<Vec<_>, _>>()?;
        if ranges.is_empty() {
            return Err(InvalidPool::Empty);
        }
        for (index, a) in ranges.iter().enumerate() {
            for b in &ranges[index + 1..] {
                if a.ip == b.ip && a.first <= b.last && b.first <= a.last {
                    return Err(InvalidPool::Overlap(a.to_string(), b.to_string()));
                }
            }
        }
        Ok(Self { ranges })
    }
}

impl PortPool {
    /// The ranges, in order of preference; never empty, none twice.
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// All addresses, in order of preference.
    pub fn addresses(&self) -> impl Iterator<Item = ActivatorAddress> + '_ {
        self.ranges.iter().flat_map(|range| {
            (range.first..=range.last).map(|port| ActivatorAddress(SocketAddrV4::new(range.ip, port)))
        })
    }

    /// Where an address stands among all; `None` when it is not in the pool.
    pub fn position(&self, address: &ActivatorAddress) -> Option<usize> {
        let mut before = 0;
        for range in &self.ranges {
            let (ip, port) = (*address.0.ip(), address.0.port());
            if ip == range.ip && (range.first..=range.last).contains(&port) {
                return Some(before + usize::from(port - range.first));
            }
            before += range.size();
        }
        None
    }

    /// Whether connections to `address` could be to an activator address; one without an IP stands for each.
    pub fn covers(&self, address: SocketAddr) -> bool {
        let ip = |range: &PortRange| address.ip().is_unspecified() || address.ip() == range.ip;
        self.ranges.iter().any(|range| ip(range) && (range.first..=range.last).contains(&address.port()))
    }

    /// How many addresses there are.
    pub fn size(&self) -> usize {
        self.ranges.iter().map(PortRange::size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str) -> PortPool {
        text.parse().expect(text)
    }

    fn address(text: &str) -> ActivatorAddress {
        text.parse().expect(text)
    }

    #[test]
    fn a_second_loopback_address_extends_the_pool() {
        let pool = pool("127.0.0.1:5-5, 127.0.0.2:5-6");
        let all = ["127.0.0.1:5", "127.0.0.2:5", "127.0.0.2:6"].map(address);
        assert_eq!((pool.size(), pool.addresses().collect::<Vec<_>>()), (3, all.to_vec()));
    }

    #[test]
    fn an_address_stands_where_all_addresses_have_it() {
        let pool = pool("127.0.0.2:5-6,127.0.0.1:20000-20003");
        for (at, address) in pool.addresses().enumerate() {
            assert_eq!(pool.position(&address), Some(at));
        }
        assert_eq!(pool.position(&address("127.0.0.1:5")), None);
    }

    #[test]
    fn what_lies_in_the_pool_is_covered_whatever_the_address_it_is_bound_to() {
        let pool = pool("127.0.0.1:5-6,127.0.0.2:9-9");
        for covered in ["127.0.0.1:5", "127.0.0.1:6", "0.0.0.0:5", "[::]:6", "127.0.0.2:9", "0.0.0.0:9"] {
            assert!(pool.covers(covered.parse().expect(covered)), "{covered}");
        }
        for free in ["127.0.0.1:7", "127.0.0.1:4", "127.0.0.1:9", "127.0.0.3:5", "[::1]:5", "0.0.0.0:7"] {
            assert!(!pool.covers(free.parse().expect(free)), "{free}");
        }
    }

    #[test]
    fn a_pool_reads_back_what_it_prints() {
        let text = "127.0.0.1:20000-32767,127.0.0.2:7-7";
        assert_eq!(pool(text).to_string(), text);
        assert_eq!(pool("127.0.0.1:20000-32767, 127.0.0.2:7"), pool(text));
    }

    #[test]
    fn a_malformed_pool_says_what_is_wrong() {
        let malformed =
            ["10.0.0.1:1-2", "127.0.0.1:2-1", "127.0.0.1:0-1", "127.0.0.1", "::1:1-2", "127.0.0.1:1-70000"];
        for text in malformed {
            assert_eq!(text.parse::<PortPool>(), Err(InvalidPool::Range(text.into())));
        }
        assert_eq!("".parse::<PortPool>(), Err(InvalidPool::Empty));
        assert!(matches!("127.0.0.1:1-5,127.0.0.1:5-9".parse::<PortPool>(), Err(InvalidPool::Overlap(..))));
    }
}
