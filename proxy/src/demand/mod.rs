//! Which upstreams this node holds connections for: level-triggered, the whole set each time. In: connections held and
//! let go; out: the set, with the trace context of the first of each. Pure.

mod trace;

pub use trace::TraceContext;

use std::collections::BTreeMap;

use zenvoy_shared::id::UpstreamId;
use zenvoy_shared::proto;

/// Why one upstream is demanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Of the wake: made for the first held connection.
    pub trace: TraceContext,
    /// When that connection was held, nanoseconds since the Unix epoch; for display only.
    pub since_unix_nanos: u64,
}

/// All that is demanded now.
#[derive(Debug, Default)]
pub struct Demands {
    held: BTreeMap<UpstreamId, (u32, Reason)>,
}

impl Demands {
    /// One more connection is held for `upstream`. True when that changed the set: `first` then says why.
    pub fn hold(&mut self, upstream: &UpstreamId, first: impl FnOnce() -> Reason) -> bool {
        if let Some((count, _)) = self.held.get_mut(upstream) {
            *count += 1;
            return false;
        }
        self.held.insert(upstream.clone(), (1, first()));
        true
    }

    /// One connection less is held for `upstream`. True when that changed the set.
    pub fn let_go(&mut self, upstream: &UpstreamId) -> bool {
        let Some((count, _)) = self.held.get_mut(upstream) else { return false };
        *count = count.saturating_sub(1);
        *count == 0 && self.held.remove(upstream).is_some()
    }

    /// Why `upstream` is demanded, if it is.
    pub fn get(&self, upstream: &UpstreamId) -> Option<&Reason> {
        self.held.get(upstream).map(|(_, reason)| reason)
    }

    /// The whole set, as a session states it.
    pub fn whole(&self) -> proto::Demand {
        let held = self.held.iter().map(|(upstream, (_, reason))| proto::Held {
            upstream: upstream.to_string(),
            traceparent: reason.trace.to_string(),
            since_unix_nanos: reason.since_unix_nanos,
        });
        proto::Demand { held: held.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(since: u64) -> Reason {
        Reason { trace: TraceContext::fresh(), since_unix_nanos: since }
    }

    #[test]
    fn only_the_first_and_the_last_held_connection_change_the_demand() {
        let mut demands = Demands::default();
        let cart = UpstreamId::new("shop", "cart", 80);
        assert!(demands.hold(&cart, || reason(1)));
        assert!(!demands.hold(&cart, || reason(2)));
        assert_eq!(demands.whole().held[0].since_unix_nanos, 1);
        assert!(!demands.let_go(&cart));
        assert!(demands.let_go(&cart));
        assert_eq!(demands.whole(), proto::Demand::default());
        assert!(!demands.let_go(&cart), "what is not held cannot be let go");
    }

    #[test]
    fn the_next_wake_of_an_upstream_has_a_trace_of_its_own() {
        let mut demands = Demands::default();
        let cart = UpstreamId::new("shop", "cart", 80);
        demands.hold(&cart, || reason(1));
        let first = demands.get(&cart).cloned();
        demands.let_go(&cart);
        demands.hold(&cart, || reason(2));
        assert_ne!(demands.get(&cart).cloned(), first);
    }
}
