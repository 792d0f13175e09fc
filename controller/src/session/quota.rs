//! How much one node may demand: so many upstreams at once, and so many wakes a minute. A broken or captured node then wakes
//! only so much. In: what nodes demand, and `now`; out: what of it counts, and why the rest does not. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use zenvoy_shared::id::{NodeId, UpstreamId};

use super::{Demand, Moment};

/// After this, a node that demands too much at once may ask again.
const TOO_MUCH_PAUSE: Duration = Duration::from_secs(5);
/// Wakes are counted over this.
const MINUTE: Duration = Duration::from_secs(60);

/// The bounds of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemandQuota {
    /// Upstreams demanded at once.
    pub upstreams: u32,
    /// Wakes begun a minute; so many may begin at once after a minute without. At least 1.
    pub wakes_per_minute: u32,
}

impl Default for DemandQuota {
    /// 2,000 of each: more than a node in good order ever has.
    fn default() -> Self {
        Self { upstreams: 2_000, wakes_per_minute: 2_000 }
    }
}

/// Why a demand does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Too many upstreams at once.
    TooMuch {
        /// As many count.
        limit: u32,
    },
    /// Too many wakes.
    TooFast {
        /// As many a minute count.
        limit: u32,
        /// The next one counts after this.
        retry_after: Duration,
    },
}

impl Refusal {
    /// A stable word.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooMuch { .. } => Self::TOO_MUCH,
            Self::TooFast { .. } => Self::TOO_FAST,
        }
    }

    pub(super) const TOO_MUCH: &'static str = "NodeDemandQuota";
    pub(super) const TOO_FAST: &'static str = "NodeWakeQuota";

    /// A new attempt is worth it after this.
    pub fn retry_after(self) -> Duration {
        match self {
            Self::TooMuch { .. } => TOO_MUCH_PAUSE,
            Self::TooFast { retry_after, .. } => retry_after,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch { limit } => write!(
                f,
                "this node demands more than {limit} upstreams at once; the controller's --node-max-demand says how many it may"
            ),
            Self::TooFast { limit, .. } => write!(
                f,
                "this node has begun more than {limit} wakes in a minute; the controller's --node-wakes-per-minute says how \
                 many it may"
            ),
        }
    }
}

/// What counts of a node's demand, and what does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Demanded.
    pub demand: BTreeMap<UpstreamId, Demand>,
    /// Not demanded.
    pub refused: BTreeMap<UpstreamId, Refusal>,
}

/// What nodes have used of their quota.
#[derive(Debug)]
pub struct Quotas {
    quota: DemandQuota,
    /// Of nodes that began a wake within the last minute.
    used: BTreeMap<NodeId, Used>,
}

/// Wakes that count against a node. They fade: after a minute without a new one there are none.
#[derive(Debug, Clone, Copy)]
struct Used {
    wakes: f64,
    at: Moment,
}

impl Quotas {
    /// With the same bounds for each node.
    pub fn new(quota: DemandQuota) -> Self {
        Self {
            quota: DemandQuota { wakes_per_minute: quota.wakes_per_minute.max(1), ..quota },
            used: BTreeMap::new(),
        }
    }

    /// Judges the whole set that a node demands. What `counts` already, counts on; of the rest, what was held first goes
    /// first, and costs a wake where it `wakes` something.
    pub fn judge(
        &mut self,
        node: &NodeId,
        said: BTreeMap<UpstreamId, Demand>,
        counts: impl Fn(&UpstreamId) -> bool,
        wakes: impl Fn(&UpstreamId) -> bool,
        now: Moment,
    ) -> Judged {
        let (demand, new) = split(said, counts);
        let mut judged = Judged { demand, refused: BTreeMap::new() };
        for (upstream, demand) in new {
            match self.refusal(node, judged.demand.len(), wakes(&upstream), now) {
                None => drop(judged.demand.insert(upstream, demand)),
                Some(refusal) => drop(judged.refused.insert(upstream, refusal)),
            }
        }
        judged
    }

    fn refusal(&mut self, node: &NodeId, demanded: usize, wakes: bool, now: Moment) -> Option<Refusal> {
        let DemandQuota { upstreams, wakes_per_minute } = self.quota;
        if demanded >= usize::try_from(upstreams).unwrap_or(usize::MAX) {
            return Some(Refusal::TooMuch { limit: upstreams });
        }
        if !wakes {
            return None;
        }
        let used = self.used(node, now);
        if used + 1.0 > f64::from(wakes_per_minute) {
            let excess = used + 1.0 - f64::from(wakes_per_minute);
            let retry_after = MINUTE.mul_f64(excess / f64::from(wakes_per_minute));
            return Some(Refusal::TooFast { limit: wakes_per_minute, retry_after });
        }
        if used == 0.0 {
            self.forget(now);
        }
        self.used.insert(node.clone(), Used { wakes: used + 1.0, at: now });
        None
    }

