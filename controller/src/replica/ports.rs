//! Port mappings: each upstream gets an activator address, and a released one rests for a while (I3). Leader only.

use std::collections::BTreeSet;

use zenvoy_shared::id::{ActivatorAddress, UpstreamId};

use super::core::{Core, Later};
use crate::execute::{Job, Subject};
use crate::model::{PortState, Term};
use crate::session::Moment;
use crate::store::{Compare, Key, Txn, Write, encode};

/// Upstreams in one transaction: etcd takes 128 operations at most by default, and each needs two.
const BATCH: usize = 32;

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
        let upstreams = self.inventory.upstreams().keys();
        let mut unmapped =
            upstreams.filter(|upstream| !self.records.addresses.contains_key(upstream)).peekable();
        let mut exhausted = BTreeSet::new();
        if unmapped.peek().is_some() {
            let ports = &self.records.ports;
            let state = |address: &ActivatorAddress| ports.get(address).map(|port| &port.record);
            let mut free = self.options.pool.free(state, self.now.unix_ms());
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
        for (upstream, address) in &self.records.addresses {
            if batch.is_full() {
                return;
            }
            if self.inventory.upstreams().contains_key(upstream) {
                continue;
            }
            batch.release(upstream, address.record, address.revision, until_unix_ms);
        }
    }

    /// Records of quarantines that are over are not kept.
    fn end_quarantines(&mut self, batch: &mut Batch) {
        let now = self.now.unix_ms();
        let mut next: Option<u64> = None;
        for (address, port) in &self.records.ports {
            let PortState::Quarantined { until_unix_ms } = port.record else { continue };
            if until_unix_ms > now {
                next = Some(next.map_or(until_unix_ms, |next| next.min(until_unix_ms)));
            } else if !batch.is_full() && batch.leaves(address) {
                let key = Key::PortByAddress(*address);
                batch.txn.compares.push(Compare::WrittenAt(key.clone(), port.revision));
                batch.add([Write::Delete(key)]);
            }
        }
        if let Some(next) = next {
            let wait = std::time::Duration::from_millis(next.saturating_sub(now).saturating_add(1));
            let at: Moment = self.now.moment.after(wait);
            self.later.by(Later::Subject(Subject::Ports), at);
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

    fn map(
        &mut self,
        upstream: &UpstreamId,
        address: ActivatorAddress,
        rested: Option<crate::model::Revision>,
    ) {
        let (by_address, by_upstream) = (Key::PortByAddress(address), Key::PortByUpstream(upstream.clone()));
        self.txn.compares.push(match rested {
            Some(revision) => Compare::WrittenAt(by_address.clone(), revision),
            None => Compare::Absent(by_address.clone()),
        });
        self.txn.compares.push(Compare::Absent(by_upstream.clone()));
        let state = PortState::Mapped { upstream: upstream.clone() };
        self.add([
            Write::Put(by_address, encode(&state), None),
            Write::Put(by_upstream, encode(&address), None),
        ]);
    }

    fn release(
        &mut self,
        upstream: &UpstreamId,
        address: ActivatorAddress,
        revision: crate::model::Revision,
        until_unix_ms: u64,
    ) {
        let by_upstream = Key::PortByUpstream(upstream.clone());
        self.txn.compares.push(Compare::WrittenAt(by_upstream.clone(), revision));
        let state = PortState::Quarantined { until_unix_ms };
        self.add([Write::Put(Key::PortByAddress(address), encode(&state), None), Write::Delete(by_upstream)]);
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
