//! The quiet proof, rule D3. In: requests for proof, flushes of Envoy's statistics, own connections; out: the drains for
//! which this node is proven quiet. Pure.
//!
//! A flush passes through every worker of Envoy, and the next begins after it has ended. Envoy stamps a flush at its
//! end; so the first one stamped after the request (the marker) may have begun before, and may have passed a worker that
//! had not yet switched. Those after it have not: two of them, successive, with nothing open and nothing begun from the
//! first to the second, prove that Envoy is quiet.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use zenvoy_shared::id::{DrainId, Protocol, UpstreamId};

use super::counters::{Counters, Flush};

/// The proxy's own side of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The drain for which its connections are held now, if they are held for one.
    pub drain: Option<DrainId>,
    /// Own connections that are held or relayed.
    pub open: u32,
    /// What its clients speak.
    pub protocol: Protocol,
}

/// The proofs that are asked for.
#[derive(Debug, Default)]
pub struct Proofs {
    asked: BTreeMap<DrainId, Proof>,
}

#[derive(Debug)]
struct Proof {
    upstreams: Vec<UpstreamId>,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The marker is awaited: a flush stamped after this moment; without stamps, the second to arrive.
    Marker { after_unix_ms: i64, arrived: u32 },
    /// A flush with nothing open is awaited.
    First,
    /// Nothing was open, and this had begun by then; the next flush must say the same.
    Second(Vec<Counters>),
    /// Said.
    Proven,
}

impl Stage {
    fn start(now_unix_ms: i64) -> Self {
        Self::Marker { after_unix_ms: now_unix_ms, arrived: 0 }
    }
}

impl Proofs {
    /// A proof is asked for, at `now_unix_ms` on this host's clock: Envoy has ACKed the switch. Asked for again, it
    /// starts over.
    pub fn ask(&mut self, drain: DrainId, upstreams: Vec<UpstreamId>, now_unix_ms: i64) {
        self.asked.insert(drain, Proof { upstreams, stage: Stage::start(now_unix_ms) });
    }

    /// The proof is no longer asked for.
    pub fn withdraw(&mut self, drain: &DrainId) {
        self.asked.remove(drain);
    }

    /// No proof is asked for: the session broke, and a new one asks again.
    pub fn clear(&mut self) {
        self.asked.clear();
    }

    /// A connection for `upstream` was held or relayed: what was shown before counts no more.
    pub fn disturb(&mut self, upstream: &UpstreamId, now_unix_ms: i64) {
        for proof in self.asked.values_mut().filter(|proof| proof.upstreams.contains(upstream)) {
            proof.stage = Stage::start(now_unix_ms);
        }
    }

    /// Nothing shown before counts any more: another Envoy has come.
    pub fn restart(&mut self, now_unix_ms: i64) {
        self.asked.values_mut().for_each(|proof| proof.stage = Stage::start(now_unix_ms));
    }

    /// The one living Envoy flushed. `own` gives the proxy's side; `None`: not an upstream of its table. Returns the
    /// drains for which the node is now proven quiet, each once.
    pub fn flush(
        &mut self,
        flush: &Flush,
        own: impl Fn(&UpstreamId) -> Option<Own>,
        now_unix_ms: i64,
    ) -> Vec<DrainId> {
        let mut proven = Vec::new();
        for (drain, proof) in &mut self.asked {
            let before = proof.stage == Stage::Proven;
            proof.flush(drain, flush, &own, now_unix_ms);
            if proof.stage == Stage::Proven && !before {
                proven.push(drain.clone());
            }
        }
        proven
    }

    /// The drains for which a proof is asked for.
    pub fn drains(&self) -> impl Iterator<Item = &DrainId> {
        self.asked.keys()
    }
}

impl Proof {
    fn flush(
        &mut self,
        drain: &DrainId,
        flush: &Flush,
        own: &impl Fn(&UpstreamId) -> Option<Own>,
        now_unix_ms: i64,
    ) {
        let held = |own: &Own| own.drain.as_ref() == Some(drain) && own.open == 0;
        let sides: Option<Vec<Own>> = self.upstreams.iter().map(|id| own(id).filter(held)).collect();
        let Some(sides) = sides else {
            self.stage = Stage::start(now_unix_ms);
            return;
        };
        let seen: Vec<(Counters, Protocol)> =
            self.upstreams.iter().zip(&sides).map(|(id, own)| (flush.get(id), own.protocol)).collect();
        let nothing_open = seen.iter().all(|(counters, protocol)| !counters.open(*protocol));
        let counters = || seen.iter().map(|(counters, _)| *counters).collect();
        self.stage = match std::mem::replace(&mut self.stage, Stage::First) {
            Stage::Marker { after_unix_ms, arrived } => match flush.taken_unix_ms {
                Some(taken) if taken > after_unix_ms => Stage::First,
                None if arrived > 0 => Stage::First,
                _ => Stage::Marker { after_unix_ms, arrived: arrived.saturating_add(1) },
            },
            Stage::Proven => Stage::Proven,
            _ if !nothing_open => Stage::First,
            Stage::First => Stage::Second(counters()),
            Stage::Second(before) => {
                let same = before
                    .iter()
                    .zip(&seen)
                    .all(|(before, (after, protocol))| before.begun(*protocol) == after.begun(*protocol));
                if same { Stage::Proven } else { Stage::Second(counters()) }
            }
        };
    }
}
