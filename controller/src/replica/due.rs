//! What is to be looked at again, and when. In: a thing and a moment; out: what is due. Pure; one moment for each thing.

use std::collections::{BTreeMap, BTreeSet};

use crate::session::Moment;

/// Things with a moment each.
#[derive(Debug)]
pub(super) struct Due<T> {
    moments: BTreeMap<T, Moment>,
    order: BTreeSet<(Moment, T)>,
}

impl<T> Default for Due<T> {
    fn default() -> Self {
        Self { moments: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<T: Ord + Clone> Due<T> {
    /// Looks at `thing` no later than `at`.
    pub(super) fn by(&mut self, thing: T, at: Moment) {
        if self.moments.get(&thing).is_none_or(|known| at < *known) {
            if let Some(later) = self.moments.insert(thing.clone(), at) {
                self.order.remove(&(later, thing.clone()));
            }
            self.order.insert((at, thing));
        }
    }

    /// The next thing that is due at `now`, taken out.
    pub(super) fn next(&mut self, now: Moment) -> Option<T> {
        let (at, _) = self.order.first()?;
        if *at > now {
            return None;
        }
        let (_, thing) = self.order.pop_first()?;
        self.moments.remove(&thing);
        Some(thing)
    }

    /// When the first thing is due.
    pub(super) fn first(&self) -> Option<Moment> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn the_earlier_of_two_moments_counts_and_a_thing_is_due_once() {
        let mut due = Due::default();
        due.by("a", at(5));
        due.by("a", at(3));
        due.by("a", at(9));
        due.by("b", at(4));
        assert_eq!(due.first(), Some(at(3)));
        assert_eq!(due.next(at(2)), None);
        assert_eq!((due.next(at(10)), due.next(at(10)), due.next(at(10))), (Some("a"), Some("b"), None));
    }
}
