//! What one stream wants of one type, and how far it has come. Small when nothing is on its way: what the client has
//! applied as it is served now takes no memory but its name's place among those asked for.

mod answer;
mod isolation;
mod outstanding;
mod take;
mod want;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::resource::Version;
use super::table::{Replaced, SlotId, Table};
use isolation::Isolation;
use outstanding::Outstanding;

pub(super) use answer::Answered;
pub(super) use take::{Manner, Removal, Taken};

/// Whether everything is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Wildcard {
    #[default]
    No,
    /// By a first request without names; ends when names are given.
    Legacy,
    /// By `*`.
    Asked,
}

#[derive(Debug, Default)]
pub(super) struct Subscription {
    pub(super) wildcard: Wildcard,
    named: BTreeSet<SlotId>,
    /// The sum of the marks of what is named.
    named_sum: u128,
    /// To be looked at before the next response.
    dirty: BTreeSet<SlotId>,
    /// What the client has of those that are not settled. A dirty one without an entry is new to the client.
    held: BTreeMap<SlotId, Held>,
    outstanding: Option<Outstanding>,
    isolating: Isolation,
    /// Names without a resource that a client of everything said it had.
    stated: usize,
    /// The first answer goes out even when empty.
    pub(super) unanswered: bool,
    /// Of the last response; 0 before the first.
    nonce: u64,
    /// The set that a client of full states has refused, and has asked for ever since.
    refused_set: Option<u128>,
    /// Its responses hold all that the client is to have, from this nonce on.
    full_from: Option<u64>,
    /// The client has applied one of these, or came with all that it is to have.
    applied_full: bool,
    /// Something was settled, parked, or is wanted no longer, without an answer of the client.
    pub(super) moved: bool,
}

/// What the client has of a resource that it has not applied as it is served now.
#[derive(Debug, Default)]
struct Held {
    has: Has,
    /// It has applied what was served at this count of changes.
    applied: u64,
    /// The version on its way, when it is no longer the one served; inside, `None` is a removal.
    in_flight: Option<Option<Version>>,
    refused: Option<Refused>,
    /// To be sent even if the client has it.
    forced: bool,
}

impl Held {
    /// Whether the client may have it in some version.
    fn may_have(&self) -> bool {
        self.has != Has::Nothing
    }
}

/// What a client is still to be told is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removals {
    /// When the newest of them happened.
    pub(super) newest: u64,
    /// How many of them the client may have.
    pub(super) kept: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Has {
    #[default]
    Nothing,
    Version(Version),
    /// It has refused a response and may have applied parts of it, or what it has was on its way when that changed.
    Unknown,
}

impl Has {
    fn of(version: Option<&Version>) -> Self {
        version.map_or(Self::Nothing, |version| Self::Version(version.clone()))
    }

    fn is(&self, version: Option<&Version>) -> bool {
        match self {
            Self::Nothing => version.is_none(),
            Self::Version(has) => version == Some(has),
            Self::Unknown => false,
        }
    }
}

/// What the client would not apply.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) version: Option<Version>,
    pub(super) message: Arc<str>,
}

impl Subscription {
    pub(super) fn is_wildcard(&self) -> bool {
        self.wildcard != Wildcard::No
    }

    pub(super) fn wants(&self, slot: SlotId) -> bool {
        self.is_wildcard() || self.named.contains(&slot)
    }

    pub(super) fn is_named(&self, slot: SlotId) -> bool {
        self.named.contains(&slot)
    }

    pub(super) fn names(&self) -> usize {
        self.named.len()
    }

    /// How many names are kept for the client alone: those asked for, and those it only said it had.
    pub(super) fn kept_names(&self) -> usize {
        self.named.len() + self.stated
    }

    pub(super) fn named(&self) -> impl Iterator<Item = SlotId> {
        self.named.iter().copied()
    }

    /// The hash of all that is served of what is wanted.
    pub(super) fn sum(&self, table: &Table) -> u128 {
        if self.is_wildcard() { table.sum() } else { self.named_sum }
    }

    /// The sum of the marks of what is served and the client will not have, or not for certain, when it has applied a
    /// response with `told`, which is sorted.
    pub(super) fn lacking(&self, table: &Table, told: &[SlotId]) -> u128 {
        let lacking = self.held.keys().filter(|slot| told.binary_search(slot).is_err());
        lacking.fold(0, |sum, slot| sum.wrapping_add(table.slot(*slot).mark()))
    }

    /// Whether there may be something to say, and the last response is answered.
    pub(super) fn is_due(&self) -> bool {
        self.outstanding.is_none()
            && (self.unanswered || !self.dirty.is_empty() || !self.isolating.is_empty())
    }

    /// No response is on its way.
    pub(super) fn is_answered(&self) -> bool {
        self.outstanding.is_none()
    }

    fn in_flight(&self, slot: SlotId) -> bool {
        self.outstanding.as_ref().is_some_and(|outstanding| outstanding.has(slot))
    }

    /// The client has applied what is served now.
    fn is_settled(&self, slot: SlotId) -> bool {
        !self.dirty.contains(&slot) && !self.held.contains_key(&slot) && !self.in_flight(slot)
    }

