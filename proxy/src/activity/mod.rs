//! Who is idle since when on this node. In: Envoy's counters, own connections, and `now`; out: changes of state, and
//! quiet proofs. Pure: time is passed in.

pub mod counters;
pub mod quiet;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use zenvoy_shared::id::{Protocol, UpstreamId};
use zenvoy_shared::proto;
use zenvoy_shared::proto::upstream_activity::State as ProtoState;

use self::counters::{Counters, Flush};

/// What is known of one upstream's traffic on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// A request, stream or connection is open, or was between the last two flushes.
    Active,
    /// Nothing since then.
    Idle {
        /// The last moment at which something may have run.
        since: Instant,
    },
    /// Envoy's statistics do not arrive, or two Envoys live.
    Unknown,
}

impl Activity {
    fn told(self, upstream: &UpstreamId, now: Instant) -> proto::UpstreamActivity {
        let state = match self {
            Self::Active => ProtoState::Active(true),
            Self::Idle { since } => {
                let idle = now.saturating_duration_since(since).as_millis();
                ProtoState::IdleForMs(u64::try_from(idle).unwrap_or(u64::MAX))
            }
            Self::Unknown => ProtoState::Unknown(true),
        };
        proto::UpstreamActivity { upstream: upstream.to_string(), state: Some(state) }
    }
}

/// The activity of all upstreams of the table.
#[derive(Debug)]
pub struct Activities {
    /// Without a flush for this long, nothing is known.
    silence: Duration,
    envoys: usize,
    last_flush: Option<Instant>,
    upstreams: BTreeMap<UpstreamId, Upstream>,
    touched: Touched,
}

/// Whose state may differ from what was said.
#[derive(Debug)]
enum Touched {
    These(BTreeSet<UpstreamId>),
    All,
}

#[derive(Debug)]
struct Upstream {
    protocol: Protocol,
    /// Own connections that are held or relayed.
    own: u32,
    /// Of the last flush, and whether it differed from the one before.
    envoy: Option<(Counters, Change)>,
    /// The last moment at which something may have run.
    last: Instant,
    said: Option<Activity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Began,
    None,
}

impl Activities {
    /// Nothing known. `silence`: how long the statistics may stay away before nothing is known any more.
    pub fn new(silence: Duration) -> Self {
        Self {
            silence,
            envoys: 0,
            last_flush: None,
            upstreams: BTreeMap::new(),
            touched: Touched::These(BTreeSet::new()),
        }
    }

    /// The upstreams there are. One that is new has been idle since now at the most.
    pub fn track(&mut self, upstreams: impl IntoIterator<Item = (UpstreamId, Protocol)>, now: Instant) {
        let mut old = std::mem::take(&mut self.upstreams);
        for (id, protocol) in upstreams {
            let known = old.remove(&id).filter(|known| known.protocol == protocol);
            let new = || Upstream { protocol, own: 0, envoy: None, last: now, said: None };
            self.upstreams.insert(id, known.unwrap_or_else(new));
        }
    }

    /// How many own connections are held or relayed for `upstream` now.
    pub fn own(&mut self, upstream: &UpstreamId, count: u32, now: Instant) {
        if let Some(known) = self.upstreams.get_mut(upstream) {
            known.own = count;
            known.last = now;
            if let Touched::These(touched) = &mut self.touched {
                touched.insert(upstream.clone());
            }
        }
    }

    /// How many Envoys live on this node. With two, nothing is known; a new one begins to count anew (rule N5).
    pub fn envoys(&mut self, count: usize) {
        if count != self.envoys {
            self.envoys = count;
            self.touched = Touched::All;
        }
    }

    /// An Envoy was replaced by another: what the old one did after its last flush is unknown.
    pub fn replaced(&mut self, now: Instant) {
        self.last_flush = None;
        for known in self.upstreams.values_mut() {
            known.envoy = None;
            known.last = now;
        }
        self.touched = Touched::All;
    }

    /// The one living Envoy flushed its statistics.
    pub fn flush(&mut self, flush: &Flush, now: Instant) {
        self.last_flush = Some(now);
        for (id, known) in &mut self.upstreams {
            let counters = flush.get(id);
            let begun = |counters: &Counters| counters.begun(known.protocol);
            let before = known.envoy.take().map(|(counters, _)| counters);
            let change = match &before {
                Some(before) if begun(before) != begun(&counters) => Change::Began,
                _ => Change::None,
            };
            // What was open at the last flush may have ended only just now.
            let was_open = before.is_none_or(|before| before.open(known.protocol));
            if was_open || change == Change::Began || counters.open(known.protocol) {
                known.last = now;
            }
            known.envoy = Some((counters, change));
        }
        self.touched = Touched::All;
    }

    /// When [`Activities::changes`] may turn to unknown though nothing happens; `None`: not before something does.
    pub fn expires_at(&self) -> Option<Instant> {
        self.last_flush.map(|last| last + self.silence)
    }

    /// Time has passed: after [`Activities::expires_at`], what rests on Envoy's statistics is unknown.
    pub fn expire(&mut self, now: Instant) {
        if self.last_flush.is_some_and(|last| now >= last + self.silence) {
            self.last_flush = None;
            self.touched = Touched::All;
        }
    }

    /// The state of one upstream.
    pub fn get(&self, upstream: &UpstreamId) -> Activity {
        self.upstreams.get(upstream).map_or(Activity::Unknown, |known| known.state(self.sight()))
    }

    /// Everything known, for a session that opens (rule V1); it counts as said.
    pub fn whole(&mut self, now: Instant) -> proto::Activity {
        self.upstreams.values_mut().for_each(|known| known.said = None);
        self.touched = Touched::All;
        self.changes(now)
    }

    /// What differs from what was said before; it counts as said.
    pub fn changes(&mut self, now: Instant) -> proto::Activity {
        let sight = self.sight();
        let mut changes = proto::Activity::default();
        let mut look = |id: &UpstreamId, known: &mut Upstream| {
            let state = known.state(sight);
            // What was never mentioned is unknown already.
            if known.said.unwrap_or(Activity::Unknown) != state {
                known.said = Some(state);
                changes.upstreams.push(state.told(id, now));
            }
        };
        match std::mem::replace(&mut self.touched, Touched::These(BTreeSet::new())) {
            Touched::All => self.upstreams.iter_mut().for_each(|(id, known)| look(id, known)),
            Touched::These(touched) => {
                for id in &touched {
                    if let Some(known) = self.upstreams.get_mut(id) {
                        look(id, known);
                    }
                }
            }
        }
        changes
    }

    fn sight(&self) -> Sight {
        if self.envoys == 1 && self.last_flush.is_some() { Sight::Clear } else { Sight::Blind }
    }
}

/// Whether Envoy's statistics can be relied on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Clear,
    Blind,
}

impl Upstream {
    fn state(&self, sight: Sight) -> Activity {
        match &self.envoy {
            _ if self.own > 0 => Activity::Active,
            Some((counters, change)) if sight == Sight::Clear => {
                if counters.open(self.protocol) || *change == Change::Began {
                    Activity::Active
                } else {
                    Activity::Idle { since: self.last }
                }
            }
            _ => Activity::Unknown,
        }
    }
}
