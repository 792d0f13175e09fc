//! What the client asks for, and no longer asks for.

use std::collections::{BTreeSet, HashMap};

use super::outstanding::Outstanding;
use super::{Has, Held, Subscription, Wildcard};
use crate::core::resource::Version;
use crate::core::table::{SlotId, StreamKey, Table};

impl Subscription {
    /// Wants a slot for the first time; `known` is what the client says it has.
    fn begin(&mut self, table: &mut Table, slot: SlotId, known: Option<&str>) {
        let entry = table.slot_mut(slot);
        match known {
            Some(known) if entry.version().is_some_and(|version| *version.0 == *known) => {
                self.moved = true;
                return;
            }
            Some(known) => {
                self.held.insert(slot, Held { has: Has::Version(Version(known.into())), ..Held::default() });
            }
            // It may yet take it from a response that is on its way.
            None if self.outstanding.as_ref().is_some_and(|outstanding| outstanding.gave_up(slot)) => {
                self.held.insert(slot, Held { has: Has::Unknown, ..Held::default() });
            }
            None => {}
        }
        entry.unsettled += 1;
        self.dirty.insert(slot);
    }

    /// Wants everything; `known` is what the client says it has, `seq` the group's count of changes.
    pub(in crate::core) fn want_all(
        &mut self,
        table: &mut Table,
        stream: StreamKey,
        wildcard: Wildcard,
        known: &HashMap<String, String>,
        seq: u64,
    ) {
        if self.is_wildcard() {
            self.wildcard = wildcard;
            return;
        }
        self.wildcard = wildcard;
        self.moved = true;
        table.everyone.add(stream);
        let served: Vec<SlotId> = table.served().map(|(slot, _)| slot).collect();
        let is_idle = self.dirty.is_empty() && self.outstanding.is_none();
        if self.named.is_empty() && is_idle && known.is_empty() {
            // The usual first subscription, made at once.
            served.iter().for_each(|slot| table.slot_mut(*slot).unsettled += 1);
            self.dirty = served.into_iter().collect();
            return;
        }
        for slot in served {
            if !self.named.contains(&slot) {
                let known = known.get(&*table.slot(slot).name).map(String::as_str);
                self.begin(table, slot, known);
            }
        }
        for (name, version) in known {
            let slot = table.intern(name, seq);
            if table.slot(slot).resource.is_none() && !self.named.contains(&slot) {
                self.begin(table, slot, Some(version));
                self.stated += 1;
            }
        }
        self.tell_of_given_up(table, seq);
    }

    /// A client that gave everything up and asks for it again may yet read an older response, and take from it what
    /// has vanished since.
    fn tell_of_given_up(&mut self, table: &mut Table, seq: u64) {
        let Some(outstanding) = &mut self.outstanding else { return };
        for name in std::mem::take(&mut outstanding.given_up) {
            let slot = table.intern(&name, seq);
            if table.slot(slot).resource.is_none() && self.is_settled(slot) {
                self.begin(table, slot, None);
            }
        }
    }

    /// Nothing is wanted yet, nor on its way.
    pub(in crate::core) fn is_new(&self) -> bool {
        !self.is_wildcard() && self.named.is_empty() && self.dirty.is_empty() && self.outstanding.is_none()
    }

