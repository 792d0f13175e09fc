//! Looks at the pods of workloads that should run and have nothing ready. In: which those are; out: why they do not become
//! ready. Bounded: few lists at once and so many a second, growing pauses, and none before a wake has had time to go well.

mod rounds;
mod starts;

pub(super) use starts::Starts;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ListParams};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;
use zenvoy_shared::id::{Uid, WorkloadId};

use self::rounds::{Round, Rounds};
use super::board::Change;
use super::objects::PodObject;
use super::refusals::{Listing, Listings, Mark};
use super::trouble;
use crate::model::Problem;

/// Looks at once.
const LOOKS: usize = 8;
const DEADLINE: Duration = Duration::from_secs(10);

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
    starts: Starts,
    out: mpsc::Sender<Change>,
) {
    let (mut rounds, mut listings) = (Rounds::default(), Listings::new(client.clone()));
    let mut looks = JoinSet::new();
    loop {
        let now = Instant::now();
        for (id, starting) in starts.take() {
            rounds.update(id, starting, now);
        }
        for (id, round) in rounds.take_due(now, LOOKS - looks.len()) {
            let refusals = listings.of(&id.namespace, now);
            looks.spawn(look(client.clone(), refusals, id, round, unschedulable_after, now));
        }
        let next = rounds.next_due().filter(|_| looks.len() < LOOKS);
        tokio::select! {
            () = starts.changed() => {}
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
