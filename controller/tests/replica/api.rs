//! The API server's side of the one workload.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use zenvoy_controller::model::{PodReference, Problem, WorkloadFacts, WorkloadVersion};
use zenvoy_controller::source::{Pod, PodUnknown, ScaleError, ScaleWrite, Scaler};
use zenvoy_shared::id::{Uid, WorkloadId};

#[derive(Debug, Default)]
pub(crate) struct Object {
    pub(crate) replicas: u32,
    pub(crate) version: i64,
    pub(crate) generation: i64,
    pub(crate) pods: BTreeMap<String, bool>,
    pub(crate) writes: Vec<u32>,
    pub(crate) tried: usize,
    pub(crate) refuses: bool,
    pub(crate) on_next_scale: Option<Meddle>,
    pub(crate) problem: Option<Problem>,
    pub(crate) back_off: Option<Duration>,
    /// UIDs of the Pods that nodes live in.
    pub(crate) gateways: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Meddle {
    Status,
    Spec,
}

impl Object {
    pub(crate) fn facts(&self) -> WorkloadFacts {
        WorkloadFacts {
            version: WorkloadVersion {
                uid: Uid("uid-1".into()),
                resource_version: self.version.to_string(),
                generation: self.generation,
                observed_generation: self.generation,
            },
            replicas: self.replicas,
            problem: self.problem.clone(),
            back_off: self.back_off,
        }
    }
}

/// The API server's side of the workload.
#[derive(Debug, Clone, Default)]
pub(crate) struct Api(pub(crate) Arc<Mutex<Object>>);

#[async_trait]
impl Scaler for Api {
    async fn read(&self, _: &WorkloadId) -> Result<Option<WorkloadFacts>, ScaleError> {
        Ok(Some(self.0.lock().expect("not poisoned").facts()))
    }

    async fn scale(&self, workload: &WorkloadId, write: &ScaleWrite) -> Result<String, ScaleError> {
        let mut object = self.0.lock().expect("not poisoned");
        object.tried += 1;
        match object.on_next_scale.take() {
            Some(Meddle::Status) => object.version += 1,
            Some(Meddle::Spec) => {
                object.version += 1;
                object.generation += 1;
            }
            None => {}
        }
        if object.refuses {
            let problem = Problem { reason: "QuotaExceeded".into(), message: "no room".into() };
            return Err(ScaleError::Refused { workload: workload.clone(), problem });
        }
        if write.resource_version != object.version.to_string() {
            return Err(ScaleError::Conflict(workload.clone()));
        }
        object.version += 1;
        object.generation += 1;
        object.replicas = write.replicas;
        object.writes.push(write.replicas);
        Ok(object.version.to_string())
    }

    async fn rehearse(&self, workload: &WorkloadId, _: &ScaleWrite) -> Result<(), ScaleError> {
        let object = self.0.lock().expect("not poisoned");
        if !object.refuses {
            return Ok(());
        }
        let problem = Problem { reason: "QuotaExceeded".into(), message: "no room".into() };
        Err(ScaleError::Refused { workload: workload.clone(), problem })
    }

    async fn pods(&self, _: &WorkloadId) -> Result<Vec<Pod>, ScaleError> {
        let object = self.0.lock().expect("not poisoned");
        let pods = object.pods.iter();
        Ok(pods.map(|(uid, terminating)| Pod { uid: Uid(uid.clone()), terminating: *terminating }).collect())
    }
    async fn pod_exists(&self, pod: &PodReference) -> Result<bool, PodUnknown> {
        Ok(self.0.lock().expect("not poisoned").gateways.contains(&pod.uid.0))
    }
}