    /// Wants names, of which the client has none. Only for a new subscription: its many names are taken in at once.
    pub(in crate::core) fn want_first<'a>(
        &mut self,
        table: &mut Table,
        stream: StreamKey,
        names: impl Iterator<Item = &'a str>,
        seq: u64,
    ) {
        let mut slots: Vec<SlotId> = names.map(|name| table.intern(name, seq)).collect();
        slots.sort_unstable();
        slots.dedup();
        for slot in &slots {
            let entry = table.slot_mut(*slot);
            entry.named.add(stream);
            entry.unsettled += 1;
            self.named_sum = self.named_sum.wrapping_add(entry.mark());
        }
        self.named = slots.iter().copied().collect();
        self.dirty = slots.into_iter().collect();
    }

    /// Wants a name. One that is wanted already is sent again, unless `known`, what the client says it has, is it.
    pub(in crate::core) fn want(
        &mut self,
        table: &mut Table,
        stream: StreamKey,
        name: &str,
        known: Option<&str>,
        seq: u64,
    ) {
        let slot = table.intern(name, seq);
        let wanted = self.wants(slot);
        if self.named.insert(slot) {
            table.slot_mut(slot).named.add(stream);
            self.named_sum = self.named_sum.wrapping_add(table.slot(slot).mark());
        }
        if !wanted {
            self.begin(table, slot, known);
        } else if known.is_none() {
            self.force(table, slot);
        }
    }

    /// Sends a wanted slot again, whether the client has it or not.
    pub(in crate::core) fn force(&mut self, table: &mut Table, slot: SlotId) {
        let settled = self.is_settled(slot);
        if !settled && !self.held.contains_key(&slot) && !self.in_flight(slot) {
            return;
        }
        let entry = table.slot_mut(slot);
        let has = if settled { Has::of(entry.version()) } else { Has::Unknown };
        entry.unsettled += u32::from(settled);
        self.held.entry(slot).or_insert_with(|| Held { has, ..Held::default() }).forced = true;
        self.mark_dirty(slot);
    }

    /// Wants a name no longer. If everything is wanted it stays, and can be sent again (`again`): the client then knows
    /// how it fares without the name.
    pub(in crate::core) fn unwant(
        &mut self,
        table: &mut Table,
        stream: StreamKey,
        slot: SlotId,
        again: bool,
    ) {
        if !self.named.remove(&slot) {
            return;
        }
        let entry = table.slot_mut(slot);
        entry.named.remove(stream);
        self.named_sum = self.named_sum.wrapping_sub(entry.mark());
        if !self.is_wildcard() {
            if entry.resource.is_some() {
                self.drops_some();
            }
            self.forget(table, slot);
        } else if again {
            self.force(table, slot);
        } else if self.is_settled(slot) {
            table.release(slot);
        }
    }

    /// Wants only what is named from now on.
    pub(in crate::core) fn unwant_all(&mut self, table: &mut Table, stream: StreamKey) {
        if !self.is_wildcard() {
            return;
        }
        self.wildcard = Wildcard::No;
        table.everyone.remove(stream);
        self.drops_some();
        for slot in self.all_unsettled() {
            if !self.named.contains(&slot) {
                self.forget(table, slot);
            }
        }
    }

    /// The client may drop some of what it has: if it asks for the same set again it is sent that again, though it has refused
    /// it before.
    fn drops_some(&mut self) {
        self.refused_set = None;
        let given_up = self.outstanding.as_mut().is_some_and(Outstanding::give_up_set);
        if given_up && self.full_from.is_some() {
            // It may take from it what is gone by then, and only the next one says so.
            self.full_from = Some(self.nonce + 1);
            self.applied_full = false;
        }
    }

    fn all_unsettled(&self) -> BTreeSet<SlotId> {
        let sent = self.outstanding.iter().flat_map(Outstanding::slots);
        self.dirty.iter().chain(self.held.keys()).copied().chain(sent).collect()
    }

    /// Drops all state of a slot that is wanted no longer.
    fn forget(&mut self, table: &mut Table, slot: SlotId) {
        self.moved = true;
        if self.is_settled(slot) {
            table.release(slot);
            return;
        }
        self.isolating.leave(slot);
        self.dirty.remove(&slot);
        self.held.remove(&slot);
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.give_up(slot, &table.slot(slot).name);
        }
        table.settled(slot);
    }

    /// The client has everything as it is served now.
    pub(in crate::core) fn settle_all(&mut self, table: &mut Table) {
        for slot in std::mem::take(&mut self.dirty) {
            self.held.remove(&slot);
            table.settled(slot);
        }
        self.moved = true;
        self.applied_full = true;
        self.unanswered = false;
    }

    /// The stream has ended.
    pub(in crate::core) fn close(mut self, table: &mut Table, stream: StreamKey) {
        self.unwant_all(table, stream);
        for slot in std::mem::take(&mut self.named) {
            table.slot_mut(slot).named.remove(stream);
            self.forget(table, slot);
        }
    }
}
