//! What the next response tells.

use super::outstanding::Outstanding;
use super::{Has, Held, Subscription};
use crate::core::table::{SlotId, Table};

/// How a response of this type is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum Manner {
    /// Each resource and each removal that is new.
    Delta,
    /// Each resource that is new; removals cannot be told.
    Partial,
    /// All resources, when any is new or removed.
    Full,
}

/// When the client is told of the removal of what it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum Removal {
    Now,
    Later,
    /// Later; and there is to be a response now, even an empty one: the client's answer to it makes known what it uses.
    Asking,
}

/// What to tell.
#[derive(Debug)]
pub(in crate::core) struct Taken {
    /// New to the client, sorted.
    pub(in crate::core) told: Vec<SlotId>,
    /// Removed, and to be kept by the client for now; sorted.
    pub(in crate::core) kept: Vec<SlotId>,
}

/// What is to be done about a slot.
enum Step {
    Tell,
    /// The client has it.
    Settle,
    /// The client has refused it.
    Park,
    /// It is gone; that is told later.
    Keep,
}

impl Subscription {
    /// What the next response tells; `None`: nothing is to be said, or the last response is unanswered. The caller sends
    /// what it is given and calls [`Self::sent`].
    pub(in crate::core) fn take(
        &mut self,
        table: &mut Table,
        manner: Manner,
        removal: Removal,
    ) -> Option<Taken> {
        if self.outstanding.is_some() {
            return None;
        }
        let mut taken = self.look_at_changes(table, manner, removal);
        if taken.told.is_empty()
            && let Some(part) = self.isolating.pop()
        {
            taken.told = part;
        }
        let asks = removal == Removal::Asking && !taken.kept.is_empty();
        if taken.told.is_empty() && !self.unanswered && !asks {
            return None;
        }
        if manner == Manner::Full {
            self.complete(table, &mut taken);
        }
        let any_held = !self.held.is_empty();
        for slot in taken.told.iter().filter(|_| any_held) {
            if let Some(held) = self.held.get_mut(slot) {
                held.forced = false;
                held.refused = None;
            }
        }
        Some(taken)
    }

    /// What of the changed is to be told, and what of the removed is to be kept. The rest is settled, or parked.
    fn look_at_changes(&mut self, table: &mut Table, manner: Manner, removal: Removal) -> Taken {
        let mut taken = Taken { told: Vec::new(), kept: Vec::new() };
        let mut settled = false;
        for slot in std::mem::take(&mut self.dirty) {
            match self.step(table, slot, manner, removal) {
                Step::Tell => taken.told.push(slot),
                Step::Park => self.moved = true,
                Step::Keep => {
                    self.dirty.insert(slot);
                    if let Some(held) = self.held.get_mut(&slot) {
                        // It is sent with the next full state: what was refused is another set.
                        held.refused = None;
                    }
                    taken.kept.push(slot);
                }
                Step::Settle => {
                    self.settle(table, slot);
                    settled = true;
                }
            }
        }
        // It is another set than the one that was refused, and what was refused with that may be taken with this.
        self.unanswered |= settled && manner == Manner::Full && self.refused_set.is_some();
        taken
    }

    /// Makes it a full state, which also tells again what was refused with an older one, or in part.
    fn complete(&mut self, table: &Table, taken: &mut Taken) {
        self.isolating.clear();
        let kept = &taken.kept;
        for slot in kept {
            // It is sent as it was last served, which may be another version than the client has.
            let sent = table.slot(*slot).lingering.as_ref().map(|resource| &resource.version);
            if let Some(held) = self.held.get_mut(slot).filter(|held| !held.has.is(sent)) {
                held.has = Has::Unknown;
            }
        }
        taken.told.extend(self.held.keys().filter(|slot| kept.binary_search(slot).is_err()));
        taken.told.sort_unstable();
        taken.told.dedup();
    }

    /// The client has it as it is served.
    fn settle(&mut self, table: &mut Table, slot: SlotId) {
        self.held.remove(&slot);
        table.settled(slot);
        self.moved = true;
    }

    /// What waits was refused as part of the set that would be sent: it waits for another set.
    pub(in crate::core) fn park(&mut self) {
        for slot in std::mem::take(&mut self.dirty) {
            let held = self.held.entry(slot).or_default();
            held.has = Has::Unknown;
            held.forced = false;
        }
        self.isolating.clear();
        self.unanswered = false;
    }

    /// What was refused is tried again: responses are made in another manner from now on.
    pub(in crate::core) fn unpark(&mut self) {
        // All of it waits, also what was in a part.
        self.isolating.clear();
        for (slot, held) in &mut self.held {
            held.refused = None;
            self.dirty.insert(*slot);
        }
    }

    fn step(&self, table: &Table, slot: SlotId, manner: Manner, removal: Removal) -> Step {
        let version = table.slot(slot).version();
        let may_have = self.held.get(&slot).is_some_and(Held::may_have);
        if version.is_none() {
            match manner {
                Manner::Partial => return Step::Settle,
                Manner::Delta | Manner::Full if may_have && removal != Removal::Now => return Step::Keep,
                Manner::Delta | Manner::Full => {}
            }
        }
        match self.held.get(&slot) {
            Some(Held { forced: true, .. }) => Step::Tell,
            Some(Held { refused: Some(refused), .. }) if refused.version.as_ref() == version => Step::Park,
            Some(Held { has, .. }) if has.is(version) => Step::Settle,
            // A name that does not exist is said to be removed. So is what vanished before it was sent: a client that gave
            // everything up and asked for it again may have it from a response that was on its way.
            None if version.is_none() && manner == Manner::Full => Step::Settle,
            Some(_) | None => Step::Tell,
        }
    }

    /// A response with `told` is on its way; `set` is the hash of the set that a full state leaves the client with.
    pub(in crate::core) fn sent(&mut self, nonce: u64, seq: u64, set: Option<u128>, told: Vec<SlotId>) {
        self.nonce = nonce;
        self.unanswered = false;
        self.outstanding = Some(Outstanding::new(nonce, seq, set, told));
    }

    /// The nonce of the last response; 0 before the first.
    pub(in crate::core) fn nonce(&self) -> u64 {
        self.nonce
    }
}
