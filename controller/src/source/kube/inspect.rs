//! Looks at the pods of workloads that should run and have nothing ready. In: which those are; out: why they do not become
//! ready. Bounded: few lists at once and so many a second, growing pauses, and none before a wake has had time to go well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ListParams};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;
use zenvoy_shared::id::{Uid, WorkloadId};

use super::board::{Change, Starting, Wants};
use super::objects::PodObject;
use super::refusals::{Listing, Listings, Mark};
use super::trouble;
use crate::model::Problem;

/// Looks at once.
const LOOKS: usize = 8;
/// Between two looks: the API server goes through all pods of the namespace for each.
const PACE: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(10);
/// Most wakes are over by then; a storm of them must not become a storm of lists.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// When each starting workload is looked at next. Pure: it is given the time.
#[derive(Debug, Default)]
struct Rounds {
    all: BTreeMap<WorkloadId, Round>,
    /// The pace of all looks together.
    not_before: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Round {
    starting: Starting,
    since: Instant,
    due: Option<Instant>,
    pause: Duration,
    /// The newest refusal that had been recorded when it was looked at first: older ones are of earlier starts.
    refusals_before: Option<Mark>,
}

impl Rounds {
    /// Takes over who is starting now.
    fn update(&mut self, starting: &BTreeMap<WorkloadId, Starting>, now: Instant) {
        self.all.retain(|id, round| starting.get(id) == Some(&round.starting));
        for (id, starting) in starting {
            self.all.entry(id.clone()).or_insert_with(|| Round {
                starting: starting.clone(),
                since: now,
                due: Some(now + FIRST_LOOK),
                pause: FIRST_LOOK,
                refusals_before: None,
            });
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let due = self.all.values().filter_map(|round| round.due).min()?;
        Some(self.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    /// At most `places` that are due, the most overdue first; they are not due again before they are back.
    fn take_due(&mut self, now: Instant, places: usize) -> Vec<(WorkloadId, Round)> {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return Vec::new();
        }
        let mut due: Vec<_> =
            self.all.iter_mut().filter(|(_, round)| round.due.is_some_and(|due| due <= now)).collect();
        due.sort_by_key(|(_, round)| round.due);
        due.truncate(places);
        self.not_before = Some(now + PACE * u32::try_from(due.len()).unwrap_or(u32::MAX));
        let taken = due.into_iter().map(|(id, round)| {
            round.due = None;
            (id.clone(), round.clone())
        });
        taken.collect()
    }

    /// A look is over. `false` when nobody is interested any more.
    fn back(&mut self, id: &WorkloadId, uid: &Uid, refusals: Option<Mark>, now: Instant) -> bool {
        let Some(round) = self.all.get_mut(id).filter(|round| round.starting.uid == *uid) else {
            return false;
        };
        round.refusals_before = round.refusals_before.take().or(refusals);
        round.due = Some(now + round.pause);
        round.pause = (round.pause * 3 / 2).min(LONGEST_PAUSE);
        true
    }
}

/// What a look found.
struct Found {
    id: WorkloadId,
    uid: Uid,
    problem: Option<Problem>,
    refusals: Option<Mark>,
}

/// Looks for ever.
pub(super) async fn run(
    client: Client,
    unschedulable_after: Duration,
    mut wants: watch::Receiver<Wants>,
    out: mpsc::Sender<Change>,
) {
    let (mut rounds, mut listings) = (Rounds::default(), Listings::new(client.clone()));
    let mut looks = JoinSet::new();
    loop {
        let now = Instant::now();
        rounds.update(&wants.borrow_and_update().starting, now);
        for (id, round) in rounds.take_due(now, LOOKS - looks.len()) {
            let refusals = listings.of(&id.namespace, now);
            looks.spawn(look(client.clone(), refusals, id, round, unschedulable_after, now));
        }
        let next = rounds.next_due().filter(|_| looks.len() < LOOKS);
        tokio::select! {
            changed = wants.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            Some(Ok(found)) = looks.join_next() => {
                let Found { id, uid, problem, refusals } = found;
                if rounds.back(&id, &uid, refusals, Instant::now())
                    && out.send(Change::Trouble(id, problem)).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

async fn look(
    client: Client,
    refusals: Listing,
    id: WorkloadId,
    round: Round,
    unschedulable_after: Duration,
    now: Instant,
) -> Found {
    let uid = round.starting.uid.clone();
    let mut found = Found { id, uid, problem: None, refusals: None };
    let looking = async {
        // From the API server's cache: this is advice, and must be cheap.
        let params = ListParams {
            resource_version: Some("0".into()),
            label_selector: Some(round.starting.selector),
            ..ListParams::default()
        };
        let pods: Api<PodObject> = Api::namespaced(client, &found.id.namespace);
        let pods = pods.list(&params).await.map_err(Arc::new)?.items;
        found.problem = trouble::of_pods(&pods, now - round.since, unschedulable_after);
        if pods.is_empty() {
            let refusals = refusals.await?.get(&found.uid).cloned().unwrap_or_default();
            if round.refusals_before.as_ref().is_some_and(|before| *before != refusals.mark) {
                found.problem = refusals.newest.map(|message| trouble::refusal(&message));
            }
            found.refusals = Some(refusals.mark);
        }
        Ok::<(), Arc<kube::Error>>(())
    };
    match tokio::time::timeout(DEADLINE, looking).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(workload = %found.id, %error, "its pods cannot be looked at"),
        Err(_) => debug!(workload = %found.id, "no answer about its pods"),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starting(names: &[&str]) -> BTreeMap<WorkloadId, Starting> {
        let one = |name: &&str| {
            let starting = Starting { uid: Uid((*name).into()), selector: "app=x".into() };
            (WorkloadId::new("shop", "Deployment.apps", *name), starting)
        };
        names.iter().map(one).collect()
    }

    fn taken(rounds: &mut Rounds, now: Instant, places: usize) -> Vec<String> {
        rounds.take_due(now, places).into_iter().map(|(id, _)| id.name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_that_goes_well_is_not_looked_at() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        rounds.update(&starting(&["a"]), now);
        assert!(taken(&mut rounds, now + Duration::from_millis(1_900), 8).is_empty());
        rounds.update(&starting(&[]), now);
        assert!(taken(&mut rounds, now + Duration::from_secs(60), 8).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn all_have_their_turn_though_few_are_looked_at_at_once() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        rounds.update(&starting(&["a", "b", "c"]), now);
        let later = now + FIRST_LOOK;
        assert_eq!(taken(&mut rounds, later, 2), ["a", "b"]);
        for name in ["a", "b"] {
            let id = WorkloadId::new("shop", "Deployment.apps", name);
            assert!(rounds.back(&id, &Uid(name.into()), None, later));
        }
        assert_eq!(taken(&mut rounds, later + Duration::from_secs(5), 2), ["c", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_looked_at_at_a_pace_however_quickly_looks_are_over() {
        let names: Vec<String> = (0..1_000).map(|number| format!("w-{number:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (mut rounds, start) = (Rounds::default(), Instant::now());
        rounds.update(&starting(&names), start);
        let (mut now, mut looks) = (start, 0);
        while now < start + Duration::from_secs(12) {
            now = rounds.next_due().expect("somebody is due");
            for name in taken(&mut rounds, now, LOOKS) {
                looks += 1;
                let id = WorkloadId::new("shop", "Deployment.apps", &name);
                rounds.back(&id, &Uid(name), None, now);
            }
        }
        assert!((450..=520).contains(&looks), "{looks} in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound() {
        let (mut rounds, mut now) = (Rounds::default(), Instant::now());
        let id = WorkloadId::new("shop", "Deployment.apps", "a");
        rounds.update(&starting(&["a"]), now);
        for _ in 0..20 {
            now = rounds.next_due().expect("due");
            assert_eq!(taken(&mut rounds, now, 1), ["a"]);
            rounds.back(&id, &Uid("a".into()), None, now);
        }
        assert_eq!(rounds.next_due().expect("due") - now, LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_of_an_object_of_the_same_name_does_not_count() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        rounds.update(&starting(&["a"]), now);
        let id = WorkloadId::new("shop", "Deployment.apps", "a");
        assert!(!rounds.back(&id, &Uid("other".into()), None, now));
    }
}
