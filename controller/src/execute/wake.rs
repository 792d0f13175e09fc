//! The scale write of a wake.

use zenvoy_shared::id::WorkloadId;

use super::{Executor, Outcome};
use crate::source::{ScaleError, ScaleWrite};
use crate::store::WatchEvent;

impl Executor {
    #[tracing::instrument(name = "wake.scale", skip_all, fields(%workload, replicas = write.replicas))]
    pub(super) async fn scale(
        &self,
        workload: &WorkloadId,
        write: &ScaleWrite,
    ) -> (Outcome, Vec<WatchEvent>) {
        let outcome = match self.scaler.scale(workload, write).await {
            Ok(resource_version) => Outcome::Scaled(resource_version),
            Err(error) => failed(error),
        };
        (outcome, Vec::new())
    }
}

pub(super) fn failed(error: ScaleError) -> Outcome {
    match error {
        ScaleError::Conflict(_) | ScaleError::Missing(_) => Outcome::Conflict,
        ScaleError::Refused { problem, .. } => Outcome::ScaleRefused(problem),
        ScaleError::Unavailable { .. } => Outcome::ScaleFailed(error.to_string()),
    }
}
