//! What the client said of a response.

use std::sync::Arc;

use super::isolation::parts;
use super::{Has, Refused, Subscription};
use crate::core::resource::Version;
use crate::core::table::{SlotId, Table};

/// The resources of an answered response. Names and versions are listed only if wanted.
#[derive(Debug)]
pub(in crate::core) struct Answered {
    pub(in crate::core) count: usize,
    pub(in crate::core) resources: Vec<(Arc<str>, Option<Version>)>,
}

impl Subscription {
    /// The client has applied the response with this nonce; `None` when no such response is unanswered.
    pub(in crate::core) fn ack(&mut self, table: &mut Table, nonce: u64, list: bool) -> Option<Answered> {
        let outstanding = self.outstanding.take_if(|outstanding| outstanding.nonce == nonce)?;
        let mut answered = Answered { count: outstanding.len(), resources: Vec::new() };
        self.refused_set = None;
        if self.full_from.is_some_and(|from| nonce >= from) {
            self.moved |= !std::mem::replace(&mut self.applied_full, true);
        }
        for slot in outstanding.slots() {
            let changed = self.dirty.contains(&slot);
            if list || changed {
                let (name, version) = self.was_sent(table, slot);
                if changed {
                    let held = self.held.entry(slot).or_default();
                    held.has = Has::of(version.as_ref());
                    held.applied = outstanding.seq;
                }
                if list {
                    answered.resources.push((name, version));
                }
            }
            if !changed {
                self.held.remove(&slot);
                table.settled(slot);
            }
        }
        Some(answered)
    }

    /// The client has refused the response with this nonce; `None` when no such response is unanswered. If it held more
    /// than one resource, those that it told are told again in parts until it is known which of them were refused (`isolate`).
    pub(in crate::core) fn nack(
        &mut self,
        table: &Table,
        nonce: u64,
        message: &str,
        isolate: bool,
    ) -> Option<Answered> {
        let outstanding = self.outstanding.take_if(|outstanding| outstanding.nonce == nonce)?;
        self.refused_set = outstanding.set.or(self.refused_set);
        let words: Arc<str> = message.into();
        // What the client has given up since may be what it refused, or what a full state holds besides.
        let isolate = isolate && (outstanding.told() > 1 || outstanding.is_full());
        let mut answered = Answered { count: outstanding.len(), resources: Vec::new() };
        let mut suspects = Vec::new();
        for slot in outstanding.slots() {
            let (name, version) = self.was_sent(table, slot);
            let dirty = self.dirty.contains(&slot);
            let held = self.held.entry(slot).or_default();
            held.has = Has::Unknown;
            if !isolate {
                held.refused = Some(Refused { version: version.clone(), message: words.clone() });
            } else if !dirty {
                suspects.push((slot, words.contains(&*name)));
            }
            answered.resources.push((name, version));
        }
        parts(&suspects).into_iter().for_each(|part| self.isolating.push(part));
        Some(answered)
    }

    /// What the client has refused is to be sent again, though it has not changed: what it was refused for may be mended.
    /// Whether that is so.
    pub(in crate::core) fn offer_again(&mut self, table: &mut Table, slot: SlotId) -> bool {
        let refused = self.held.get(&slot).is_some_and(|held| held.refused.is_some());
        if refused {
            self.refused_set = None;
            self.force(table, slot);
        }
        refused
    }

    pub(in crate::core) fn has_refused_set(&self, sum: u128) -> bool {
        self.refused_set == Some(sum)
    }

    /// The name of a slot, and the version that was on its way.
    fn was_sent(&mut self, table: &Table, slot: SlotId) -> (Arc<str>, Option<Version>) {
        let entry = table.slot(slot);
        let replaced = self.held.get_mut(&slot).and_then(|held| held.in_flight.take());
        (entry.name.clone(), replaced.unwrap_or_else(|| entry.version().cloned()))
    }
}
