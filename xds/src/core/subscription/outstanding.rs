//! A response that has not been answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::core::table::SlotId;

#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) nonce: u64,
    /// The group's count of changes when it was made.
    pub(super) seq: u64,
    /// The hash of the set that it leaves the client with, if it is a full state of what the client has asked for ever since.
    pub(super) set: Option<u128>,
    /// It is a full state, of which the client has given up some since.
    set_given_up: bool,
    /// What it told, sorted.
    told: Vec<SlotId>,
    /// Slots of `told` that the client has given up since; their numbers may have gone to other names.
    gone: BTreeSet<SlotId>,
    /// The names of these.
    pub(super) given_up: Vec<Arc<str>>,
}

impl Outstanding {
    /// `told` must be sorted.
    pub(super) fn new(nonce: u64, seq: u64, set: Option<u128>, told: Vec<SlotId>) -> Self {
        Self { nonce, seq, set, set_given_up: false, told, gone: BTreeSet::new(), given_up: Vec::new() }
    }

    /// What it told that is still wanted, sorted.
    pub(super) fn slots(&self) -> impl Iterator<Item = SlotId> {
        self.told.iter().copied().filter(|slot| !self.gone.contains(slot))
    }

    /// How many of them.
    pub(super) fn len(&self) -> usize {
        self.told.len() - self.gone.len()
    }

    /// How many resources it told, also of those given up since.
    pub(super) fn told(&self) -> usize {
        self.told.len()
    }

    pub(super) fn has(&self, slot: SlotId) -> bool {
        self.told.binary_search(&slot).is_ok() && !self.gone.contains(&slot)
    }

    /// Whether the slot may have been given up since, or another one that had its number.
    pub(super) fn gave_up(&self, slot: SlotId) -> bool {
        self.set_given_up || self.gone.contains(&slot)
    }

    /// Whether it holds all that the client was to have.
    pub(super) fn is_full(&self) -> bool {
        self.set_given_up || self.set.is_some()
    }

    /// The client has given up some of what it asked for. Whether this is a full state, which may hold that.
    pub(super) fn give_up_set(&mut self) -> bool {
        self.set_given_up |= self.set.take().is_some();
        self.set_given_up
    }

    pub(super) fn give_up(&mut self, slot: SlotId, name: &Arc<str>) {
        if self.has(slot) {
            self.gone.insert(slot);
            self.given_up.push(name.clone());
        }
    }
}
