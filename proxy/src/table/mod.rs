//! Activator address -> upstream, as the controller says it. In: `HeldUpstream` resources; out: what to do with a
//! connection, and notice when that changes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use zenvoy_shared::id::{ActivatorAddress, DrainId, InvalidId, Protocol, UpstreamId};
use zenvoy_shared::proto;
use zenvoy_shared::proto::held_upstream::Verdict as ProtoVerdict;

/// No connection is held longer than this, whatever it is told.
const LONGEST_WAKE: Duration = Duration::from_secs(24 * 60 * 60);

/// One upstream, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub upstream: UpstreamId,
    /// Where its connections arrive while it is cold.
    pub activator: ActivatorAddress,
    /// What its clients speak.
    pub protocol: Protocol,
    /// How long a connection may be held.
    pub wake_timeout: Duration,
    /// How many connections may be held on this node.
    pub max_held: u32,
    /// What every node does with a connection that arrives now.
    pub verdict: Verdict,
    /// What keeps it from being ready, if that is known: for those who are held in vain.
    pub lacks: Option<String>,
    /// What this node does for a while instead of holding it.
    pub refused: Option<Refused>,
}

/// The controller does not take this node's demand for an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// In place of holding.
    pub verdict: Verdict,
    /// Until then.
    pub until: Instant,
}

impl Held {
    /// What to do with a connection at `now`.
    pub fn verdict_at(&self, now: Instant) -> &Verdict {
        match (&self.verdict, &self.refused) {
            (Verdict::Hold { .. }, Some(refused)) if now < refused.until => &refused.verdict,
            (verdict, _) => verdict,
        }
    }
}

/// What to do with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it waiting and demand a wake.
    Hold {
        /// The drain of the workload that is on offer or committed, if one is.
        drain: Option<DrainId>,
    },
    /// Relay it to one of these; never empty.
    Forward(Vec<SocketAddr>),
    /// Answer with the reason.
    Fail {
        /// A stable word.
        reason: String,
        /// One sentence.
        message: String,
        /// A new attempt is worth it after this.
        retry_after: Duration,
    },
}

/// A resource that makes no sense: it is NACKed with this, and the last good one stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeld {
    /// An id or address is malformed.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// An endpoint is malformed.
    #[error("{upstream}: {text:?} is not an endpoint: give ip:port, [ip]:port for IPv6")]
    Endpoint {
        /// Of which upstream.
        upstream: String,
        /// As given.
        text: String,
    },
    /// It speaks of another upstream than its name.
    #[error("the resource {name:?} speaks of {upstream}")]
    Name {
        /// Of which upstream.
        upstream: String,
        /// The resource's name.
        name: String,
    },
    /// It would be relayed to itself for ever.
    #[error("{upstream}: {activator} cannot be an endpoint: it is the upstream's own activator address")]
    Loop {
        /// Of which upstream.
        upstream: String,
        /// Its activator address.
        activator: ActivatorAddress,
    },
    /// A field that must be there is not, or says nothing known.
    #[error("{upstream}: {field} is missing or unknown")]
    Field {
        /// Of which upstream.
        upstream: String,
        /// Which.
        field: &'static str,
    },
}

impl TryFrom<proto::HeldUpstream> for Held {
    type Error = InvalidHeld;

