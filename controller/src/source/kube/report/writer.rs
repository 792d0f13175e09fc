//! Writes what lies on the desk: one write at a time, at a bounded rate, after scale writes, each with a deadline.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use ulid::Ulid;
use zenvoy_shared::id::Uid;

use super::desk::{Desk, Job};
use super::events::{EventLog, Verdict};
use super::pace::Pace;
use super::render::{self, Severity, Text};
use crate::source::kube::KubeOptions;
use crate::source::kube::config::LAST_GOOD;
use crate::source::kube::crd::{ConditionStatus, Upstream};
use crate::source::kube::notice::{ObjectId, ObjectKind};
use crate::source::kube::urgency::Urgency;

const DEADLINE: Duration = Duration::from_secs(5);
/// After a failed write, before the next.
const PAUSE: Duration = Duration::from_secs(1);
/// What lies on the desk when zenvoy stops may take this long.
const FAREWELL: Duration = Duration::from_secs(2);
const MANAGER: &str = "zenvoy";
const CONTROLLER: &str = "zenvoy.dev/controller";

/// Writes status, conditions and events.
pub struct ReportWriter {
    client: Client,
    desk: Desk,
    instance: String,
    pace: Pace,
    urgency: Urgency,
    events: EventLog,
}

impl ReportWriter {
    /// `desk` is the one of the source and of the reporter, `urgency` the scaler's.
    pub fn new(client: Client, options: &KubeOptions, desk: Desk, urgency: Urgency) -> Self {
        let pace = Pace::new(options.writes_per_second, options.writes_per_second.saturating_mul(2));
        let instance = options.instance.chars().take(128).collect();
        Self { client, desk, instance, pace, urgency, events: EventLog::default() }
    }

    /// Writes until `stop`, and then for at most two seconds what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut stopped = false;
        let mut farewell = std::pin::pin!(async {
            stop.cancelled().await;
            tokio::time::sleep(FAREWELL).await;
        });
        loop {
            let job = self.desk.papers().next(Timestamp::now());
            let step = async {
                match job {
                    Some(job) => self.write(job).await,
                    None if stop.is_cancelled() => stopped = true,
                    None => tokio::select! {
                        () = self.desk.changed() => {}
                        () = stop.cancelled() => {}
                    },
                }
            };
            tokio::select! {
                () = step => {}
                () = &mut farewell => return,
            }
            if stopped {
                return;
            }
        }
    }

    async fn write(&mut self, job: Job) {
        while let Err(wait) = self.pace.take(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        self.urgency.calm().await;
        let outcome = tokio::time::timeout(DEADLINE, self.send(&job)).await;
        match outcome {
            Ok(Ok(())) => self.desk.papers().done(&job),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => self.desk.papers().gone(&job),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 403 | 409 | 422) => {
                // The same again would be refused again; the next change is tried.
                warn!(?job, %status, "a report was refused");
                self.desk.papers().done(&job);
            }
            Ok(Err(error)) => {
                warn!(%error, "a report could not be written; it is tried again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(_) => {
                warn!("a report had no answer; it is tried again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn send(&mut self, job: &Job) -> Result<(), kube::Error> {
        match job {
            Job::Status(id, status) => {
                let api: Api<Upstream> = Api::namespaced(self.client.clone(), &id.key.namespace);
                let patch = Patch::Merge(render::status_patch(status));
                api.patch_status(&id.key.name, &PatchParams::default(), &patch).await.map(drop)
            }
            Job::Condition(id, condition) => self.condition(id, condition.as_ref()).await,
            Job::LastGood(id, last_good) => {
                let patch = Patch::Merge(json!({ "metadata": { "annotations": { LAST_GOOD: last_good } } }));
                self.services(id)
                    .patch_metadata(&id.key.name, &PatchParams::default(), &patch)
                    .await
                    .map(drop)
            }
            Job::Event(id, uid, text) => self.event(id, uid, text).await,
        }
    }

    fn services(&self, id: &ObjectId) -> Api<Service> {
        Api::namespaced(self.client.clone(), &id.key.namespace)
    }

    /// By server-side apply: other conditions of the Service are of others.
    async fn condition(&self, id: &ObjectId, condition: Option<&ConditionStatus>) -> Result<(), kube::Error> {
        let conditions: Vec<&ConditionStatus> = condition.into_iter().collect();
        let patch = Patch::Apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": id.key.name },
            "status": { "conditions": conditions },
        }));
        let params = PatchParams::apply(MANAGER).force();
        self.services(id).patch_status(&id.key.name, &params, &patch).await.map(drop)
    }

    async fn event(&mut self, about: &ObjectId, uid: &Uid, text: &Text) -> Result<(), kube::Error> {
        let fresh = name(&about.key.name);
        let api: Api<Event> = Api::namespaced(self.client.clone(), &about.key.namespace);
        let now = MicroTime(Timestamp::now());
        let sent = match self.events.decide(about, text, fresh, Instant::now()) {
            Verdict::Drop => return Ok(()),
            Verdict::Create(name) => {
                let event = self.compose(about, uid, text, name, now);
                api.create(&PostParams::default(), &event).await.map(drop)
            }
            Verdict::Count(name, count) => {
                let series = EventSeries { count, last_observed_time: now };
                let patch = Patch::Merge(json!({ "series": series }));
                api.patch(&name, &PatchParams::default(), &patch).await.map(drop)
            }
        };
        if sent.is_err() {
            self.events.forget(about, text);
        }
        sent
    }

    fn compose(&self, about: &ObjectId, uid: &Uid, text: &Text, name: String, now: MicroTime) -> Event {
        let (api_version, kind) = match about.kind {
            ObjectKind::Service => ("v1", "Service"),
            ObjectKind::Upstream => ("zenvoy.dev/v1alpha1", "Upstream"),
        };
        let severity = match text.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        };
        let namespace = Some(about.key.namespace.clone());
        Event {
            metadata: ObjectMeta { name: Some(name), namespace: namespace.clone(), ..ObjectMeta::default() },
            event_time: Some(now),
            type_: Some(severity.into()),
            reason: Some(text.reason.clone()),
            note: Some(cut(&text.note)),
            action: Some(text.action.into()),
            reporting_controller: Some(CONTROLLER.into()),
            reporting_instance: Some(self.instance.clone()),
            regarding: Some(ObjectReference {
                api_version: Some(api_version.into()),
                kind: Some(kind.into()),
                name: Some(about.key.name.clone()),
                namespace,
                uid: Some(uid.0.clone()),
                ..ObjectReference::default()
            }),
            ..Event::default()
        }
    }
}

/// The API server takes notes of up to 1 kB.
fn cut(note: &str) -> String {
    const LONGEST: usize = 1_000;
    let end = note.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= LONGEST).last();
    note[..end.unwrap_or(0)].to_owned()
}

fn name(object: &str) -> String {
    let object: String = object.chars().take(200).collect();
    format!("{object}.{}", Ulid::new().to_string().to_lowercase())
}
