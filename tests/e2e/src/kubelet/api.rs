//! A pod's writes to the API server: repeated until they succeed or the pod is gone, so that the server may restart.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Error, ResourceExt};
use serde_json::{Value, json};

use super::NODE;

/// The API server no longer has this pod: nothing is left to do for it.
#[derive(Debug)]
pub(super) struct Gone;

/// One pod at the API server.
pub(super) struct Remote {
    pods: Api<Pod>,
    name: String,
    uid: String,
}

impl Remote {
    pub(super) fn new(client: Client, pod: &Pod) -> Self {
        let namespace = pod.namespace().unwrap_or_default();
        let uid = pod.uid().unwrap_or_default();
        Self { pods: Api::namespaced(client, &namespace), name: pod.name_any(), uid }
    }

    pub(super) async fn bind(&self) -> Result<(), Gone> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": { "name": self.name, "uid": self.uid },
            "target": { "apiVersion": "v1", "kind": "Node", "name": NODE },
        });
        let how = PostParams::default();
        persist(|| self.pods.create_subresource::<Value, Value>("binding", &self.name, &how, &binding)).await
    }

    pub(super) async fn patch_status(&self, status: Value) -> Result<(), Gone> {
        // With the uid, a successor of the same name refuses it.
        let patch = Patch::Merge(json!({ "metadata": { "uid": self.uid }, "status": status }));
        let how = PatchParams::default();
        persist(|| self.pods.patch_status(&self.name, &how, &patch)).await
    }

    pub(super) async fn delete(&self) -> Result<(), Gone> {
        let preconditions = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let how = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        persist(|| self.pods.delete(&self.name, &how)).await
    }
}

async fn persist<T, F>(mut attempt: impl FnMut() -> F) -> Result<(), Gone>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    loop {
        pace.tick().await;
        match attempt().await {
            Ok(_) => return Ok(()),
            // Gone, replaced, or already being removed.
            Err(Error::Api(status)) if [404, 409, 422].contains(&status.code) => return Err(Gone),
            Err(_) => {}
        }
    }
}
