//! A watch's events -> changes of single objects, with deletions made up for what a new list no longer has. Pure.

use std::collections::BTreeSet;

use kube::runtime::watcher::Event;

/// What a watch has told so far.
#[derive(Debug)]
pub(super) struct Known<K> {
    known: BTreeSet<K>,
    /// While a list comes in: what it has had.
    listed: Option<BTreeSet<K>>,
}

/// One object is so now, or gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<K, V> {
    pub(super) key: K,
    pub(super) now: Option<V>,
}

/// What follows from one event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Steps<K, V> {
    pub(super) steps: Vec<Step<K, V>>,
    /// A list is complete.
    pub(super) listed: bool,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), listed: None }
    }
}

impl<K: Ord + Clone> Known<K> {
    /// Takes in an event. `read` gives an object's key and what is kept of it; nothing for an object of no interest.
    pub(super) fn take<T, V>(&mut self, event: Event<T>, read: impl Fn(T) -> (K, Option<V>)) -> Steps<K, V> {
        let mut steps = Steps { steps: Vec::new(), listed: false };
        match event {
            Event::Init => self.listed = Some(BTreeSet::new()),
            Event::InitApply(object) | Event::Apply(object) => {
                let (key, now) = read(object);
                if let (Some(listed), Some(_)) = (&mut self.listed, &now) {
                    listed.insert(key.clone());
                }
                let was_known = self.known.contains(&key);
                if now.is_some() {
                    self.known.insert(key.clone());
                } else {
                    self.known.remove(&key);
                }
                if now.is_some() || was_known {
                    steps.steps.push(Step { key, now });
                }
            }
            Event::Delete(object) => {
                let (key, _) = read(object);
                if self.known.remove(&key) {
                    steps.steps.push(Step { key, now: None });
                }
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<K> = self.known.difference(&listed).cloned().collect();
                self.known = listed;
                steps.steps.extend(gone.into_iter().map(|key| Step { key, now: None }));
                steps.listed = true;
            }
        }
        steps
    }

    /// The kind itself is gone from the API server.
    pub(super) fn clear<V>(&mut self) -> Steps<K, V> {
        self.listed = None;
        let gone = std::mem::take(&mut self.known);
        Steps { steps: gone.into_iter().map(|key| Step { key, now: None }).collect(), listed: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Object = (&'static str, u8);

    fn take(known: &mut Known<&'static str>, events: Vec<Event<Object>>) -> Vec<(&'static str, Option<u8>)> {
        let read = |(name, value): Object| (name, (value > 0).then_some(value));
        let steps = events.into_iter().flat_map(|event| known.take(event, read).steps);
        steps.map(|step| (step.key, step.now)).collect()
    }

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let mut known = Known::default();
        take(
            &mut known,
            vec![Event::Init, Event::InitApply(("a", 1)), Event::InitApply(("b", 1)), Event::InitDone],
        );
        take(&mut known, vec![Event::Apply(("c", 1))]);
        let relisted = take(&mut known, vec![Event::Init, Event::InitApply(("b", 2)), Event::InitDone]);
        assert_eq!(relisted, [("b", Some(2)), ("a", None), ("c", None)]);
    }

    #[test]
    fn a_list_that_breaks_off_deletes_nothing_and_the_next_counts() {
        let mut known = Known::default();
        take(
            &mut known,
            vec![Event::Init, Event::InitApply(("a", 1)), Event::InitApply(("b", 1)), Event::InitDone],
        );
        assert_eq!(take(&mut known, vec![Event::Init, Event::InitApply(("a", 1))]), [("a", Some(1))]);
        let whole = take(&mut known, vec![Event::Init, Event::InitApply(("b", 1)), Event::InitDone]);
        assert_eq!(whole, [("b", Some(1)), ("a", None)]);
    }

    #[test]
    fn an_object_that_is_no_longer_of_interest_is_gone_once() {
        let mut known = Known::default();
        assert_eq!(take(&mut known, vec![Event::Apply(("a", 0))]), []);
        take(&mut known, vec![Event::Apply(("a", 1))]);
        assert_eq!(take(&mut known, vec![Event::Apply(("a", 0))]), [("a", None)]);
        assert_eq!(take(&mut known, vec![Event::Delete(("a", 1))]), []);
    }

    #[test]
    fn a_kind_that_is_gone_takes_its_objects_along() {
        let mut known = Known::default();
        take(&mut known, vec![Event::Apply(("a", 1))]);
        let steps: Steps<_, u8> = known.clear();
        assert_eq!((steps.steps.len(), steps.listed), (1, true));
    }
}
