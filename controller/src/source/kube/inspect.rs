//! Looks at the pods of workloads that should run and have nothing ready. In: which those are; out: why they do not become
//! ready. Bounded: few lists at once, growing pauses, and none before a wake has had time to go well.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;
use zenvoy_shared::id::{Uid, WorkloadId};

use super::board::{Change, Starting, Wants};
use super::objects::PodObject;
use super::trouble;
use crate::model::Problem;

/// Looks at once.
const LOOKS: usize = 8;
const DEADLINE: Duration = Duration::from_secs(10);
/// Most wakes are over by then; a storm of them must not become a storm of lists.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// When each starting workload is looked at next. Pure: it is given the time.
#[derive(Debug, Default)]
struct Rounds(BTreeMap<WorkloadId, Round>);

#[derive(Debug, Clone)]
struct Round {
    starting: Starting,
    since: Instant,
    due: Option<Instant>,
    pause: Duration,
    /// The newest refusal that had been recorded when it was looked at first: older ones are of earlier starts.
    refusals_before: Option<Refusals>,
}

/// A mark of the refusals that the API server has recorded: it changes with each new one.
type Refusals = Vec<(Option<String>, Option<String>)>;

impl Rounds {
    /// Takes over who is starting now.
    fn update(&mut self, starting: &BTreeMap<WorkloadId, Starting>, now: Instant) {
        self.0.retain(|id, round| starting.get(id) == Some(&round.starting));
        for (id, starting) in starting {
            self.0.entry(id.clone()).or_insert_with(|| Round {
                starting: starting.clone(),
                since: now,
                due: Some(now + FIRST_LOOK),
                pause: FIRST_LOOK,
                refusals_before: None,
            });
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|round| round.due).min()
    }

    /// At most `places` that are due, the most overdue first; they are not due again before they are back.
    fn take_due(&mut self, now: Instant, places: usize) -> Vec<(WorkloadId, Round)> {
        let mut due: Vec<_> =
            self.0.iter_mut().filter(|(_, round)| round.due.is_some_and(|due| due <= now)).collect();
        due.sort_by_key(|(_, round)| round.due);
        due.truncate(places);
        let taken = due.into_iter().map(|(id, round)| {
            round.due = None;
            (id.clone(), round.clone())
        });
        taken.collect()
    }

    /// A look is over. `false` when nobody is interested any more.
    fn back(&mut self, id: &WorkloadId, uid: &Uid, refusals: Option<Refusals>, now: Instant) -> bool {
        let Some(round) = self.0.get_mut(id).filter(|round| round.starting.uid == *uid) else { return false };
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
    refusals: Option<Refusals>,
}

/// Looks for ever.
pub(super) async fn run(
    client: Client,
    unschedulable_after: Duration,
    mut wants: watch::Receiver<Wants>,
    out: mpsc::Sender<Change>,
) {
    let mut rounds = Rounds::default();
    let mut looks = JoinSet::new();
    loop {
        let now = Instant::now();
        rounds.update(&wants.borrow_and_update().starting, now);
        for (id, round) in rounds.take_due(now, LOOKS - looks.len()) {
            looks.spawn(look(client.clone(), id, round, unschedulable_after, now));
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
        let pods: Api<PodObject> = Api::namespaced(client.clone(), &found.id.namespace);
        let pods = pods.list(&params).await?.items;
        found.problem = trouble::of_pods(&pods, now - round.since, unschedulable_after);
        if pods.is_empty() {
            let (refusals, newest) = refusals(&client, &found.id.namespace, &found.uid).await?;
            if round.refusals_before.as_ref().is_some_and(|before| *before != refusals) {
                found.problem = newest.map(|message| trouble::refusal(&message));
            }
            found.refusals = Some(refusals);
        }
        Ok::<(), kube::Error>(())
    };
    match tokio::time::timeout(DEADLINE, looking).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(workload = %found.id, %error, "its pods cannot be looked at"),
        Err(_) => debug!(workload = %found.id, "no answer about its pods"),
    }
    found
}

/// A StatefulSet has no condition that says its pods are refused, only events.
async fn refusals(
    client: &Client,
    namespace: &str,
    uid: &Uid,
) -> Result<(Refusals, Option<String>), kube::Error> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let selector = format!("involvedObject.uid={uid},reason=FailedCreate");
    let mut events = events.list(&ListParams::default().fields(&selector)).await?.items;
    events.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let newest = events.iter().max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    let newest = newest.and_then(|event| event.message.clone());
    let mark = events.into_iter().map(|event| (event.metadata.name, event.metadata.resource_version));
    Ok((mark.collect(), newest))
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
