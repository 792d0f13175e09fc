//! What a client is to want from now on. In: words from any thread, also from within a handler; out: requests, when its
//! stream can take them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tokio::sync::Notify;

use crate::core::{ClientState, Handler, TypeUrl};

/// Names by type; `true`: wanted. The last word on a name counts, so that this is no larger than what is talked about.
type Said = BTreeMap<TypeUrl, BTreeMap<Arc<str>, bool>>;

/// Changes the names that a [`Client`](super::Client) subscribes to while it runs. Clones change the same client's. Calls
/// return at once; while there is no stream, what they said is taken in with the next one.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    said: Mutex<Said>,
    changed: Notify,
}

impl Wants {
    /// Names that are wanted from now on, of a type that the client watches by name, or not at all yet.
    pub fn subscribe<N: Into<Arc<str>>>(
        &self,
        type_url: impl Into<TypeUrl>,
        names: impl IntoIterator<Item = N>,
    ) {
        self.say(type_url.into(), names, true);
    }

    /// Names that are no longer wanted. The handler is told to remove those that it was given.
    pub fn unsubscribe<N: Into<Arc<str>>>(
        &self,
        type_url: impl Into<TypeUrl>,
        names: impl IntoIterator<Item = N>,
    ) {
        self.say(type_url.into(), names, false);
    }

    fn say<N: Into<Arc<str>>>(&self, type_url: TypeUrl, names: impl IntoIterator<Item = N>, wanted: bool) {
        // Gathered before the lock is taken: the caller's iterator may take its time.
        let names: Vec<(Arc<str>, bool)> = names.into_iter().map(|name| (name.into(), wanted)).collect();
        if !names.is_empty() {
            self.said().entry(type_url).or_default().extend(names);
            self.shared.changed.notify_waiters();
        }
    }

    /// Returns when something was said that has not been taken in.
    pub(super) async fn changed(&self) {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            if !self.said().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Takes in what was said. The requests are for the stream that is open, if one is.
    pub(super) fn take_in(
        &self,
        state: &mut ClientState,
        handler: &mut (dyn Handler + Send),
    ) -> Vec<DeltaDiscoveryRequest> {
        let said = std::mem::take(&mut *self.said());
        let mut requests = Vec::new();
        for (type_url, names) in said {
            let (more, fewer): (Vec<_>, Vec<_>) = names.into_iter().partition(|(_, wanted)| *wanted);
            let names = |of: Vec<(Arc<str>, bool)>| of.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
            let (more, fewer) = (names(more), names(fewer));
            let held: Vec<&Arc<str>> = fewer.iter().filter(|name| state.holds(&type_url, name)).collect();
            requests.extend(state.change(&type_url, &more, &fewer));
            held.into_iter().filter(|name| !state.holds(&type_url, name)).for_each(|name| {
                handler.remove(&type_url, name);
            });
        }
        requests
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        // It is whole between statements.
        self.shared.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
