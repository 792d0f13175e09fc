//! How fast held connections are let loose on an endpoint that has just become ready. In: endpoints and `now`; out:
//! which of them to dial, and when. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The pace of releases to one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// So many at once.
    pub burst: u32,
    /// Then so many a second; at least 1.
    pub per_second: u32,
}

/// The slots handed out. Source of the method: the generic cell rate algorithm (ITU-T I.371), one cell per release.
#[derive(Debug)]
pub struct Releases {
    pace: Pace,
    /// When each endpoint would be idle at the sustained pace; those in the past are the same as none.
    busy_until: HashMap<SocketAddr, Instant>,
    turn: usize,
    prune_at: usize,
}

impl Releases {
    /// None handed out.
    pub fn new(pace: Pace) -> Self {
        Self { pace, busy_until: HashMap::new(), turn: 0, prune_at: 64 }
    }

    /// An endpoint out of `endpoints` and the moment to dial it: the one that is free first, in turn among equals;
    /// `avoid`, which has just failed, only if it is the only one. `None` without endpoints.
    pub fn slot(
        &mut self,
        endpoints: &[SocketAddr],
        avoid: Option<SocketAddr>,
        now: Instant,
    ) -> Option<(SocketAddr, Instant)> {
        self.prune(now);
        let interval = Duration::from_secs(1) / self.pace.per_second.max(1);
        let slack = interval * self.pace.burst.saturating_sub(1);
        self.turn = self.turn.wrapping_add(1);
        let others = endpoints.len() > 1;
        let (endpoint, busy_until) = (0..endpoints.len())
            .map(|n| endpoints[n.wrapping_add(self.turn) % endpoints.len()])
            .filter(|endpoint| !others || Some(*endpoint) != avoid)
            .map(|endpoint| (endpoint, self.busy_until.get(&endpoint).map_or(now, |at| (*at).max(now))))
            .min_by_key(|(_, busy_until)| *busy_until)?;
        self.busy_until.insert(endpoint, busy_until + interval);
        let at = busy_until.checked_sub(slack).map_or(now, |at| at.max(now));
        Some((endpoint, at))
    }

    /// Keeps the map as small as what is busy, at an amortised constant cost.
    fn prune(&mut self, now: Instant) {
        if self.busy_until.len() >= self.prune_at {
            self.busy_until.retain(|_, at| *at > now);
            self.prune_at = (2 * self.busy_until.len()).max(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 42, 0, n], 80))
    }

    fn releases(burst: u32, per_second: u32) -> (Releases, Instant) {
        (Releases::new(Pace { burst, per_second }), Instant::now())
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_pace() {
        let (mut releases, now) = releases(3, 100);
        let waits: Vec<_> =
            (0..6).map(|_| (releases.slot(&[endpoint(1)], None, now).unwrap().1 - now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 10, 20, 30]);
        let later = now + Duration::from_secs(1);
        assert_eq!(releases.slot(&[endpoint(1)], None, later).unwrap().1, later, "the burst is back");
    }

    #[test]
    fn several_endpoints_share_the_connections_evenly() {
        let (mut releases, now) = releases(1, 100);
        let endpoints = [endpoint(1), endpoint(2), endpoint(3)];
        let mut given: HashMap<SocketAddr, u32> = HashMap::new();
        for _ in 0..30 {
            *given.entry(releases.slot(&endpoints, None, now).unwrap().0).or_default() += 1;
        }
        assert_eq!(given.values().copied().collect::<Vec<_>>(), [10, 10, 10]);
    }

    #[test]
    fn an_endpoint_that_has_just_failed_is_dialled_again_only_when_it_is_the_only_one() {
        let (mut releases, now) = releases(100, 100);
        for _ in 0..10 {
            let slot = releases.slot(&[endpoint(1), endpoint(2)], Some(endpoint(1)), now);
            assert_eq!(slot.unwrap().0, endpoint(2));
        }
        assert_eq!(releases.slot(&[endpoint(1)], Some(endpoint(1)), now).unwrap().0, endpoint(1));
        assert_eq!(releases.slot(&[], None, now), None);
    }

    #[test]
    fn endpoints_that_are_gone_are_forgotten() {
        let (mut releases, mut now) = releases(1, 1000);
        for n in 0..10_000_u16 {
            let endpoint = SocketAddr::from(([10, 42, n.to_be_bytes()[0], n.to_be_bytes()[1]], 80));
            releases.slot(&[endpoint], None, now);
            now += Duration::from_millis(10);
        }
        assert!(releases.busy_until.len() <= 64);
    }
}
