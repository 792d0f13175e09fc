//! Which resource of a refused response was refused: its parts are sent again one by one until that is known. A slot is
//! in one part at most, and leaves it at the cost of a look-up, however many there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::table::SlotId;

#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// The newest part has the largest number, and is tried first.
    parts: BTreeMap<u64, BTreeSet<SlotId>>,
    part_of: BTreeMap<SlotId, u64>,
}

impl Isolation {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many resources are in parts.
    pub(super) fn len(&self) -> usize {
        self.part_of.len()
    }

    pub(super) fn push(&mut self, part: BTreeSet<SlotId>) {
        if part.is_empty() {
            return;
        }
        part.iter().for_each(|slot| self.leave(*slot));
        let number = self.parts.last_key_value().map_or(0, |(newest, _)| newest + 1);
        self.part_of.extend(part.iter().map(|slot| (*slot, number)));
        self.parts.insert(number, part);
    }

    /// The newest part, sorted.
    pub(super) fn pop(&mut self) -> Option<Vec<SlotId>> {
        let (_, part) = self.parts.pop_last()?;
        part.iter().for_each(|slot| {
            self.part_of.remove(slot);
        });
        Some(part.into_iter().collect())
    }

    /// The slot is sent for another reason, or not wanted any more.
    pub(super) fn leave(&mut self, slot: SlotId) {
        let Some(number) = self.part_of.remove(&slot) else { return };
        if let Some(part) = self.parts.get_mut(&number) {
            part.remove(&slot);
            if part.is_empty() {
                self.parts.remove(&number);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Two parts, the second to be tried first: those that the client's words do not name, if they name some; else halves.
pub(super) fn parts(suspects: &[(SlotId, bool)]) -> [BTreeSet<SlotId>; 2] {
    let named = suspects.iter().filter(|(_, named)| *named).count();
    let by_name = named > 0 && named < suspects.len();
    let half = suspects.len() / 2;
    let mut parts = [BTreeSet::new(), BTreeSet::new()];
    for (at, (slot, named)) in suspects.iter().enumerate() {
        let in_first = if by_name { *named } else { at < half };
        parts[usize::from(!in_first)].insert(*slot);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_newest_first_without_what_has_left_them() {
        let mut isolation = Isolation::default();
        isolation.push([1, 2, 3].into());
        isolation.push([4].into());
        isolation.push([5, 6].into());
        isolation.leave(4);
        isolation.leave(5);
        isolation.leave(9);
        isolation.push([2].into());
        assert_eq!(isolation.len(), 4);
        assert_eq!(isolation.pop(), Some(vec![2]));
        assert_eq!(isolation.pop(), Some(vec![6]));
        assert_eq!(isolation.pop(), Some(vec![1, 3]));
        assert_eq!(isolation.len(), 0);
        assert!(isolation.pop().is_none() && isolation.is_empty());
    }

    #[test]
    fn suspects_are_parted_by_the_clients_words_if_these_tell_them_apart() {
        assert_eq!(parts(&[(1, false), (2, true), (3, false)]), [[2].into(), [1, 3].into()]);
        assert_eq!(parts(&[(1, true), (2, true), (3, true)]), [[1].into(), [2, 3].into()]);
    }
}
