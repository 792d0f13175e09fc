//! The Lease as an object. In: what was seen of it; out: a write that succeeds only on exactly that.
//!
//! kube-leader-election makes the writes. On its own it trusts wall clocks, and its patches change whatever is there. So it
//! gets a client that stands between: its read is answered with what this replica saw and judged (rule L2), and its
//! writes carry the version of that, so that the API server refuses them once anything else was written.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::client::Body;
use kube::core::Status;
use kube::{Client, ResourceExt};
use kube_leader_election::{Error, LeaseLock, LeaseLockParams, LeaseLockResult};
use serde_json::{Map, Value, json};
use tower::BoxError;
use zenvoy_shared::fault::causes;

use super::LeaseOptions;
use super::election::Observed;
use super::history::{ACCEPT, LED_ON};
use crate::store::History;

/// The Lease as it was read, or as an own write left it; nothing when there is none.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight(Option<Lease>);

impl Sight {
    /// What the election needs of it.
    pub(super) fn observed(&self) -> Observed {
        let Some(spec) = self.0.as_ref().and_then(|lease| lease.spec.as_ref()) else {
            return Observed::absent();
        };
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        Observed {
            holder: self.holder().to_owned(),
            renewal: format!("{:?} {:?} {:?}", spec.renew_time, spec.acquire_time, spec.lease_transitions),
            ttl: Duration::from_secs(seconds),
        }
    }

    /// Empty when nobody holds it.
    pub(super) fn holder(&self) -> &str {
        let spec = self.0.as_ref().and_then(|lease| lease.spec.as_ref());
        spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
    }

    /// The store that the last holder led on; what cannot be read is as good as nothing.
    pub(super) fn led_on(&self) -> Option<History> {
        self.annotation(LED_ON)?.parse().ok()
    }

    /// What a person accepted.
    pub(super) fn accepted(&self) -> Option<&str> {
        self.annotation(ACCEPT)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.annotations().get(name).map(String::as_str)
    }
}

/// The Lease was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// Surely not: something else was written in between.
    #[error("another write came first")]
    Conflict,
    /// Perhaps not.
    #[error("{0}")]
    Failed(String),
}

/// Writes one Lease for one holder.
pub(super) struct Lock {
    options: LeaseOptions,
    holder: String,
    leases: Api<Lease>,
}

impl Lock {
    pub(super) fn new(options: LeaseOptions, holder: String) -> Self {
        let leases = Api::namespaced(options.client.clone(), &options.namespace);
        Self { options, holder, leases }
    }

    /// The Lease now, by quorum.
    pub(super) async fn read(&self) -> Result<Sight, String> {
        self.leases.get_opt(&self.options.name).await.map(Sight).map_err(|error| causes(&error))
    }

    /// Acquires or renews it, if it still is as it was seen, and notes which store is led on.
    pub(super) async fn hold(&self, sight: &Sight, led_on: Option<History>) -> Result<Sight, LockError> {
        let mut annotations = Map::new();
        if let Some(led_on) = led_on {
            annotations.insert(LED_ON.into(), led_on.to_string().into());
        }
        if sight.accepted().is_some() {
            // It was for once.
            annotations.insert(ACCEPT.into(), Value::Null);
        }
        let lock = self.lock(self.free_to_take(sight), annotations);
        match lock.try_acquire_or_renew().await.map_err(|error| read_error(&error))? {
            LeaseLockResult::Acquired(lease) => Ok(Sight(Some(lease))),
            LeaseLockResult::NotAcquired(_) => Err(LockError::Conflict),
        }
    }

    /// Gives it back, if it still is as it was seen.
    pub(super) async fn release(&self, sight: Sight) -> Result<(), LockError> {
        self.lock(sight.0, Map::new()).step_down().await.map_err(|error| read_error(&error))
    }

    /// The Lease as one that may be taken: the election has decided so, on the own monotonic clock.
    fn free_to_take(&self, sight: &Sight) -> Option<Lease> {
        let mut lease = sight.0.clone()?;
        let spec = lease.spec.get_or_insert_default();
        spec.lease_transitions.get_or_insert(0);
        if *spec.holder_identity.get_or_insert_default() != self.holder {
            spec.renew_time = Some(MicroTime(Timestamp::UNIX_EPOCH));
            spec.lease_duration_seconds = Some(1);
        }
        Some(lease)
    }

    /// A lock that sees `shown`, and writes on that only.
    fn lock(&self, shown: Option<Lease>, annotations: Map<String, Value>) -> LeaseLock {
        let (api, namespace) = (self.options.client.clone(), &self.options.namespace);
        let between = tower::service_fn(move |request| {
            between(api.clone(), shown.clone(), annotations.clone(), request)
        });
        let params = LeaseLockParams {
            lease_name: self.options.name.clone(),
            holder_id: self.holder.clone(),
            lease_ttl: self.options.ttl,
        };
        LeaseLock::new(Client::new(between, namespace), namespace, params)
    }
}

async fn between(
    api: Client,
    shown: Option<Lease>,
    annotations: Map<String, Value>,
    request: Request<Body>,
) -> Result<Response<Body>, BoxError> {
    if request.method() == Method::GET {
        let (status, body) = match shown {
            Some(lease) => (StatusCode::OK, serde_json::to_vec(&lease)?),
            None => {
                let absent = Status::failure("the Lease does not exist", "NotFound").with_code(404);
                (StatusCode::NOT_FOUND, serde_json::to_vec(&absent)?)
            }
        };
        return Ok(Response::builder().status(status).body(Body::from(body))?);
    }
    let (head, body) = request.into_parts();
    let mut write: Value = serde_json::from_slice(&body.collect_bytes().await?)?;
    let metadata = &mut write["metadata"];
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations);
    }
    // A Lease that was not there is created: the API server refuses that once there is one.
    if let Some(version) = shown.and_then(|lease| lease.resource_version()) {
        metadata["resourceVersion"] = json!(version);
    }
    Ok(api.send(Request::from_parts(head, Body::from(serde_json::to_vec(&write)?))).await?)
}

fn read_error(error: &Error) -> LockError {
    let api = match error {
        Error::CreateLease(api)
        | Error::AcquireLease(api)
        | Error::RenewLease(api)
        | Error::ReleaseLease(api) => Some(api),
        _ => None,
    };
    match api {
        Some(kube::Error::Api(status)) if status.code == 409 => LockError::Conflict,
        _ => LockError::Failed(causes(error)),
    }
}
