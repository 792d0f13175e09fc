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
    rests: Rests,
    /// Every address of the pool before this one has a record.
    first_free: usize,
    /// Addresses that were looked at, to allocate.
    #[cfg(test)]
    pub(super) looks: u64,
}

/// Since when this replica has known that an address rests, with the write that said so. Who wrote it may have a clock
/// that is off, so the quarantine is counted from here; another replica, or this one restarted, counts anew.
#[derive(Debug, Default)]
struct Rests {
    known: BTreeMap<ActivatorAddress, (Revision, Moment)>,
    /// The same, those that have rested the longest first.
    order: BTreeSet<(Moment, ActivatorAddress)>,
}

impl Rests {
    fn begin(&mut self, address: ActivatorAddress, at: Revision, now: Moment) {
        if self.known.get(&address).is_none_or(|(known, _)| *known != at) {
            self.end(&address);
            self.known.insert(address, (at, now));
            self.order.insert((now, address));
        }
    }

    fn end(&mut self, address: &ActivatorAddress) {
        if let Some((_, since)) = self.known.remove(address) {
            self.order.remove(&(since, *address));
        }
    }

    /// Those whose quarantine is over at `now`.
    fn rested(&self, quarantine: Duration, now: Moment) -> impl Iterator<Item = ActivatorAddress> {
        let over = move |(since, _): &&(Moment, ActivatorAddress)| since.after(quarantine) <= now;
        self.order.iter().take_while(over).map(|(_, address)| *address)
    }

    /// When the next quarantine after `now` is over.
    fn next_end(&self, quarantine: Duration, now: Moment) -> Option<Moment> {
        let mut ends = self.order.iter().map(|(since, _)| since.after(quarantine));
        ends.find(|end| *end > now)
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
        let mut exhausted = BTreeSet::new();
        if !self.mappings.unmapped.is_empty() {
            let first = self.first_free();
            let Mappings { unmapped, rests, .. } = &self.mappings;
            let (ports, pool) = (&self.records.ports, &self.options.pool);
            // What has rested is used when nothing else is left.
            let mut free = pool
                .addresses()
                .skip(first)
                .filter(|address| !ports.contains_key(address))
                .chain(rests.rested(self.options.quarantine, self.now.moment));
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

    /// The place of the first address of the pool without a record.
    fn first_free(&mut self) -> usize {
        let ports = &self.records.ports;
        let taken = self.options.pool.addresses().skip(self.mappings.first_free);
        let taken = taken.take_while(|address| ports.contains_key(address)).count();
        self.mappings.first_free += taken;
        #[cfg(test)]
        {
            self.mappings.looks += u64::try_from(taken).unwrap_or_default();
        }
        self.mappings.first_free
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
        let Mappings { rests, first_free, .. } = &mut self.mappings;
        match self.records.ports.get(&address) {
            Some(port) if matches!(port.record, Some(PortState::Quarantined { .. })) => {
                rests.begin(address, port.revision, self.now.moment);
            }
            known => {
                rests.end(&address);
                if known.is_none() {
                    let place = self.options.pool.position(&address);
                    *first_free = place.map_or(*first_free, |place| place.min(*first_free));
                }
            }
        }
    }

    /// Records of quarantines that are over are not kept.
    fn end_quarantines(&mut self, batch: &mut Batch) {
        let (quarantine, now) = (self.options.quarantine, self.now.moment);
        for address in self.mappings.rests.rested(quarantine, now) {
            if batch.is_full() {
                break;
            }
            let Some(port) = self.records.ports.get(&address) else { continue };
            if batch.leaves(&address) {
                let key = Key::PortByAddress(address);
                batch.txn.compares.push(Compare::WrittenAt(key.clone(), port.revision));
                batch.add([Write::Delete(key)]);
            }
        }
        // A full batch is followed by another.
        if !batch.is_full()
            && let Some(next) = self.mappings.rests.next_end(quarantine, now)
        {
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
