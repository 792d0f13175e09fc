//! One connection's place in the account: it moves from standing to standing, and leaves when it is dropped.

use std::sync::Arc;

use zenvoy_shared::id::UpstreamId;

use super::{Books, Moment, Node};
use crate::demand::{Reason, TraceContext};
use crate::relay::Relayed;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was accepted; nothing is decided.
    Arrived,
    /// Its first byte is awaited: until then it is no demand.
    Silent,
    /// It is held, and a wake is demanded for it.
    Held,
    /// An endpoint is being dialled for it.
    Releasing,
    /// It is relayed.
    Relaying,
}

/// Too many connections wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// For this upstream.
    #[error("{0} connections are held for this upstream on this node: that is its limit")]
    Upstream(u32),
    /// On this node.
    #[error("{0} connections are held on this node: that is its limit")]
    Node(u32),
}

/// One connection's place.
#[derive(Debug)]
pub struct Place {
    node: Arc<Node>,
    upstream: UpstreamId,
    standing: Standing,
    held: Option<(Moment, TraceContext)>,
}

impl Place {
    pub(super) fn new(node: Arc<Node>, upstream: UpstreamId) -> Self {
        node.lock().accounts.entry(upstream.clone()).or_default().counts.arrived += 1;
        Self { node, upstream, standing: Standing::Arrived, held: None }
    }

    /// Which upstream it is for.
    pub fn upstream(&self) -> &UpstreamId {
        &self.upstream
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Lets it wait as `to`, unless as many as `max_held` do already for its upstream, or too many in total.
    pub fn wait(&mut self, to: Standing, max_held: u32, now: Moment) -> Result<(), Refused> {
        if self.standing == Standing::Arrived {
            let mut books = self.node.lock();
            let total = books.waiting;
            let account = books.accounts.entry(self.upstream.clone()).or_default();
            if account.waiting() >= max_held {
                account.counts.refused += 1;
                return Err(Refused::Upstream(max_held));
            }
            if total >= self.node.max_held {
                account.counts.refused += 1;
                return Err(Refused::Node(self.node.max_held));
            }
        }
        self.stand(to, now);
        Ok(())
    }

    /// Moves it. The demand, the activity and the proofs of its upstream follow.
    pub fn stand(&mut self, to: Standing, now: Moment) {
        let from = std::mem::replace(&mut self.standing, to);
        if from == to {
            return;
        }
        let mut books = self.node.lock();
        books.step(&self.upstream, from, to, now);
        if to == Standing::Held && self.held.is_none() {
            let trace = books.demands.get(&self.upstream).map(|reason| reason.trace);
            self.held = trace.map(|trace| (now, trace));
        }
        drop(books);
        self.node.news.notify_one();
    }

    /// When it was first held, and the trace of its wake.
    pub fn held(&self) -> Option<(Moment, TraceContext)> {
        self.held
    }

    /// It is failed for `reason`.
    pub fn fail(&self, reason: &str) {
        self.node.lock().accounts.entry(self.upstream.clone()).or_default().fail(reason);
    }

    /// Its client went away while it was held.
    pub fn gone(&self) {
        self.node.lock().accounts.entry(self.upstream.clone()).or_default().counts.gone += 1;
    }

    /// The node it is on.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where its relayed bytes are counted.
    pub fn relayed(&self) -> Arc<Relayed> {
        self.node.lock().accounts.entry(self.upstream.clone()).or_default().relayed.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stand(Standing::Arrived, Moment::now());
    }
}

impl Books {
    fn step(&mut self, upstream: &UpstreamId, from: Standing, to: Standing, now: Moment) {
        let account = self.accounts.entry(upstream.clone()).or_default();
        let (open, waiting) = (account.open(), account.waiting());
        if let Some(count) = account.at(from) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = account.at(to) {
            *count += 1;
        }
        match to {
            Standing::Held => account.counts.ever_held += 1,
            Standing::Relaying => account.counts.ever_relayed += 1,
            _ => {}
        }
        self.waiting = (self.waiting + account.waiting()).saturating_sub(waiting);
        if open != account.open() {
            self.activities.own(upstream, account.open(), now.at);
        }
        if matches!(to, Standing::Held | Standing::Releasing | Standing::Relaying) {
            self.proofs.disturb(upstream, now.unix_ms());
        }
        if from == Standing::Held {
            self.demand_changed |= self.demands.let_go(upstream);
        }
        if to == Standing::Held {
            let first = || Reason { trace: TraceContext::fresh(), since_unix_nanos: now.unix_nanos() };
            self.demand_changed |= self.demands.hold(upstream, first);
        }
    }
}
