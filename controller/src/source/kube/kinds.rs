//! The API resources behind workloads' kinds. Built-in ones are known; others are discovered once they are a target.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::ApiResource;
use kube::{Client, discovery};

use super::objects::{built_in, kind_of};
use crate::model::Problem;

const DEADLINE: Duration = Duration::from_secs(10);

/// A kind cannot be used as a target.
#[derive(Debug, thiserror::Error)]
pub(super) enum KindError {
    #[error("the API server does not serve {0}; install its CustomResourceDefinition or name another target")]
    NotServed(String),
    #[error("{0} has no scale subresource; name a target that has one")]
    NotScalable(String),
    #[error("{kind} cannot be discovered: {reason}")]
    Unavailable { kind: String, reason: String },
}

impl KindError {
    /// For the user; `None` when the fault is not in what the user wrote.
    pub(super) fn problem(&self) -> Option<Problem> {
        let reason = match self {
            Self::NotServed(_) => "TargetKindUnknown",
            Self::NotScalable(_) => "TargetNotScalable",
            Self::Unavailable { .. } => return None,
        };
        Some(Problem { reason: reason.into(), message: self.to_string() })
    }
}

/// What has been found so far.
#[derive(Clone)]
pub(super) struct Kinds {
    client: Client,
    found: Arc<Mutex<BTreeMap<String, ApiResource>>>,
}

impl Kinds {
    pub(super) fn new(client: Client) -> Self {
        let found = built_in().map(|resource| (kind_of(&resource), resource));
        Self { client, found: Arc::new(Mutex::new(found.into())) }
    }

    /// The resource of `kind`, as known or as discovered now.
    pub(super) async fn resource(&self, kind: &str) -> Result<ApiResource, KindError> {
        let known = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(kind).cloned();
        match known {
            Some(resource) => Ok(resource),
            None => self.discover(kind).await,
        }
    }

    /// Asks the API server, whatever is known.
    pub(super) async fn discover(&self, kind: &str) -> Result<ApiResource, KindError> {
        let (name, group) = kind.split_once('.').unwrap_or((kind, ""));
        let unavailable = |reason: String| KindError::Unavailable { kind: kind.to_owned(), reason };
        let asked = tokio::time::timeout(DEADLINE, discovery::group(&self.client, group));
        let served = match asked.await {
            Ok(Ok(served)) => served,
            Ok(Err(kube::Error::Discovery(_))) => return Err(KindError::NotServed(kind.to_owned())),
            Ok(Err(error)) => return Err(unavailable(error.to_string())),
            Err(_) => return Err(unavailable(format!("no answer in {DEADLINE:?}"))),
        };
        let Some((resource, capabilities)) = served.recommended_kind(name) else {
            return Err(KindError::NotServed(kind.to_owned()));
        };
        if !capabilities.subresources.iter().any(|(subresource, _)| subresource.plural == "scale") {
            return Err(KindError::NotScalable(kind.to_owned()));
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(kind.to_owned(), resource.clone());
        Ok(resource)
    }
}
