//! Which events are written: the same one again within minutes becomes a series, and no object may have many. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::render::Text;
use crate::source::kube::notice::ObjectId;

/// The same event within this time is counted, not written anew.
const SERIES: Duration = Duration::from_secs(360);
/// Events of one object at once, and then one per pause: as the field's clients do it against floods.
const BURST: u32 = 25;
const PAUSE: Duration = Duration::from_secs(30);
/// Remembered at most.
const REMEMBERED: usize = 4_096;

/// What to do with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new, under this name.
    Create(String),
    /// It has been written under this name and has now happened so many times.
    Count(String, i32),
    /// There are too many of this object.
    Drop,
}

#[derive(Debug)]
struct Written {
    name: String,
    count: i32,
    last: Instant,
}

/// What has been written lately.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    written: BTreeMap<(ObjectId, Text), Written>,
    order: VecDeque<(ObjectId, Text)>,
    budgets: BTreeMap<ObjectId, (u32, Instant)>,
}

impl EventLog {
    /// Decides, and counts on it being done. `fresh` is a name that nothing has.
    pub(super) fn decide(&mut self, about: &ObjectId, text: &Text, fresh: String, now: Instant) -> Verdict {
        let key = (about.clone(), text.clone());
        let known =
            self.written.get(&key).is_some_and(|known| now.saturating_duration_since(known.last) < SERIES);
        if !self.spend(about, now) {
            return Verdict::Drop;
        }
        if known && let Some(known) = self.written.get_mut(&key) {
            known.count = known.count.saturating_add(1);
            known.last = now;
            return Verdict::Count(known.name.clone(), known.count);
        }
        if self.written.insert(key.clone(), Written { name: fresh.clone(), count: 1, last: now }).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.written.remove(&oldest);
        }
        Verdict::Create(fresh)
    }

    /// An event was not written after all, or has expired: the next one is new.
    pub(super) fn forget(&mut self, about: &ObjectId, text: &Text) {
        if let Some(known) = self.written.get_mut(&(about.clone(), text.clone())) {
            known.last -= SERIES;
        }
    }

    fn spend(&mut self, about: &ObjectId, now: Instant) -> bool {
        if self.budgets.len() > REMEMBERED {
            self.budgets.retain(|_, (spent, since)| now.saturating_duration_since(*since) < PAUSE * *spent);
        }
        let (spent, since) = self.budgets.entry(about.clone()).or_insert((0, now));
        let earned = now.saturating_duration_since(*since).as_secs() / PAUSE.as_secs();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        *spent = spent.saturating_sub(earned);
        *since += PAUSE * earned;
        if *spent == 0 {
            *since = now;
        }
        if *spent >= BURST {
            return false;
        }
        *spent += 1;
        true
    }
}
