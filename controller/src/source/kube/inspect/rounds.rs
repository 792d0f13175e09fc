//! When each starting workload is looked at next. Pure: it is given the time. No step goes through all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use zenvoy_shared::id::{Uid, WorkloadId};

use crate::source::kube::board::Starting;
use crate::source::kube::refusals::Mark;

/// Between two looks: the API server goes through all pods of the namespace for each.
const PACE: Duration = Duration::from_millis(20);
/// Most wakes are over by then; a storm of them must not become a storm of lists.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Everyone who starts.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    all: BTreeMap<WorkloadId, Round>,
    /// Those of `all` that are not being looked at, the most overdue first.
    due: BTreeSet<(Instant, WorkloadId)>,
    /// The pace of all looks together.
    not_before: Option<Instant>,
}

/// One that starts.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) starting: Starting,
    pub(super) since: Instant,
    /// `None` while it is being looked at.
    due: Option<Instant>,
    pause: Duration,
    /// The newest refusal that had been recorded when it was looked at first: older ones are of earlier starts.
    pub(super) refusals_before: Option<Mark>,
}

impl Rounds {
    /// Takes over whether, and as what, a workload starts.
    pub(super) fn update(&mut self, id: WorkloadId, starting: Option<Starting>, now: Instant) {
        let known = self.all.get(&id);
        if known.map(|round| &round.starting) == starting.as_ref() {
            return;
        }
        if let Some(due) = known.and_then(|round| round.due) {
            self.due.remove(&(due, id.clone()));
        }
        let Some(starting) = starting else {
            self.all.remove(&id);
            return;
        };
        let due = now + FIRST_LOOK;
        self.due.insert((due, id.clone()));
        let round = Round { starting, since: now, due: Some(due), pause: FIRST_LOOK, refusals_before: None };
        self.all.insert(id, round);
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let (due, _) = self.due.first()?;
        Some(self.not_before.map_or(*due, |not_before| (*due).max(not_before)))
    }

    /// At most `places` that are due, the most overdue first; they are not due again before they are back.
    pub(super) fn take_due(&mut self, now: Instant, places: usize) -> Vec<(WorkloadId, Round)> {
        let mut taken = Vec::new();
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return taken;
        }
        while taken.len() < places && self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.due.pop_first() else { break };
            let Some(round) = self.all.get_mut(&id) else { continue };
            round.due = None;
            taken.push((id, round.clone()));
        }
        self.not_before = Some(now + PACE * u32::try_from(taken.len()).unwrap_or(u32::MAX));
        taken
    }

    /// A look is over. `false` when nobody is interested any more.
    pub(super) fn back(&mut self, id: &WorkloadId, uid: &Uid, refusals: Option<Mark>, now: Instant) -> bool {
        let Some(round) = self.all.get_mut(id).filter(|round| round.starting.uid == *uid) else {
            return false;
        };
        round.refusals_before = round.refusals_before.take().or(refusals);
        let due = now + round.pause;
        if let Some(before) = round.due.replace(due) {
            self.due.remove(&(before, id.clone()));
        }
        self.due.insert((due, id.clone()));
        round.pause = (round.pause * 3 / 2).min(LONGEST_PAUSE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> WorkloadId {
        WorkloadId::new("shop", "Deployment.apps", name)
    }

    fn start(rounds: &mut Rounds, names: &[&str], now: Instant) {
        for name in names {
            let starting = Starting { uid: Uid((*name).into()), selector: "app=x".into() };
            rounds.update(id(name), Some(starting), now);
        }
    }

    fn taken(rounds: &mut Rounds, now: Instant, places: usize) -> Vec<String> {
        rounds.take_due(now, places).into_iter().map(|(id, _)| id.name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_that_goes_well_is_not_looked_at() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        start(&mut rounds, &["a"], now);
        assert!(taken(&mut rounds, now + Duration::from_millis(1_900), 8).is_empty());
        rounds.update(id("a"), None, now);
        assert!(rounds.next_due().is_none());
        assert!(taken(&mut rounds, now + Duration::from_secs(60), 8).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn all_have_their_turn_though_few_are_looked_at_at_once() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        start(&mut rounds, &["a", "b", "c"], now);
        let later = now + FIRST_LOOK;
        assert_eq!(taken(&mut rounds, later, 2), ["a", "b"]);
        for name in ["a", "b"] {
            assert!(rounds.back(&id(name), &Uid(name.into()), None, later));
        }
        assert_eq!(taken(&mut rounds, later + Duration::from_secs(5), 2), ["c", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_looked_at_at_a_pace_however_quickly_looks_are_over() {
        let names: Vec<String> = (0..1_000).map(|number| format!("w-{number:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (mut rounds, began) = (Rounds::default(), Instant::now());
        start(&mut rounds, &names, began);
        let (mut now, mut looks) = (began, 0);
        while now < began + Duration::from_secs(12) {
            now = rounds.next_due().expect("somebody is due");
            for name in taken(&mut rounds, now, 8) {
                looks += 1;
                rounds.back(&id(&name), &Uid(name), None, now);
            }
        }
        assert!((450..=520).contains(&looks), "{looks} in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound() {
        let (mut rounds, mut now) = (Rounds::default(), Instant::now());
        start(&mut rounds, &["a"], now);
        for _ in 0..20 {
            now = rounds.next_due().expect("due");
            assert_eq!(taken(&mut rounds, now, 1), ["a"]);
            rounds.back(&id("a"), &Uid("a".into()), None, now);
        }
        assert_eq!(rounds.next_due().expect("due") - now, LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_of_an_object_of_the_same_name_does_not_count() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        start(&mut rounds, &["a"], now);
        assert!(!rounds.back(&id("a"), &Uid("other".into()), None, now));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_another_object_now_starts_anew_though_it_is_being_looked_at() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        start(&mut rounds, &["a"], now);
        let later = now + FIRST_LOOK;
        assert_eq!(taken(&mut rounds, later, 8), ["a"]);
        let other = Starting { uid: Uid("other".into()), selector: "app=x".into() };
        rounds.update(id("a"), Some(other), later);
        assert!(!rounds.back(&id("a"), &Uid("a".into()), None, later));
        assert_eq!(rounds.next_due(), Some(later + FIRST_LOOK));
    }
}
