//! Pods that the API server refused to create: what a StatefulSet has no condition for, only events. In: a namespace; out: its
//! refusals, by the workload that wanted the pods.
//!
//! Whoever lists events has the API server read all of the namespace, whatever is selected. So one list serves all that look at
//! about the same time: a storm of wakes costs no more lists than one wake.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::time::Instant;
use zenvoy_shared::id::Uid;

/// A list serves those who ask within this of the first.
const FRESH: Duration = Duration::from_secs(2);

/// A mark of the refusals that the API server has recorded: it changes with each new one.
pub(super) type Mark = Vec<(Option<String>, Option<String>)>;

/// The refusals of one workload's pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusals {
    pub(super) mark: Mark,
    /// What was said last.
    pub(super) newest: Option<String>,
}

type ByUid = HashMap<Uid, Refusals>;

/// A list that is made once, when the first of those who share it asks; how it failed is known to all of them.
pub(super) type Listing = Shared<BoxFuture<'static, Result<Arc<ByUid>, Arc<kube::Error>>>>;

/// The lists that may be shared still, by namespace.
pub(super) struct Listings {
    client: Client,
    fresh: BTreeMap<String, (Instant, Listing)>,
}

impl Listings {
    pub(super) fn new(client: Client) -> Self {
        Self { client, fresh: BTreeMap::new() }
    }

    /// The list for those who look at a workload in `namespace` now. Nothing is asked for before it is awaited.
    pub(super) fn of(&mut self, namespace: &str, now: Instant) -> Listing {
        self.fresh.retain(|_, (since, _)| now.duration_since(*since) < FRESH);
        if let Some((_, listing)) = self.fresh.get(namespace) {
            return listing.clone();
        }
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let listing = async move {
            let params = ListParams::default().fields("reason=FailedCreate");
            Ok(Arc::new(by_uid(events.list(&params).await.map_err(Arc::new)?.items)))
        };
        let listing = listing.boxed().shared();
        self.fresh.insert(namespace.to_owned(), (now, listing.clone()));
        listing
    }
}

fn by_uid(mut events: Vec<Event>) -> ByUid {
    events.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut last = HashMap::new();
    let mut by_uid = ByUid::new();
    for event in events {
        let Some(uid) = event.involved_object.uid.map(Uid) else { continue };
        let refusals = by_uid.entry(uid.clone()).or_default();
        let at = event.last_timestamp.map(|time| time.0);
        if last.get(&uid).is_none_or(|last| at >= *last) {
            refusals.newest = event.message;
            last.insert(uid, at);
        }
        refusals.mark.push((event.metadata.name, event.metadata.resource_version));
    }
    by_uid
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// A client of an API server that has these events, and what it is asked for.
    fn api(events: Value) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            heard.lock().expect("no panic").push(request.uri().to_string());
            let list = json!({ "apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": events });
            async move { Ok::<_, Infallible>(Response::new(Body::from(list.to_string().into_bytes()))) }
        });
        (Client::new(service, "default"), asked)
    }

    fn event(name: &str, uid: &str, at: &str, message: &str) -> Value {
        json!({
            "metadata": { "name": name, "namespace": "shop", "resourceVersion": at },
            "involvedObject": { "uid": uid }, "reason": "FailedCreate", "message": message,
            "lastTimestamp": format!("2026-01-01T00:00:0{at}Z"),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_look_at_one_time_share_a_list_and_later_ones_make_another() {
        let (client, asked) = api(json!([event("x.1", "u", "1", "exceeded quota")]));
        let (mut listings, now) = (Listings::new(client), Instant::now());
        for _ in 0..1_000 {
            let found = listings.of("shop", now).await.expect("a list");
            assert_eq!(found[&Uid("u".into())].newest.as_deref(), Some("exceeded quota"));
        }
        drop(listings.of("shop", now + FRESH));
        assert_eq!(asked.lock().expect("no panic").len(), 1, "one that nobody waits for is not made");
        listings.of("other", now).await.expect("a list");
        listings.of("shop", now + FRESH).await.expect("a list");
        assert_eq!(asked.lock().expect("no panic").len(), 3);
    }

    #[tokio::test]
    async fn refusals_are_told_apart_by_who_wanted_the_pods_and_the_last_word_counts() {
        let events = json!([
            event("x.2", "u", "2", "the last word"),
            event("x.1", "u", "1", "an earlier one"),
            event("y.1", "v", "3", "of another"),
        ]);
        let found = Listings::new(api(events).0).of("shop", Instant::now()).await.expect("a list");
        let refusals = &found[&Uid("u".into())];
        assert_eq!(refusals.newest.as_deref(), Some("the last word"));
        let names: Vec<_> = refusals.mark.iter().filter_map(|(name, _)| name.as_deref()).collect();
        assert_eq!(names, ["x.1", "x.2"]);
        assert_eq!(found[&Uid("v".into())].newest.as_deref(), Some("of another"));
    }
}