    fn used(&self, node: &NodeId, now: Moment) -> f64 {
        self.used.get(node).map_or(0.0, |used| used.fades(self.quota, now))
    }

    /// Nodes come and go: those that have used nothing are not kept.
    fn forget(&mut self, now: Moment) {
        let quota = self.quota;
        self.used.retain(|_, used| used.fades(quota, now) > 0.0);
    }
}

impl Used {
    fn fades(self, quota: DemandQuota, now: Moment) -> f64 {
        let faded =
            self.at.until(now).as_secs_f64() / MINUTE.as_secs_f64() * f64::from(quota.wakes_per_minute);
        (self.wakes - faded).max(0.0)
    }
}

/// What counts already, and the rest with what was held first in front.
fn split(
    said: BTreeMap<UpstreamId, Demand>,
    counts: impl Fn(&UpstreamId) -> bool,
) -> (BTreeMap<UpstreamId, Demand>, Vec<(UpstreamId, Demand)>) {
    let (counted, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
        said.into_iter().partition(|(upstream, _)| counts(upstream));
    let mut new: Vec<_> = new.into_iter().collect();
    new.sort_by_key(|(_, demand)| demand.since_unix_nanos);
    (counted, new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: DemandQuota = DemandQuota { upstreams: 5, wakes_per_minute: 3 };

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn node(name: &str) -> NodeId {
        NodeId(name.into())
    }

    fn upstream(n: usize) -> UpstreamId {
        UpstreamId::new("shop", format!("cart-{n}"), 80)
    }

    /// The first is held first.
    fn demand(of: std::ops::Range<usize>) -> BTreeMap<UpstreamId, Demand> {
        let each = of.map(|n| {
            let since_unix_nanos = u64::try_from(n).expect("small");
            (upstream(n), Demand { traceparent: String::new(), since_unix_nanos })
        });
        each.collect()
    }

    fn counted(judged: &Judged) -> Vec<UpstreamId> {
        judged.demand.keys().cloned().collect()
    }

    #[test]
    fn what_is_held_first_counts_first_and_the_rest_is_told_why_and_when() {
        let mut quotas = Quotas::new(QUOTA);
        let judged = quotas.judge(&node("a"), demand(0..4), |_| false, |_| true, at(0));
        assert_eq!(counted(&judged), [upstream(0), upstream(1), upstream(2)]);
        let refusal = judged.refused[&upstream(3)];
        assert_eq!(refusal, Refusal::TooFast { limit: 3, retry_after: Duration::from_secs(20) });
        assert!(refusal.to_string().contains("more than 3 wakes"), "{refusal}");
        let judged = quotas.judge(&node("a"), demand(3..4), |_| false, |_| true, at(20));
        assert_eq!(counted(&judged), [upstream(3)], "at the time that was said");
    }

    #[test]
    fn what_counts_already_is_not_judged_again() {
        let mut quotas = Quotas::new(QUOTA);
        quotas.judge(&node("a"), demand(0..3), |_| false, |_| true, at(0));
        let judged = quotas.judge(&node("a"), demand(0..3), |_| true, |_| true, at(0));
        assert_eq!((judged.demand.len(), judged.refused.len()), (3, 0));
    }

    #[test]
    fn what_wakes_nothing_costs_no_wake_but_counts_as_demand() {
        let mut quotas = Quotas::new(QUOTA);
        let judged = quotas.judge(&node("a"), demand(0..6), |_| false, |_| false, at(0));
        assert_eq!(judged.demand.len(), 5);
        assert_eq!(judged.refused[&upstream(5)], Refusal::TooMuch { limit: 5 });
    }

    #[test]
    fn one_node_does_not_use_up_what_another_may() {
        let mut quotas = Quotas::new(QUOTA);
        quotas.judge(&node("a"), demand(0..4), |_| false, |_| true, at(0));
        let judged = quotas.judge(&node("b"), demand(0..3), |_| false, |_| true, at(0));
        assert!(judged.refused.is_empty());
    }

    #[test]
    fn nodes_that_are_quiet_for_a_minute_are_forgotten() {
        let mut quotas = Quotas::new(QUOTA);
        for n in 0..100 {
            quotas.judge(&node(&n.to_string()), demand(0..1), |_| false, |_| true, at(0));
        }
        quotas.judge(&node("a"), demand(0..1), |_| false, |_| true, at(60));
        assert_eq!(quotas.used.len(), 1);
    }

    #[test]
    fn the_default_lets_a_storm_of_a_thousand_pass() {
        let mut quotas = Quotas::new(DemandQuota::default());
        let judged = quotas.judge(&node("a"), demand(0..1_000), |_| false, |_| true, at(0));
        assert_eq!((judged.demand.len(), judged.refused.len()), (1_000, 0));
    }
}
