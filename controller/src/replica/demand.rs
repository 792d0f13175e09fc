//! Demand of this replica's nodes becomes a wake intent (rules W1, D11). Any replica does this.

use serde_json::Map;
use zenvoy_shared::id::{Episode, UpstreamId, WorkloadId};

use super::core::Core;
use crate::execute::{Job, Subject};
use crate::model::{DrainState, Route, WakeRecord, WakeState};
use crate::session::Demand;
use crate::store::{Compare, Key, Txn, Write, encode};

impl Core {
    /// Opens a wake when a node demands an upstream that has nowhere to go. Known already: nothing to write.
    pub(super) fn open_wake(&mut self, workload: &WorkloadId) -> Option<Job> {
        if self.held_for(workload).is_none() {
            self.end_alone(workload);
            return None;
        }
        if let Some(job) = self.wake_alone(workload) {
            return Some(job);
        }
        let view = self.inventory.view(workload);
        let facts = view.facts?;
        if view.is_unreadable {
            return None;
        }
        let draining = view.drain().is_some_and(|drain| drain.record.is_open());
        if view.open_wake().is_some() || (view.has_usable() && !draining) {
            // Up already: an upstream of it that has no endpoint would not get one by a wake.
            return None;
        }
        let (upstream, demand) = self.held_for(workload)?;
        let record = WakeRecord {
            uid: facts.version.uid.clone(),
            episode: Episode::fresh(),
            upstream,
            traceparent: demand.traceparent.clone(),
            state: WakeState::Created,
            opened_unix_ms: self.now.unix_ms(),
            attempts: 0,
            last_error: None,
            endpoints: Vec::new(),
            ready: None,
            unknown: Map::new(),
        };
        let key = Key::Wake(workload.clone());
        // Rule W1: on exactly the record that was looked at, whatever object it is about.
        let mut compares = vec![match view.wake_record {
            Some(wake) => Compare::WrittenAt(key.clone(), wake.revision),
            None => Compare::Absent(key.clone()),
        }];
        let mut writes = vec![Write::Put(key, encode(&record), None)];
        if let Some(drain) = view.drain()
            && drain.record.state == DrainState::Offered
        {
            // Rule D11: the offer that this cancels still stands, and the own word for it is taken back at once.
            compares.push(Compare::WrittenAt(Key::Drain(workload.clone()), drain.revision));
            writes.push(Write::Delete(Key::DrainAck(workload.clone(), self.options.me.id.clone())));
        }
        let since = demand.since_unix_nanos;
        self.timelines.held(workload, &record, since);
        Self::job(Subject::Demand(workload.clone()), Txn { compares, writes })
    }

    /// The connection that is held the longest for an upstream of the workload that has nowhere to go.
    fn held_for(&self, workload: &WorkloadId) -> Option<(UpstreamId, Demand)> {
        let view = self.inventory.view(workload);
        view.facts?;
        let cold = view.upstreams.iter().filter(|upstream| !matches!(view.route(upstream), Route::Pods(_)));
        let held = cold.filter_map(|upstream| Some((upstream.id, self.nodes.demanded(upstream.id)?)));
        let (upstream, demand) = held.min_by_key(|(_, demand)| demand.since_unix_nanos)?;
        Some((upstream.clone(), demand.clone()))
    }
}
