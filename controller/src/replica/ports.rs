//! Port mappings: each upstream gets an activator address, and a released one rests for a while (I3). Leader only.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use serde_json::Map;
use zenvoy_shared::id::{ActivatorAddress, UpstreamId};

use super::core::{Core, Later};
use crate::execute::{Job, Subject};
use crate::model::{PortState, Revision, Term};
use crate::session::Moment;
use crate::store::{Compare, Key, Txn, Write, encode};

/// Upstreams in one transaction: etcd takes 128 operations at most by default, and each needs two.
const BATCH: usize = 32;

/// What is to be done about mappings.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    /// Upstreams without an activator address.
    unmapped: BTreeSet<UpstreamId>,
    /// Upstreams that are gone, and have one.
    released: BTreeSet<UpstreamId>,
    /// Since when this replica has known that an address rests, with the write that said so. Who wrote it may have a clock
    /// that is off, so the quarantine is counted from here; another replica, or this one restarted, counts anew.
    rests: BTreeMap<ActivatorAddress, (Revision, Moment)>,
}

impl Mappings {
    /// When the quarantine of an address is over.
    fn end(&self, address: &ActivatorAddress, quarantine: Duration) -> Option<Moment> {
        self.rests.get(address).map(|(_, since)| since.after(quarantine))
    }
}

fn keep<T: Ord + Clone>(set: &mut BTreeSet<T>, item: &T, kept: bool) {
    if kept {
        set.insert(item.clone());
    } else {
        set.remove(item);
    }
}

impl Core {
    /// The next batch of allocations, releases and ends of quarantine.
    pub(super) fn map_ports(&mut self) -> Option<Job> {
        let term = self.term?;
        if !self.inventory.is_complete() {
            return None;
        }
        let mut batch = Batch { term, txn: Txn::default(), size: 0 };
        self.allocate(&mut batch);
        self.release(&mut batch);
        self.end_quarantines(&mut batch);
        if batch.size == 0 {
            return None;
        }
        batch.txn.compares.push(Self::guard(batch.term));
        Self::job(Subject::Ports, batch.txn)
    }

    fn allocate(&mut self, batch: &mut Batch) {
        let unmapped = &self.mappings.unmapped;
        let mut exhausted = BTreeSet::new();
        if !unmapped.is_empty() {
            let ports = &self.records.ports;
            let (mappings, now, quarantine) = (&self.mappings, self.now.moment, self.options.quarantine);
            let rested = |address: &_| mappings.end(address, quarantine).is_some_and(|end| end <= now);
            let is_taken = |address: &_| ports.contains_key(address) && !rested(address);
            let mut free = self.options.pool.free(is_taken);
            for upstream in unmapped {
                if batch.is_full() {
                    break;
                }
                let Some(address) = free.next() else {
                    exhausted.insert(upstream.clone());
                    continue;
                };
                batch.map(upstream, address, ports.get(&address).map(|port| port.revision));
            }
        }
        self.tell_exhausted(exhausted);
    }

    fn release(&self, batch: &mut Batch) {
        let until_unix_ms = self.now.unix_ms().saturating_add(millis(self.options.quarantine));
        for upstream in &self.mappings.released {
            if batch.is_full() {
                return;
            }
            let Some(address) = self.records.addresses.get(upstream) else { continue };
            // Of an address that cannot be read nothing is known, and so nothing is released.
            let Some(port) = address.record else { continue };
            let unknown = match self.records.ports.get(&port).and_then(|port| port.record.as_ref()) {
                Some(PortState::Mapped { unknown, .. }) => unknown.clone(),
                Some(PortState::Quarantined { .. }) | None => Map::new(),
            };
            let state = PortState::Quarantined { until_unix_ms, unknown };
            batch.release(upstream, port, address.revision, &state);
        }
    }

    /// Upstreams came or went, or their addresses did.
    pub(super) fn look_at_mappings(&mut self, upstreams: &BTreeSet<UpstreamId>) {
        for upstream in upstreams {
            let exists = self.inventory.upstreams().contains_key(upstream);
            let mapped = self.records.addresses.contains_key(upstream);
            keep(&mut self.mappings.unmapped, upstream, exists && !mapped);
            keep(&mut self.mappings.released, upstream, !exists && mapped);
        }
    }

    /// The record of an address changed.
    pub(super) fn look_at_rest(&mut self, address: ActivatorAddress) {
        match self.records.ports.get(&address) {
            Some(port) if matches!(port.record, Some(PortState::Quarantined { .. })) => {
                let known = self.mappings.rests.get(&address).is_some_and(|(at, _)| *at == port.revision);
                if !known {
                    self.mappings.rests.insert(address, (port.revision, self.now.moment));
                }
            }
            _ => drop(self.mappings.rests.remove(&address)),
        }
    }

    /// Records of quarantines that are over are not kept.
    fn end_quarantines(&mut self, batch: &mut Batch) {
        let mut next: Option<Moment> = None;
        for (address, (_, since)) in &self.mappings.rests {
            let Some(port) = self.records.ports.get(address) else { continue };
            let end = since.after(self.options.quarantine);
            if end > self.now.moment {
                next = Some(next.map_or(end, |next| next.min(end)));
            } else if !batch.is_full() && batch.leaves(address) {
                let key = Key::PortByAddress(*address);
                batch.txn.compares.push(Compare::WrittenAt(key.clone(), port.revision));
                batch.add([Write::Delete(key)]);
            }
        }
        if let Some(next) = next {
            self.later.by(Later::Subject(Subject::Ports), next);
        }
    }
}

struct Batch {
    term: Term,
    txn: Txn,
    size: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.size >= BATCH
    }

    fn add(&mut self, writes: impl IntoIterator<Item = Write>) {
        self.txn.writes.extend(writes);
        self.size += 1;
    }

    /// Whether nothing in the batch writes the address yet: a transaction may write a key once.
    fn leaves(&self, address: &ActivatorAddress) -> bool {
        let key = Key::PortByAddress(*address);
        !self.txn.writes.iter().any(|write| matches!(write, Write::Put(put, ..) if *put == key))
    }

    fn map(&mut self, upstream: &UpstreamId, address: ActivatorAddress, rested: Option<Revision>) {
        let (by_address, by_upstream) = (Key::PortByAddress(address), Key::PortByUpstream(upstream.clone()));
        self.txn.compares.push(match rested {
            Some(revision) => Compare::WrittenAt(by_address.clone(), revision),
            None => Compare::Absent(by_address.clone()),
        });
        self.txn.compares.push(Compare::Absent(by_upstream.clone()));
        let state = PortState::Mapped { upstream: upstream.clone(), unknown: Map::new() };
        self.add([
            Write::Put(by_address, encode(&state), None),
            Write::Put(by_upstream, encode(&address), None),
        ]);
    }

    fn release(
        &mut self,
        upstream: &UpstreamId,
        address: ActivatorAddress,
        revision: Revision,
        state: &PortState,
    ) {
        let by_upstream = Key::PortByUpstream(upstream.clone());
        self.txn.compares.push(Compare::WrittenAt(by_upstream.clone(), revision));
        self.add([Write::Put(Key::PortByAddress(address), encode(state), None), Write::Delete(by_upstream)]);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
