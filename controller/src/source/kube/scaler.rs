//! Quorum reads and scale writes of workloads. In: ids, and writes that carry the version they rest on; out: answers, or
//! errors by what the caller can do about them. Each call has a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{Api, DynamicObject, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::core::Status;
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zenvoy_shared::id::{Uid, WorkloadId};

use super::keep::{Workload, uid};
use super::kinds::{KindError, Kinds};
use super::lookup;
use super::objects::PodObject;
use super::urgency::Urgency;
use crate::model::{PodReference, Problem, WorkloadFacts};
use crate::source::{Pod, PodUnknown, ScaleError, ScaleWrite, Scaler};

const READ: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(5);
const PODS: Duration = Duration::from_secs(10);
/// A node waits for it before it is served.
const POD: Duration = Duration::from_secs(2);
const READINESS: Duration = Duration::from_secs(2);
/// The reason of a refusal for want of a right.
const FORBIDDEN: &str = "Forbidden";
/// An overloaded API server says 429 before it does anything: the same write may be sent again.
const AGAIN: Duration = Duration::from_millis(100);
/// Scale writes under way, at most; the others wait here, in turn. An API server without priorities takes 200 changes of all its
/// clients at once (`--max-mutating-requests-inflight`) and refuses more; one with priorities has about as many seats for service
/// accounts, and a queue behind them.
const WRITES: usize = 192;

/// Scales workloads of a Kubernetes cluster.
#[derive(Clone)]
pub struct KubeScaler {
    client: Client,
    writers: Arc<[Client]>,
    /// Writes that were begun: they take the writers in turn.
    begun: Arc<AtomicUsize>,
    room: Arc<Semaphore>,
    urgency: Urgency,
    kinds: Kinds,
}

impl KubeScaler {
    /// With clients of its own (see [`super::connect`]): wakes must not wait behind watches, and an API server takes some
    /// 100 requests at once on a connection. `first` reads, and writes with the `further` ones in turn.
    pub fn new(first: Client, further: Vec<Client>, urgency: Urgency) -> Self {
        let kinds = Kinds::new(first.clone());
        let writers = std::iter::once(first.clone()).chain(further).collect();
        let room = Arc::new(Semaphore::new(WRITES));
        Self { client: first, writers, begun: Arc::default(), room, urgency, kinds }
    }

    fn writer(&self) -> Client {
        self.writers[self.begun.fetch_add(1, Ordering::Relaxed) % self.writers.len()].clone()
    }

    async fn look(&self, id: &WorkloadId) -> Result<Option<Workload>, Failure> {
        let resource = match self.kinds.resource(&id.kind).await {
            Err(KindError::NotServed(_)) => return Ok(None),
            resource => resource?,
        };
        Ok(lookup::workload(&self.client, &resource, id).await?)
    }

