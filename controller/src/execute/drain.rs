//! The irrevocable steps of a drain: commit, patch to zero, done. Each reads by quorum what it relies on (rule G1).

use zenvoy_shared::id::{Uid, WorkloadId};

use super::wake::failed;
use super::{Commit, Executor, Outcome};
use crate::model::{DrainRecord, DrainState, PinnedWorkload, WorkloadFacts};
use crate::source::{ScaleError, ScaleWrite};
use crate::store::{Compare, Key, Txn, WatchEvent, Write, encode};

type Ended = (Outcome, Vec<WatchEvent>);

impl Executor {
    /// Rules D5 and D6: pins the object and condemns its pods.
    #[tracing::instrument(name = "drain.commit", skip_all, fields(%workload))]
    pub(super) async fn commit(&self, workload: &WorkloadId, commit: Commit) -> Ended {
        let facts = match self.object(workload, &commit).await {
            Ok(facts) if facts.replicas > 0 => facts,
            Ok(_) => return (Outcome::Conflict, Vec::new()),
            Err(ended) => return ended,
        };
        let condemned = match self.scaler.pods(workload).await {
            Ok(pods) => pods.into_iter().map(|pod| pod.uid).collect(),
            Err(error) => return (failed(error), Vec::new()),
        };
        // A commit cannot be taken back: a policy or webhook that refuses the patch must speak before it.
        let write = ScaleWrite { replicas: 0, resource_version: facts.version.resource_version.clone() };
        if let Err(error) = self.scaler.rehearse(workload, &write).await {
            return (failed(error), Vec::new());
        }
        let state = DrainState::Committed { pinned: pin(&facts), condemned };
        self.record(workload, &commit, state).await
    }

    /// Rule D7: exactly the pinned version. After a conflict with the same generation (status noise) the object is
    /// pinned anew, and the patch goes out again once that is decided on.
    #[tracing::instrument(name = "drain.scale", skip_all, fields(%workload))]
    pub(super) async fn scale_down(&self, workload: &WorkloadId, down: Commit) -> Ended {
        let Some(pinned) = down.pinned() else { return (Outcome::Conflict, Vec::new()) };
        let write = ScaleWrite { replicas: 0, resource_version: pinned.resource_version.clone() };
        match self.scaler.scale(workload, &write).await {
            Ok(resource_version) => return (Outcome::Scaled(resource_version), Vec::new()),
            Err(ScaleError::Conflict(_)) => {}
            Err(error) => return (failed(error), Vec::new()),
        }
        match self.object(workload, &down).await {
            Ok(facts) if facts.version.generation == pinned.generation && facts.replicas > 0 => {
                let condemned = down.drain.record.condemned().to_vec();
                let pinned = PinnedWorkload { unknown: pinned.unknown.clone(), ..pin(&facts) };
                self.record(workload, &down, DrainState::Committed { pinned, condemned }).await
            }
            // Overtaken, or an earlier patch of ours that was answered late: the plan tells when it sees the object.
            Ok(_) => (Outcome::Conflict, Vec::new()),
            Err(ended) => ended,
        }
    }

    /// Rules D7 and D8: at zero every pod must be on its way out; overtaken by someone else's change, only those that are
    /// terminating then are condemned, once the workload's own controller has acted on that change.
    ///
    /// A terminating pod never serves again, and is condemned: the next wake need not wait for its grace period.
    #[tracing::instrument(name = "drain.finish", skip_all, fields(%workload))]
    pub(super) async fn finish(&self, workload: &WorkloadId, finish: Commit) -> Ended {
        let facts = match self.object(workload, &finish).await {
            Ok(facts) => facts,
            Err(ended) => return ended,
        };
        let Some(pinned) = finish.pinned() else { return (Outcome::Conflict, Vec::new()) };
        if facts.replicas == 0 && facts.version.resource_version == pinned.resource_version {
            return (Outcome::NotYet, Vec::new());
        }
        if facts.replicas > 0
            && (facts.version.generation == pinned.generation
                || facts.version.observed_generation < facts.version.generation)
        {
            return (Outcome::NotYet, Vec::new());
        }
        let pods = match self.scaler.pods(workload).await {
            Ok(pods) => pods,
            Err(error) => return (failed(error), Vec::new()),
        };
        if facts.replicas == 0 && pods.iter().any(|pod| !pod.terminating) {
            return (Outcome::NotYet, Vec::new());
        }
        let living: Vec<&Uid> = pods.iter().filter(|pod| !pod.terminating).map(|pod| &pod.uid).collect();
        let terminating = pods.iter().filter(|pod| pod.terminating).map(|pod| pod.uid.clone());
        let mut condemned: Vec<Uid> = finish.drain.record.condemned().to_vec();
        // Overtaken: what lives on serves on.
        condemned.retain(|pod| !living.contains(&pod));
        condemned.extend(terminating);
        condemned.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        condemned.dedup();
        self.record(workload, &finish, DrainState::Done { condemned }).await
    }

    /// The object by quorum, if it is the one the drain is about.
    async fn object(&self, workload: &WorkloadId, commit: &Commit) -> Result<WorkloadFacts, Ended> {
        match self.scaler.read(workload).await {
            Ok(Some(facts)) if facts.version.uid == *commit.uid() => Ok(facts),
            Ok(_) => Err((Outcome::Conflict, Vec::new())),
            Err(error) => Err((failed(error), Vec::new())),
        }
    }

    async fn record(&self, workload: &WorkloadId, commit: &Commit, state: DrainState) -> Ended {
        let record = DrainRecord { state, ..commit.drain.record.clone() };
        let key = Key::Drain(workload.clone());
        let mut compares = commit.compares.clone();
        compares.push(Compare::WrittenAt(key.clone(), commit.drain.revision));
        self.write(Txn { compares, writes: vec![Write::Put(key, encode(&record), None)] }).await
    }
}

fn pin(facts: &WorkloadFacts) -> PinnedWorkload {
    PinnedWorkload {
        resource_version: facts.version.resource_version.clone(),
        generation: facts.version.generation,
        unknown: serde_json::Map::new(),
    }
}
