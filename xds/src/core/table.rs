//! All resources of one type, and who wants which of them. A name that is asked for and does not exist has a slot too;
//! a slot is freed when it has no content, nobody asks for it and nobody has yet to be told that it is gone.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::order::Rank;
use super::resource::{Content, Resource, TypeUrl, Version};

/// Index of a resource in its table.
pub(super) type SlotId = u32;
/// Index of a stream in its group.
pub(super) type StreamKey = u32;

/// A type that someone serves or wants.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) type_url: TypeUrl,
    pub(super) rank: Rank,
    slots: Slab<Slot>,
    by_name: HashMap<Arc<str>, SlotId>,
    /// The streams that want everything.
    pub(super) everyone: Watchers,
    /// The sum of the marks of all that is served.
    sum: u128,
    served: usize,
    /// The version of the type, if the caller gives one.
    version: Option<Version>,
    /// Subscriptions of any kind; a table without content is kept for as long as there are some.
    pub(super) subscriptions: usize,
}

/// One name.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    pub(super) resource: Option<Resource>,
    /// What was removed, for as long as some stream has yet to be told.
    pub(super) lingering: Option<Resource>,
    /// When it last changed, in the group's count of changes.
    pub(super) seq: u64,
    /// When what is served came to exist, in whatever version.
    pub(super) born: u64,
    /// The streams that ask for it by name.
    pub(super) named: Watchers,
    /// Streams that have not applied what is served now.
    pub(super) unsettled: u32,
}

impl Slot {
    pub(super) fn version(&self) -> Option<&Version> {
        self.resource.as_ref().map(|resource| &resource.version)
    }

    pub(super) fn mark(&self) -> u128 {
        self.resource.as_ref().map_or(0, |resource| resource.mark)
    }
}

/// What a change replaced.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) slot: SlotId,
    pub(super) version: Option<Version>,
    pub(super) mark: u128,
}

impl Table {
    pub(super) fn new(type_url: TypeUrl) -> Self {
        Self {
            rank: Rank::of(&type_url),
            type_url,
            slots: Slab::new(),
            by_name: HashMap::new(),
            everyone: Watchers::default(),
            sum: 0,
            served: 0,
            version: None,
            subscriptions: 0,
        }
    }

    /// Takes in a change; `None` when it changes nothing. After a removal the caller tells those who have the resource,
    /// then calls [`Self::release`].
    pub(super) fn change(&mut self, name: &str, content: Option<Content>, seq: u64) -> Option<Replaced> {
        let known = self.by_name.get(name).copied();
        let served = known.and_then(|slot| self.slots[slot as usize].version());
        let new = match content {
            Some(content) => Some(Resource::new(&self.type_url, name, content, served)?),
            None => {
                served?;
                None
            }
        };
        let id = known.unwrap_or_else(|| self.intern(name, seq));
        let slot = &mut self.slots[id as usize];
        let mark = slot.mark();
        self.sum = self.sum.wrapping_sub(mark).wrapping_add(new.as_ref().map_or(0, |new| new.mark));
        self.served = self.served + usize::from(new.is_some()) - usize::from(slot.resource.is_some());
        let old = std::mem::replace(&mut slot.resource, new);
        slot.seq = seq;
        if old.is_none() {
            slot.born = seq;
        }
        let version = old.as_ref().map(|old| old.version.clone());
        slot.lingering = if slot.resource.is_none() { old } else { None };
        Some(Replaced { slot: id, version, mark })
    }

    /// The slot of a name, made if need be: what does not exist may have vanished as late as `seq`, the group's count of
    /// changes.
    pub(super) fn intern(&mut self, name: &str, seq: u64) -> SlotId {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let name: Arc<str> = name.into();
        let slot = Slot {
            name: name.clone(),
            resource: None,
            lingering: None,
            seq,
            born: seq,
            named: Watchers::default(),
            unsettled: 0,
        };
        let id = SlotId::try_from(self.slots.insert(slot)).expect("fewer than 2^32 resources fit in memory");
        self.by_name.insert(name, id);
        id
    }

    pub(super) fn find(&self, name: &str) -> Option<SlotId> {
        self.by_name.get(name).copied()
    }

    /// A slot that is in use.
    pub(super) fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[id as usize]
    }

    pub(super) fn slot_mut(&mut self, id: SlotId) -> &mut Slot {
        &mut self.slots[id as usize]
    }

    /// All that is served.
    pub(super) fn served(&self) -> impl Iterator<Item = (SlotId, &Slot)> {
        let served = self.slots.iter().filter(|(_, slot)| slot.resource.is_some());
        served.map(|(id, slot)| (SlotId::try_from(id).expect("given out as such"), slot))
    }

    /// How many resources are served.
    pub(super) fn len(&self) -> usize {
        self.served
    }

    pub(super) fn sum(&self) -> u128 {
        self.sum
    }

    pub(super) fn set_version(&mut self, version: Option<Version>) {
        self.version = version;
    }

    /// The version of a set of this type: the caller's, or the hash.
    pub(super) fn version_of(&self, sum: u128) -> Version {
        self.version.clone().unwrap_or_else(|| Version::hash(sum))
    }

    /// A stream has applied what is served.
    pub(super) fn settled(&mut self, id: SlotId) {
        let slot = self.slot_mut(id);
        slot.unsettled -= 1;
        if slot.unsettled == 0 {
            slot.lingering = None;
        }
        self.release(id);
    }

    /// Frees a slot that is of no use any more.
    pub(super) fn release(&mut self, id: SlotId) {
        let slot = self.slot(id);
        if slot.resource.is_none() && slot.named.is_empty() && slot.unsettled == 0 {
            let slot = self.slots.remove(id as usize);
            self.by_name.remove(&slot.name);
        }
    }

    /// Nobody serves or wants anything of it.
    pub(super) fn is_unused(&self) -> bool {
        self.slots.is_empty() && self.subscriptions == 0 && self.version.is_none()
    }
}

/// A set of streams: sorted, four bytes each.
#[derive(Debug, Default)]
pub(super) struct Watchers(Vec<StreamKey>);

impl Watchers {
    pub(super) fn add(&mut self, stream: StreamKey) {
        if let Err(at) = self.0.binary_search(&stream) {
            self.0.insert(at, stream);
        }
    }

    pub(super) fn remove(&mut self, stream: StreamKey) {
        if let Ok(at) = self.0.binary_search(&stream) {
            self.0.remove(at);
        }
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    pub(super) fn contains(&self, stream: StreamKey) -> bool {
        self.0.binary_search(&stream).is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, at: usize) -> Option<StreamKey> {
        self.0.get(at).copied()
    }
}