    async fn patch(
        &self,
        id: &WorkloadId,
        write: &ScaleWrite,
        how: &PatchParams,
        deadline: Instant,
    ) -> Result<String, Failure> {
        let resource = self.kinds.resource(&id.kind).await?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.writer(), &id.namespace, &resource);
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": write.resource_version },
            "spec": { "replicas": write.replicas },
        }));
        loop {
            match api.patch_scale(&id.name, how, &patch).await {
                Ok(scale) => return Ok(scale.resource_version().unwrap_or_default()),
                Err(kube::Error::Api(status)) if status.code == 429 && Instant::now() + AGAIN < deadline => {
                    tokio::time::sleep(AGAIN.mul_f64(rand::random_range(0.5..1.0))).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes a call in time, and says what its failure means.
    async fn call<T>(
        &self,
        workload: &WorkloadId,
        deadline: Instant,
        call: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, ScaleError> {
        match within(workload, deadline, call).await {
            Err(ScaleError::Refused { workload, problem })
                if problem.reason == FORBIDDEN && self.is_starting().await =>
            {
                Err(ScaleError::Unavailable { workload, reason: problem.message })
            }
            answer => answer,
        }
    }

    /// Whether the API server is not ready. One that starts has not read the roles yet, and forbids everything: even this
    /// question, which the roles of every cluster allow to whoever is known.
    async fn is_starting(&self) -> bool {
        let Ok(question) = http::Request::get("/readyz").body(Vec::new()) else { return false };
        match tokio::time::timeout(READINESS, self.client.request_text(question)).await {
            Ok(Ok(_)) => false,
            Ok(Err(kube::Error::Api(status))) => status.code == 403 || status.code >= 500,
            Ok(Err(_)) | Err(_) => true,
        }
    }

    async fn living(&self, id: &WorkloadId) -> Result<Vec<Pod>, Failure> {
        let workload = self.look(id).await?.ok_or(Failure::Missing)?;
        if workload.selector.is_empty() {
            return Err(Failure::NoSelector);
        }
        let selected = ListParams::default().labels(&workload.selector);
        let pods: Api<PodObject> = Api::namespaced(self.client.clone(), &id.namespace);
        let pods = pods.list(&selected).await?.items;
        let pods: Vec<PodObject> = pods.into_iter().filter(|pod| !pod.is_over()).collect();
        let owned: Box<dyn Fn(&PodObject) -> bool + Send> = match id.kind.as_str() {
            "Deployment.apps" if !pods.is_empty() => {
                // Listed after the pods, so that it has the owners of all of them.
                let sets: Api<PartialObjectMeta<ReplicaSet>> =
                    Api::namespaced(self.client.clone(), &id.namespace);
                let sets = sets.list(&ListParams::default()).await?.items;
                let foreign = foreign(&sets, &workload.version.uid);
                Box::new(move |pod| owner(pod).is_some_and(|owner| !foreign.contains(&owner)))
            }
            "StatefulSet.apps" | "ReplicaSet.apps" => {
                let workload = workload.version.uid.clone();
                Box::new(move |pod| owner(pod).is_some_and(|owner| owner == workload))
            }
            // The selector in its scale is what a further kind says of its pods.
            _ => Box::new(|_| true),
        };
        let living = pods.iter().filter(|pod| owned(pod));
        let pod = |pod: &PodObject| Pod {
            uid: uid(&pod.metadata),
            terminating: pod.metadata.deletion_timestamp.is_some(),
        };
        Ok(living.map(pod).collect())
    }
}

/// The ReplicaSets that provably belong to somebody else. A pod whose ReplicaSet is gone may still be ours.
fn foreign(sets: &[PartialObjectMeta<ReplicaSet>], deployment: &Uid) -> Vec<Uid> {
    let owned = |set: &&PartialObjectMeta<ReplicaSet>| {
        let mut owners = set.owner_references().iter();
        owners.any(|owner| owner.controller == Some(true) && owner.uid == deployment.0)
    };
    sets.iter().filter(|set| !owned(set)).map(|set| uid(&set.metadata)).collect()
}

fn owner(pod: &PodObject) -> Option<Uid> {
    let owners = pod.metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| Uid(owner.uid.clone()))
}

/// What went wrong below.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("there is no such object")]
    Missing,
    #[error("its scale names no selector: its pods cannot be told")]
    NoSelector,
    #[error(transparent)]
    Kind(#[from] KindError),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Failure {
    /// By what the caller can do about it.
    fn class(self, workload: &WorkloadId) -> ScaleError {
        let workload = workload.clone();
        match self {
            Self::Missing => ScaleError::Missing(workload),
            Self::NoSelector => {
                let problem = Problem { reason: "TargetNotScalable".into(), message: self.to_string() };
                ScaleError::Refused { workload, problem }
            }
            Self::Kind(error) => match error.problem() {
                Some(problem) => ScaleError::Refused { workload, problem },
                None => ScaleError::Unavailable { workload, reason: error.to_string() },
            },
            Self::Api(kube::Error::Api(status)) => answered(&status, workload),
            Self::Api(error) => ScaleError::Unavailable { workload, reason: error.to_string() },
        }
    }
}

/// The API server answered with a refusal.
fn answered(status: &Status, workload: WorkloadId) -> ScaleError {
    let refused = |reason: &str| Problem {
        reason: reason.into(),
        message: format!("the API server refuses to scale it: {}", status.message),
    };
    match status.code {
        404 => ScaleError::Missing(workload),
        409 => ScaleError::Conflict(workload),
        403 if status.message.contains("exceeded quota") => {
            ScaleError::Refused { workload, problem: refused("QuotaExceeded") }
        }
        // An admission webhook or policy denies with this code too, and says so.
        403 if !status.message.contains("denied") => {
            ScaleError::Refused { workload, problem: refused(FORBIDDEN) }
        }
        400 | 403 | 405 | 413 | 415 | 422 => {
            ScaleError::Refused { workload, problem: refused("ScaleRefused") }
        }
        // Not authenticated (a token may be renewed), overloaded, or broken inside.
        _ => ScaleError::Unavailable { workload, reason: format!("{} ({})", status.message, status.code) },
    }
}

async fn within<T>(
    workload: &WorkloadId,
    deadline: Instant,
    call: impl Future<Output = Result<T, Failure>> + Send,
) -> Result<T, ScaleError> {
    match tokio::time::timeout_at(deadline, call).await {
        Ok(answer) => answer.map_err(|failure| failure.class(workload)),
        Err(_) => {
            let reason = "no answer from the API server before the deadline".into();
            Err(ScaleError::Unavailable { workload: workload.clone(), reason })
        }
    }
}

#[async_trait]
impl Scaler for KubeScaler {
    async fn read(&self, workload: &WorkloadId) -> Result<Option<WorkloadFacts>, ScaleError> {
        let found = self.call(workload, Instant::now() + READ, self.look(workload)).await?;
        Ok(found.map(|found| WorkloadFacts {
            problem: found.refusal.filter(|_| found.replicas > 0),
            version: found.version,
            replicas: found.replicas,
            back_off: None,
        }))
    }

    async fn scale(&self, workload: &WorkloadId, write: &ScaleWrite) -> Result<String, ScaleError> {
        let _urgent = self.urgency.begin();
        // Each write before it has a deadline, so this ends; it is never closed.
        let _room = self.room.acquire().await;
        let deadline = Instant::now() + WRITE;
        self.call(workload, deadline, self.patch(workload, write, &PatchParams::default(), deadline)).await
    }

    async fn rehearse(&self, workload: &WorkloadId, write: &ScaleWrite) -> Result<(), ScaleError> {
        let deadline = Instant::now() + WRITE;
        let how = PatchParams { dry_run: true, ..PatchParams::default() };
        self.call(workload, deadline, self.patch(workload, write, &how, deadline)).await.map(|_| ())
    }

    async fn pods(&self, workload: &WorkloadId) -> Result<Vec<Pod>, ScaleError> {
        self.call(workload, Instant::now() + PODS, self.living(workload)).await
    }

    async fn pod_exists(&self, pod: &PodReference) -> Result<bool, PodUnknown> {
        let unknown = |reason: String| PodUnknown { pod: pod.clone(), reason };
        let pods: Api<PodObject> = Api::namespaced(self.client.clone(), &pod.namespace);
        // Without a resourceVersion the answer is of a quorum.
        match tokio::time::timeout(POD, pods.get_metadata_opt(&pod.name)).await {
            Ok(Ok(found)) => Ok(found.is_some_and(|found| uid(&found.metadata) == pod.uid)),
            Ok(Err(error)) => Err(unknown(error.to_string())),
            Err(_) => Err(unknown("no answer from the API server before the deadline".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: u16, message: &str) -> ScaleError {
        let status = Status::failure(message, "").with_code(code);
        answered(&status, WorkloadId::new("shop", "Deployment.apps", "cart"))
    }

    fn reason(code: u16, message: &str) -> String {
        match class(code, message) {
            ScaleError::Refused { problem, .. } => problem.reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_told_by_what_the_caller_can_do() {
        assert!(matches!(class(409, "the object has been modified"), ScaleError::Conflict(_)));
        assert!(matches!(class(404, "not found"), ScaleError::Missing(_)));
        for code in [401, 429, 500, 503, 504] {
            assert!(
                matches!(class(code, "failed calling webhook"), ScaleError::Unavailable { .. }),
                "{code}"
            );
        }
    }

    #[test]
    fn a_refusal_has_a_stable_reason() {
        assert_eq!(reason(403, "x is forbidden: User \"zenvoy\" cannot patch resource"), "Forbidden");
        assert_eq!(reason(403, "x is forbidden: exceeded quota: small"), "QuotaExceeded");
        assert_eq!(reason(403, "admission webhook \"x\" denied the request: no"), "ScaleRefused");
        assert_eq!(reason(422, "Invalid value: -1"), "ScaleRefused");
    }

    #[test]
    fn only_a_replica_set_of_somebody_else_makes_a_pod_foreign() {
        let set = |uid: &str, owner: &str| -> PartialObjectMeta<ReplicaSet> {
            serde_json::from_value(json!({ "metadata": { "uid": uid, "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": owner, "controller": true }] } }))
            .expect("a ReplicaSet")
        };
        let sets = [set("ours", "deployment"), set("theirs", "other")];
        assert_eq!(foreign(&sets, &Uid("deployment".into())), [Uid("theirs".into())]);
    }
}
