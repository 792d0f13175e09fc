//! Activator address -> upstream, as the controller says it. In: `HeldUpstream` resources; out: what to do with a
//! connection, and notice when that changes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    /// What to do with a connection that arrives now.
    pub verdict: Verdict,
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

#[derive(Debug, Default)]
struct Rows {
    by_address: HashMap<ActivatorAddress, watch::Sender<Arc<Held>>>,
    by_upstream: HashMap<UpstreamId, ActivatorAddress>,
}

impl Table {
    /// Sets what is known of an upstream; those who wait on it are told. An upstream that moved leaves its old address,
    /// and one whose address goes to another is forgotten: those who wait on it see their channel end.
    pub fn set(&self, held: Held) {
        let mut rows = self.lock();
        let (activator, held) = (held.activator, Arc::new(held));
        let old = rows.by_address.get(&activator).map(|row| row.borrow().clone());
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

    /// Forgets an upstream; those who wait on it see their channel end.
    pub fn remove(&self, upstream: &UpstreamId) {
        let mut rows = self.lock();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> proto::HeldUpstream {
        proto::HeldUpstream {
            upstream: "shop/cart:80".into(),
            activator_address: "127.0.0.1:20000".into(),
            protocol: proto::Protocol::Http.into(),
            limits: Some(proto::Limits { wake_timeout_ms: 60_000, max_held: 10 }),
            verdict: Some(ProtoVerdict::Hold(proto::Hold::default())),
            ..Default::default()
        }
    }

    #[test]
    fn a_resource_that_makes_no_sense_is_named_with_its_upstream() {
        let forward = |endpoints: &[&str]| {
            let endpoints = endpoints.iter().map(ToString::to_string).collect();
            Some(ProtoVerdict::Forward(proto::Forward { endpoints }))
        };
        let bad = [
            proto::HeldUpstream { verdict: None, ..resource() },
            proto::HeldUpstream { verdict: forward(&[]), ..resource() },
            proto::HeldUpstream { verdict: forward(&["pod:80"]), ..resource() },
            proto::HeldUpstream { verdict: forward(&["10.0.0.1:80", "127.0.0.1:20000"]), ..resource() },
            proto::HeldUpstream { limits: None, ..resource() },
            proto::HeldUpstream { limits: Some(proto::Limits::default()), ..resource() },
            proto::HeldUpstream { protocol: 99, ..resource() },
        ];
        for held in bad {
            let error = Held::try_from(held).unwrap_err().to_string();
            assert!(error.contains("shop/cart:80"), "{error}");
        }
    }

    #[test]
    fn who_waits_on_an_address_is_told_of_the_new_verdict_and_of_the_end() {
        let table = Table::default();
        let held = Held::try_from(resource()).unwrap();
        table.set(held.clone());
        let mut row = table.get(held.activator).unwrap();
        let pods = Verdict::Forward(vec!["10.42.0.1:80".parse().unwrap(), "[fd00::1]:80".parse().unwrap()]);
        table.set(Held { verdict: pods.clone(), ..held.clone() });
        assert_eq!(row.borrow_and_update().verdict, pods);
        table.remove(&held.upstream);
        assert!(row.has_changed().is_err() && table.get(held.activator).is_none());
    }

    #[test]
    fn an_upstream_that_moved_leaves_its_old_address() {
        let table = Table::default();
        let held = Held::try_from(resource()).unwrap();
        table.set(held.clone());
        let moved: ActivatorAddress = "127.0.0.1:20001".parse().unwrap();
        table.set(Held { activator: moved, ..held });
        assert_eq!(table.addresses(), [moved]);
    }

    #[test]
    fn an_address_that_goes_to_another_upstream_ends_what_waits_on_the_first() {
        let table = Table::default();
        let held = Held::try_from(resource()).unwrap();
        table.set(held.clone());
        let row = table.get(held.activator).unwrap();
        let other = UpstreamId::new("shop", "other", 80);
        table.set(Held { upstream: other.clone(), ..held.clone() });
        assert!(row.has_changed().is_err(), "its connections must not reach another upstream");
        assert!(table.of(&held.upstream).is_none());
        assert_eq!(table.of(&other).unwrap().activator, held.activator);
    }

    #[test]
    fn the_layout_changes_with_addresses_and_not_with_verdicts() {
        let table = Table::default();
        let mut layout = table.layout();
        let held = Held::try_from(resource()).unwrap();
        table.set(held.clone());
        assert!(layout.has_changed().unwrap());
        layout.mark_unchanged();
        let drain = Some(DrainId("drain-1".into()));
        table.set(Held { verdict: Verdict::Hold { drain }, ..held.clone() });
        assert!(!layout.has_changed().unwrap());
        table.remove(&held.upstream);
        assert!(layout.has_changed().unwrap());
    }
}