    fn try_from(held: proto::HeldUpstream) -> Result<Self, InvalidHeld> {
        let field = |field| InvalidHeld::Field { upstream: held.upstream.clone(), field };
        let limits = held.limits.ok_or_else(|| field("limits"))?;
        if limits.wake_timeout_ms == 0 {
            return Err(field("limits.wake_timeout_ms"));
        }
        let protocol = match held.protocol() {
            proto::Protocol::Http => Protocol::Http,
            proto::Protocol::Http2 => Protocol::Http2,
            proto::Protocol::Tcp => Protocol::Tcp,
            proto::Protocol::Tls => Protocol::Tls,
            proto::Protocol::Unspecified => return Err(field("protocol")),
        };
        let verdict = match held.verdict.as_ref().ok_or_else(|| field("verdict"))? {
            ProtoVerdict::Hold(hold) => Verdict::Hold {
                drain: Some(&hold.drain_id).filter(|id| !id.is_empty()).map(|id| DrainId(id.clone())),
            },
            ProtoVerdict::Forward(forward) => {
                Verdict::Forward(endpoints(&held.upstream, &forward.endpoints)?)
            }
            ProtoVerdict::Fail(fail) => Verdict::Fail {
                reason: fail.reason.clone(),
                message: fail.message.clone(),
                retry_after: Duration::from_millis(fail.retry_after_ms),
            },
        };
        let lacks = match &held.verdict {
            Some(ProtoVerdict::Hold(hold)) if !hold.lacks.is_empty() => Some(hold.lacks.clone()),
            _ => None,
        };
        let activator: ActivatorAddress = held.activator_address.parse()?;
        if matches!(&verdict, Verdict::Forward(to) if to.contains(&activator.0.into())) {
            return Err(InvalidHeld::Loop { upstream: held.upstream, activator });
        }
        Ok(Self {
            upstream: held.upstream.parse()?,
            activator,
            protocol,
            wake_timeout: Duration::from_millis(limits.wake_timeout_ms).min(LONGEST_WAKE),
            max_held: limits.max_held,
            verdict,
            lacks,
            refused: None,
        })
    }
}

fn endpoints(upstream: &str, texts: &[String]) -> Result<Vec<SocketAddr>, InvalidHeld> {
    if texts.is_empty() {
        return Err(InvalidHeld::Field { upstream: upstream.into(), field: "forward.endpoints" });
    }
    let parse = |text: &String| {
        text.parse().map_err(|_| InvalidHeld::Endpoint { upstream: upstream.into(), text: text.clone() })
    };
    texts.iter().map(parse).collect()
}

/// All upstreams, by activator address.
#[derive(Debug, Default)]
pub struct Table {
    rows: Mutex<Rows>,
    /// Counts changes of which upstream is at which address.
    layout: watch::Sender<u64>,
}

/// How the node stands with the controller that keeps the table now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// It is registered: what it is told is true of it.
    #[default]
    Registered,
    /// The controller cannot reach its store, and may not know of a drain that this node has proven quiet for.
    Unregistered,
}

#[derive(Debug, Default)]
struct Rows {
    standing: Standing,
    /// Upstreams whose connections are kept, whatever is said, until the controller has said that they are cold: they may
    /// drain. Each with the verdict that was said.
    kept: HashMap<UpstreamId, Option<Verdict>>,
    by_address: HashMap<ActivatorAddress, watch::Sender<Arc<Held>>>,
    by_upstream: HashMap<UpstreamId, ActivatorAddress>,
}

impl Table {
    /// Sets what is known of an upstream; those who wait on it are told. An upstream that moved leaves its old address,
    /// and one whose address goes to another is forgotten: those who wait on it see their channel end.
    pub fn set(&self, mut held: Held) {
        let mut rows = self.lock();
        rows.keep(&mut held);
        let old = rows.by_address.get(&held.activator).map(|row| row.borrow().clone());
        if let Some(old) = old.as_ref().filter(|old| old.upstream == held.upstream) {
            // Said on the session: a new row does not take it back.
            held.refused = held.refused.or_else(|| old.refused.clone());
        }
        let (activator, held) = (held.activator, Arc::new(held));
        if old.as_ref().is_some_and(|old| old.upstream == held.upstream) {
            let same = old.is_some_and(|old| old.protocol == held.protocol);
            if let Some(row) = rows.by_address.get(&activator) {
                row.send_replace(held);
            }
            if same {
                return;
            }
        } else {
            if let Some(old) = old {
                rows.by_upstream.remove(&old.upstream);
            }
            if let Some(left) = rows.by_upstream.insert(held.upstream.clone(), activator) {
                rows.by_address.remove(&left);
            }
            rows.by_address.insert(activator, watch::Sender::new(held));
        }
        drop(rows);
        self.changed();
    }

