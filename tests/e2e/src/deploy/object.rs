//! One object of the manifests, and putting it on an API server.

use std::fmt;

use http_body_util::BodyExt;
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::client::Body;
use kube::core::{GroupVersionKind, Request, Resource};
use kube::discovery::ApiResource;
use serde_json::Value;

/// An object as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Object(Value);

/// What the API server said to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The answer's HTTP status.
    pub status: u16,
    /// The answer.
    pub body: String,
    /// The texts of its `Warning` headers.
    pub warnings: Vec<String>,
}

impl From<Value> for Object {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Its namespace; empty for what lies in none.
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// What lies at a JSON pointer; null when nothing does.
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The items of the list at a JSON pointer.
    pub fn list(&self, pointer: &str) -> &[Value] {
        self.at(pointer).as_array().map_or(&[], Vec::as_slice)
    }

    /// All of it.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Whether it makes pods.
    pub fn is_workload(&self) -> bool {
        self.0.pointer("/spec/template/spec/containers").is_some()
    }

    /// The spec of the pods that a workload makes.
    pub fn pod(&self) -> &Value {
        self.at("/spec/template/spec")
    }

    /// The pod that a workload would make, as an object of its own, with a name that its controller gives to none: that pod
    /// may be there already.
    #[must_use]
    pub fn as_pod(&self) -> Self {
        self.as_pod_named(&format!("{}-alike", self.name()))
    }

    /// The same, of this name.
    #[must_use]
    pub fn as_pod_named(&self, name: &str) -> Self {
        let mut metadata = self.at("/spec/template/metadata").clone();
        metadata["name"] = name.into();
        metadata["namespace"] = self.namespace().into();
        let mut pod = serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": self.pod() });
        // A StatefulSet's controller adds a volume for each claim.
        let claimed = self.list("/spec/volumeClaimTemplates").iter().map(|claim| {
            let name = &claim["metadata"]["name"];
            serde_json::json!({ "name": name, "persistentVolumeClaim": { "claimName": name } })
        });
        let volumes = self.list("/spec/template/spec/volumes").iter().cloned().chain(claimed).collect();
        pod["spec"]["volumes"] = serde_json::Value::Array(volumes);
        Self(pod)
    }

    /// Server-side apply with strict field validation, as `kubectl apply --server-side --validate=strict`.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn apply(&self, client: &Client) -> Applied {
        self.send(client, &PatchParams::apply("deploy").force().validation_strict()).await
    }

    /// The same, and nothing is kept of it.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn dry_run(&self, client: &Client) -> Applied {
        self.send(client, &PatchParams::apply("deploy").force().validation_strict().dry_run()).await
    }

    async fn send(&self, client: &Client, how: &PatchParams) -> Applied {
        let (group, version) =
            self.text("/apiVersion").split_once('/').unwrap_or(("", self.text("/apiVersion")));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, self.kind()));
        let namespace = Some(self.namespace()).filter(|namespace| !namespace.is_empty());
        let request = Request::new(DynamicObject::url_path(&resource, namespace))
            .patch(self.name(), how, &Patch::Apply(&self.0))
            .expect("a valid request");
        let answer = client.send(request.map(Body::from)).await.expect("the API server answers");
        let status = answer.status().as_u16();
        let warnings = answer.headers().get_all(http::header::WARNING).iter();
        let warnings = warnings.map(|warning| String::from_utf8_lossy(warning.as_bytes()).into_owned());
        let warnings = warnings.collect();
        let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
        Applied { status, body: String::from_utf8_lossy(&body).into_owned(), warnings }
    }

    pub(super) fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }
}

impl Applied {
    /// Whether the API server took it, and had nothing to say to it.
    pub fn is_clean(&self) -> bool {
        (200..300).contains(&self.status) && self.warnings.is_empty()
    }
}

impl fmt::Display for Applied {
    /// The answer itself only when it is a refusal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.status, self.warnings)?;
        if self.status >= 300 { write!(f, " {}", self.body) } else { Ok(()) }
    }
}
