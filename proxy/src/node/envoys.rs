//! Which Envoys live, by their connections. In: connections that speak and go; out: whether one is another than before
//! (rule N5). Pure.

use std::collections::BTreeSet;
use std::time::Instant;

/// One connection of an Envoy; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvoyId(pub u64);

/// What a connection that speaks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The first ever.
    First,
    /// One that spoke before.
    Known,
    /// Another than before: this may be another Envoy.
    Another,
}

/// The connections that live and have spoken.
#[derive(Debug, Default)]
pub(super) struct Envoys {
    alive: BTreeSet<EnvoyId>,
    none_since: Option<Instant>,
    ever: bool,
}

impl Envoys {
    pub(super) fn speaks(&mut self, envoy: EnvoyId) -> Seen {
        if !self.alive.insert(envoy) {
            return Seen::Known;
        }
        self.none_since = None;
        if std::mem::replace(&mut self.ever, true) { Seen::Another } else { Seen::First }
    }

    /// False when it never spoke.
    pub(super) fn gone(&mut self, envoy: EnvoyId, now: Instant) -> bool {
        let spoke = self.alive.remove(&envoy);
        if spoke && self.alive.is_empty() {
            self.none_since = Some(now);
        }
        spoke
    }

    pub(super) fn count(&self) -> usize {
        self.alive.len()
    }

    pub(super) fn is_only(&self, envoy: EnvoyId) -> bool {
        self.alive.len() == 1 && self.alive.contains(&envoy)
    }

    pub(super) fn ever(&self) -> bool {
        self.ever
    }

    pub(super) fn none_since(&self) -> Option<Instant> {
        self.none_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_but_the_first_may_be_another_envoy() {
        let now = Instant::now();
        let mut envoys = Envoys::default();
        assert_eq!(envoys.speaks(EnvoyId(1)), Seen::First);
        assert_eq!(envoys.speaks(EnvoyId(1)), Seen::Known, "a second stream of it");
        assert_eq!(envoys.speaks(EnvoyId(2)), Seen::Another);
        assert!(!envoys.is_only(EnvoyId(2)));
        assert!(envoys.gone(EnvoyId(1), now) && envoys.is_only(EnvoyId(2)));
        assert_eq!(envoys.none_since(), None);
        assert!(envoys.gone(EnvoyId(2), now));
        assert_eq!(envoys.none_since(), Some(now));
        assert_eq!(envoys.speaks(EnvoyId(3)), Seen::Another);
        assert!(!envoys.gone(EnvoyId(9), now), "it never spoke");
    }
}