    /// A session begins in which the node stands so (rule N2). While it is not registered, connections of what is not
    /// forwarded now are not let go to pods that may be on their way out, until the upstream was seen cold.
    pub fn begin(&self, standing: Standing) {
        let mut rows = self.lock();
        rows.standing = standing;
        if standing == Standing::Unregistered {
            let all = rows.by_address.values().map(|row| row.borrow().clone());
            let may_drain = all.filter(|held| !matches!(held.verdict, Verdict::Forward(_)));
            let may_drain: Vec<UpstreamId> = may_drain.map(|held| held.upstream.clone()).collect();
            for upstream in may_drain {
                rows.kept.entry(upstream).or_default();
            }
        }
    }

    /// The controller has said all that differs from what was known.
    pub fn said_all(&self) {
        let mut rows = self.lock();
        let registered = rows.standing == Standing::Registered;
        let kept = std::mem::take(&mut rows.kept);
        for (upstream, said) in kept {
            let row = rows.by_upstream.get(&upstream).and_then(|address| rows.by_address.get(address));
            let Some(row) = row else { continue };
            // As this controller sees it too, or it would have said so.
            let cold = matches!(row.borrow().verdict, Verdict::Hold { drain: None } | Verdict::Fail { .. });
            let cold = said.is_none() && cold;
            match said {
                Some(verdict) if registered => {
                    row.send_modify(|held| *held = Arc::new(Held { verdict, ..Held::clone(held) }));
                }
                said if !registered && !cold => drop(rows.kept.insert(upstream, said)),
                _ => {}
            }
        }
    }

    /// The node's demand for an upstream is refused for a while; those who wait on it are told.
    pub fn refuse(&self, upstream: &UpstreamId, refused: Refused) {
        let rows = self.lock();
        let Some(row) = rows.by_upstream.get(upstream).and_then(|address| rows.by_address.get(address))
        else {
            return;
        };
        row.send_modify(|held| *held = Arc::new(Held { refused: Some(refused), ..Held::clone(held) }));
    }

    /// Forgets an upstream; those who wait on it see their channel end.
    pub fn remove(&self, upstream: &UpstreamId) {
        let mut rows = self.lock();
        rows.kept.remove(upstream);
        let Some(address) = rows.by_upstream.remove(upstream) else { return };
        rows.by_address.remove(&address);
        drop(rows);
        self.changed();
    }

    /// What is known for an address, and what comes of it.
    pub fn get(&self, activator: ActivatorAddress) -> Option<watch::Receiver<Arc<Held>>> {
        self.lock().by_address.get(&activator).map(watch::Sender::subscribe)
    }

    /// What is known of an upstream.
    pub fn of(&self, upstream: &UpstreamId) -> Option<Arc<Held>> {
        let rows = self.lock();
        let row = rows.by_address.get(rows.by_upstream.get(upstream)?)?;
        let held = row.borrow().clone();
        Some(held)
    }

    /// All that is known, in no order.
    pub fn all(&self) -> Vec<Arc<Held>> {
        self.lock().by_address.values().map(|row| row.borrow().clone()).collect()
    }

    /// Changes whenever [`Table::addresses`] does, or what an upstream's clients speak.
    pub fn layout(&self) -> watch::Receiver<u64> {
        self.layout.subscribe()
    }

    /// All activator addresses, for the transport that binds each.
    pub fn addresses(&self) -> Vec<ActivatorAddress> {
        self.lock().by_address.keys().copied().collect()
    }

    fn changed(&self) {
        self.layout.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        // A panic elsewhere leaves the rows consistent: nothing here panics between two statements.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    /// Takes the verdict back that is not to be followed now, and notes it for later.
    fn keep(&mut self, held: &mut Held) {
        if !self.kept.contains_key(&held.upstream) {
            return;
        }
        let forwards = matches!(held.verdict, Verdict::Forward(_));
        let known = self.by_upstream.get(&held.upstream).and_then(|address| self.by_address.get(address));
        match known.map(|row| row.borrow().verdict.clone()) {
            Some(known) if forwards && self.standing == Standing::Unregistered => {
                let said = std::mem::replace(&mut held.verdict, known);
                self.kept.insert(held.upstream.clone(), Some(said));
            }
            _ => drop(self.kept.remove(&held.upstream)),
        }
    }
}

#[cfg(test)]
mod tests;
