//! An API server that has one Lease: reads, creations, and merge patches that compare the version.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// What the API server has, and how it behaves.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) lease: Option<Value>,
    version: u64,
    /// Writes are carried out, and their answers do not come.
    pub(crate) loses_answers: bool,
    /// Nothing is carried out, and no answer comes.
    pub(crate) silent: bool,
    /// Writes that were carried out.
    pub(crate) writes: u32,
}

/// The API server. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Api(Arc<Mutex<State>>);

impl Api {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "zenvoy")
    }

    /// The holder as it is now.
    pub(crate) fn holder(&self) -> String {
        let state = self.state();
        let lease = state.lease.as_ref();
        let holder = lease.and_then(|lease| lease["spec"]["holderIdentity"].as_str());
        holder.unwrap_or_default().to_owned()
    }

    /// Somebody writes the Lease, past everything.
    pub(crate) fn write(&self, change: &Value) {
        let mut state = self.state();
        let mut lease = state.lease.take().unwrap_or_else(|| json!({ "metadata": { "name": "zenvoy" } }));
        merge(&mut lease, change);
        state.store(lease);
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.expect("a body");
        let (answer, written) = {
            let mut state = self.state();
            let silent = state.silent;
            let answer = (!silent).then(|| state.answer(&head.method, &body));
            (answer, head.method != Method::GET && state.loses_answers)
        };
        match answer {
            Some((status, answer)) if !written => {
                let body = Body::from(serde_json::to_vec(&answer).expect("JSON"));
                Response::builder().status(status).body(body).expect("a response")
            }
            _ => std::future::pending().await,
        }
    }
}

impl State {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (StatusCode, Value) {
        if *method == Method::GET {
            return match &self.lease {
                Some(lease) => (StatusCode::OK, lease.clone()),
                None => refused(StatusCode::NOT_FOUND, "NotFound"),
            };
        }
        let change: Value = serde_json::from_slice(body).expect("JSON");
        let lease = match (method, self.lease.clone()) {
            (&Method::POST, None) => change,
            (&Method::PATCH, Some(mut lease)) => {
                let compared = &change["metadata"]["resourceVersion"];
                assert!(compared.is_string(), "a write that compares nothing: {change}");
                if *compared != lease["metadata"]["resourceVersion"] {
                    return refused(StatusCode::CONFLICT, "Conflict");
                }
                merge(&mut lease, &change);
                lease
            }
            (&Method::POST, Some(_)) => return refused(StatusCode::CONFLICT, "AlreadyExists"),
            _ => return refused(StatusCode::NOT_FOUND, "NotFound"),
        };
        self.writes += 1;
        self.store(lease);
        (StatusCode::OK, self.lease.clone().expect("stored just now"))
    }

    fn store(&mut self, mut lease: Value) {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease);
    }
}

fn refused(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let code = status.as_u16();
    (
        status,
        json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": code }),
    )
}

/// JSON merge patch (RFC 7396).
fn merge(target: &mut Value, change: &Value) {
    let Value::Object(changes) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, change) in changes {
        if change.is_null() {
            target.as_object_mut().expect("made one").remove(name);
        } else {
            merge(&mut target[name], change);
        }
    }
}
