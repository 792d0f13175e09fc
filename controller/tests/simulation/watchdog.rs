//! What must never be seen of scale writes and records, whoever writes them: I1, I3, and that no open wake is lost (W1).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use zenvoy_controller::model::{DrainRecord, PortState, WakeRecord};
use zenvoy_controller::session::Moment;
use zenvoy_controller::store::Key;
use zenvoy_shared::id::{ActivatorAddress, DrainId, UpstreamId};

/// How long a released address rests.
pub(crate) const QUARANTINE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct State {
    now: Moment,
    wake: Option<WakeRecord>,
    /// Writes 0 -> n since replicas were 0 the last time.
    ups: u32,
    /// A wake was open since then.
    asked: bool,
    /// Some call was not answered in this run: a replica may have woken without a record (rule W4).
    unanswered: bool,
    /// How often the object was re-created, and how often it had been when the last drain was offered.
    created: u32,
    offered: Option<(DrainId, u32)>,
    mapped: BTreeMap<UpstreamId, ActivatorAddress>,
    released: BTreeMap<ActivatorAddress, Moment>,
    violation: Option<String>,
}

/// Looks on. Clones look at the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watchdog(Arc<Mutex<State>>);

impl Watchdog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.state().violation.take()
    }

    pub(crate) fn time_is(&self, now: Moment) {
        self.state().now = now;
    }

    pub(crate) fn lacks_answers(&self) {
        self.state().unanswered = true;
    }

    // === scale writes ===

    pub(crate) fn scaled_up(&self) {
        let mut state = self.state();
        state.ups += 1;
        if state.ups > 1 {
            state.violation = Some("I1: two effective scale writes in one episode".into());
        }
        if !state.asked && !state.unanswered {
            state.violation = Some("I1: scaled up, and nobody had asked since it was scaled down".into());
        }
    }

    pub(crate) fn scaled_down(&self) {
        let mut state = self.state();
        state.ups = 0;
        state.asked = state.wake.as_ref().is_some_and(WakeRecord::is_open);
        if state.offered.as_ref().is_some_and(|(_, created)| *created != state.created) {
            state.violation = Some("I5: an object is scaled down by the drain of another of its name".into());
        }
    }

    /// The object was deleted, and another of its name created.
    pub(crate) fn recreated(&self) {
        self.state().created += 1;
    }

    // === records ===

    pub(crate) fn put(&self, key: &Key, value: &Bytes) {
        match key {
            Key::Wake(_) => self.wake(&serde_json::from_slice(value).expect("a wake")),
            Key::Drain(_) => self.drain(serde_json::from_slice(value).expect("a drain")),
            Key::PortByUpstream(upstream) => {
                self.mapped(upstream, serde_json::from_slice(value).expect("an address"));
            }
            Key::PortByAddress(address) => {
                if let PortState::Quarantined { .. } = serde_json::from_slice(value).expect("a port") {
                    let mut state = self.state();
                    let now = state.now;
                    state.released.insert(*address, now);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn deleted(&self, key: &Key) {
        if let Key::PortByUpstream(upstream) = key {
            self.state().mapped.remove(upstream);
        }
    }

    fn wake(&self, wake: &WakeRecord) {
        let mut state = self.state();
        state.asked |= wake.is_open();
        let before = state.wake.replace(wake.clone());
        if before.is_some_and(|before| before.is_open() && before.episode != wake.episode) {
            state.violation = Some("W1: a wake that was open is replaced by another".into());
        }
    }

    fn drain(&self, drain: DrainRecord) {
        let mut state = self.state();
        if state.offered.as_ref().is_none_or(|(known, _)| *known != drain.id) {
            state.offered = Some((drain.id, state.created));
        }
    }

    fn mapped(&self, upstream: &UpstreamId, address: ActivatorAddress) {
        let mut state = self.state();
        let other = state.mapped.iter().any(|(other, taken)| other != upstream && *taken == address);
        let before = state.mapped.insert(upstream.clone(), address);
        let rested = state.released.get(&address).map(|released| released.until(state.now));
        if other {
            state.violation = Some(format!("I3: {address} stands for two upstreams"));
        } else if before.is_some_and(|before| before != address) {
            state.violation = Some(format!("I3: {upstream} moved to another address"));
        } else if rested.is_some_and(|rested| rested < QUARANTINE) {
            state.violation = Some(format!("I3: {address} was used again after {rested:?}"));
        }
    }
}
