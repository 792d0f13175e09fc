//! What the store's watch brings becomes known, and what follows from it is looked at.

use std::collections::BTreeSet;

use super::core::Core;
use super::records::{self, Record};
use crate::execute::Subject;
use crate::model::{Revision, Touched, Versioned};
use crate::session::Moment;
use crate::store::{Entry, Key, Snapshot, WatchEvent};

impl Core {
    pub(super) fn store_step(&mut self, step: WatchEvent) {
        let touched = match step {
            WatchEvent::Put(entry) => {
                let revision = entry.mod_revision;
                let touched = self.put(entry);
                self.watched = self.watched.max(revision);
                touched
            }
            WatchEvent::Deleted(key, revision) => {
                let touched = self.deleted(&key, revision);
                self.watched = self.watched.max(revision);
                touched
            }
            WatchEvent::Resync(snapshot) => {
                let touched = self.resync(snapshot);
                self.settle(touched);
                // After the switch they are about is published.
                self.look_at_all_proofs();
                Touched::default()
            }
        };
        self.settle(touched);
        self.watch_moved();
    }

    /// Rule G3: what is not in the list is gone, and no quiet proof stands.
    fn resync(&mut self, snapshot: Snapshot) -> Touched {
        let listed: BTreeSet<&Key> = snapshot.entries.iter().map(|entry| &entry.key).collect();
        let (wakes, drains) = self.inventory.recorded();
        let known = self.records.keys().into_iter();
        let known = known.chain(wakes.into_iter().map(Key::Wake)).chain(drains.into_iter().map(Key::Drain));
        let gone: Vec<Key> = known.filter(|key| !listed.contains(key)).collect();
        let mut touched = Touched::default();
        for key in gone {
            touched.merge(self.deleted(&key, snapshot.revision));
        }
        for entry in snapshot.entries {
            touched.merge(self.put(entry));
        }
        self.watched = self.watched.max(snapshot.revision);
        self.nodes.drop_proofs();
        self.proofs.forget_all();
        let first = !std::mem::replace(&mut self.loaded, true);
        if first && self.inventory.is_complete() {
            self.settle(std::mem::take(&mut touched));
            self.publish_structure();
        }
        touched
    }

    pub(super) fn put(&mut self, entry: Entry) -> Touched {
        let revision = entry.mod_revision;
        let record = match records::read(&entry) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(
                    key = %entry.key, %error,
                    "a record cannot be read: a later version wrote it; nothing is done about what it is on until it is written anew"
                );
                return self.put_unreadable(entry.key, revision);
            }
        };
        match (entry.key, record) {
            (Key::Wake(workload), Record::Wake(record)) => {
                self.inventory.set_wake(&workload, Versioned { record, revision })
            }
            (Key::Drain(workload), Record::Drain(record)) => {
                self.inventory.set_drain(&workload, Versioned { record, revision })
            }
            (key, record) => {
                let news = self.records.set(key.clone(), record, revision);
                self.record_changed(&key, news)
            }
        }
    }

    fn put_unreadable(&mut self, key: Key, revision: Revision) -> Touched {
        match key {
            Key::Wake(workload) => self.inventory.unreadable_wake(&workload, revision),
            Key::Drain(workload) => self.inventory.unreadable_drain(&workload, revision),
            key => {
                let news = self.records.set_unreadable(key.clone(), revision);
                self.record_changed(&key, news)
            }
        }
    }

    pub(super) fn deleted(&mut self, key: &Key, revision: Revision) -> Touched {
        match key {
            Key::Wake(workload) => self.inventory.remove_wake(workload, revision),
            Key::Drain(workload) => self.inventory.remove_drain(workload, revision),
            key => {
                let news = self.records.remove(key, revision);
                self.record_changed(key, news)
            }
        }
    }

    /// What follows from a record that is not a wake or drain.
    fn record_changed(&mut self, key: &Key, news: bool) -> Touched {
        let mut touched = Touched::default();
        if !news {
            return touched;
        }
        match key {
            Key::PortByUpstream(upstream) => {
                touched.structure.insert(upstream.clone());
            }
            Key::DrainAck(workload, _) => {
                touched.workloads.insert(workload.clone());
            }
            Key::Controller(_)
            | Key::Node(_)
            | Key::IdleVotes(_)
            | Key::VoteShard(..)
            | Key::VoteNodes(_) => self.membership_changed(key),
            Key::Refusals(_) => {
                self.look(&Subject::Refusals);
                self.look_at_refusals();
            }
            Key::Leader => self.leader_changed(),
            Key::PortByAddress(address) => self.look_at_rest(*address),
            Key::Wake(_) | Key::Drain(_) => {}
        }
        touched
    }

    /// Subjects that waited for the watch are looked at once it has passed their revision.
    fn watch_moved(&mut self) {
        self.welcome();
        while let Some((after, subject)) = self.awaited.pop_first() {
            if after > self.watched {
                self.awaited.insert((after, subject));
                return;
            }
            // It may have run meanwhile, and wait for something else.
            if let Some(work) = self.work.get_mut(&subject).filter(|work| work.after == Some(after)) {
                work.after = None;
                work.not_before = Moment::default();
                self.look(&subject);
            }
        }
    }
}