    /// Whether the client has applied what was served at `seq`, or something later.
    pub(super) fn has_applied(&self, slot: SlotId, seq: u64) -> bool {
        self.is_settled(slot) || self.held.get(&slot).is_some_and(|held| held.applied >= seq)
    }

    /// From now on its responses hold, or do not hold, all that the client is to have.
    pub(super) fn set_full(&mut self, full: bool) {
        if full != self.full_from.is_some() {
            self.full_from = full.then_some(self.nonce + 1);
            self.applied_full = false;
        }
    }

    /// Whether the client may have what does not exist: it cannot say so, and has yet to be told of all there is.
    pub(super) fn may_have_unsaid(&self) -> bool {
        self.full_from.is_some() && !self.applied_full
    }

    /// The version that the client has applied, as far as known; `served` is what is served.
    pub(super) fn applied(&self, slot: SlotId, served: Option<&Version>) -> Option<Version> {
        if self.is_settled(slot) {
            return served.cloned();
        }
        match &self.held.get(&slot)?.has {
            Has::Version(version) => Some(version.clone()),
            Has::Nothing | Has::Unknown => None,
        }
    }

    /// How many resources wait to be sent or answered.
    pub(super) fn unsettled(&self) -> usize {
        self.dirty.len() + self.outstanding.as_ref().map_or(0, Outstanding::len) + self.isolating.len()
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = (SlotId, &Refused)> {
        self.held.iter().filter_map(|(slot, held)| Some((*slot, held.refused.as_ref()?)))
    }

    /// What the client has refused of a slot, and is not to be sent again unless forced.
    pub(super) fn refusal(&self, slot: SlotId) -> Option<&Refused> {
        self.held.get(&slot).filter(|held| !held.forced)?.refused.as_ref()
    }

    /// A resource that is wanted was set or removed, at `seq`. Whether that is what the client has refused of it before.
    pub(super) fn changed(&mut self, table: &mut Table, replaced: &Replaced, seq: u64) -> bool {
        let slot = replaced.slot;
        if self.is_settled(slot) {
            table.slot_mut(slot).unsettled += 1;
            let has = Has::of(replaced.version.as_ref());
            self.held.insert(slot, Held { has, applied: seq - 1, ..Held::default() });
        } else if self.in_flight(slot) {
            let held = self.held.entry(slot).or_default();
            held.in_flight.get_or_insert_with(|| replaced.version.clone());
        }
        self.mark_dirty(slot);
        if self.named.contains(&slot) {
            let mark = table.slot(slot).mark();
            self.named_sum = self.named_sum.wrapping_sub(replaced.mark).wrapping_add(mark);
        }
        let refused = self.refusal(slot).map(|refused| refused.version.as_ref());
        refused == Some(table.slot(slot).version())
    }

    fn mark_dirty(&mut self, slot: SlotId) {
        self.dirty.insert(slot);
        self.isolating.leave(slot);
    }

    /// Whether something is to be told, or unanswered, of which the client lacks a change from `seq` or before. Removals yet
    /// to be told do not count: they wait for others themselves.
    pub(super) fn is_behind(&self, table: &Table, seq: u64) -> bool {
        let sent = self.outstanding.iter().flat_map(Outstanding::slots);
        let dirty = self.dirty.iter().copied().filter(|slot| table.slot(*slot).resource.is_some());
        // It may have changed again since, which says nothing of what the client lacks.
        dirty.chain(sent).any(|slot| match self.held.get(&slot) {
            Some(held) => held.applied < seq,
            None => table.slot(slot).born <= seq,
        })
    }

    /// Whether nothing of what the client has differs from what is served.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether the client may still have, or be about to have, what was replaced at `seq`: it has not taken, or has refused,
    /// what came then.
    pub(super) fn may_have_from_before(&self, seq: u64) -> bool {
        self.held.values().any(|held| (held.may_have() || held.in_flight.is_some()) && held.applied < seq)
    }

    /// When the newest of what is to be sent changed; `None`: nothing is, but maybe removals.
    pub(super) fn newest(&self, table: &Table) -> Option<u64> {
        let sent = self.dirty.iter().map(|slot| table.slot(*slot)).filter(|slot| slot.resource.is_some());
        sent.map(|slot| slot.seq).max()
    }

    /// The removals to be told of what the client may have; `None`: there are none.
    pub(super) fn removals(&self, table: &Table) -> Option<Removals> {
        if self.is_up_to_date() {
            return None;
        }
        let may_have = |slot: &SlotId| self.held.get(slot).is_some_and(Held::may_have);
        let dirty = self.dirty.iter().filter(|slot| may_have(slot)).map(|slot| table.slot(*slot));
        let removed = dirty.filter(|slot| slot.resource.is_none()).map(|slot| slot.seq);
        removed.fold(None, |all: Option<Removals>, seq| {
            let all = all.unwrap_or(Removals { newest: seq, kept: 0 });
            Some(Removals { newest: all.newest.max(seq), kept: all.kept + 1 })
        })
    }
}
