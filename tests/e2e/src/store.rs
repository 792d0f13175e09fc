//! zenvoy's records as they lie in etcd, read past zenvoy.

use std::collections::BTreeMap;

use etcd_client::{Client, EventType, GetOptions, WatchOptions, WatchStream};
use serde_json::Value;

use crate::cluster::NAMESPACE;
use crate::etcd::Etcd;
use crate::manifest::Backend;
use crate::until;

/// What all keys begin with.
const PREFIX: &str = "/zenvoy/v1/default/";
/// A key of the test's own.
const MARK: &str = "/mark";

/// A change of a record, as etcd remembers it.
#[derive(Debug, Clone)]
pub struct Change {
    /// When: all changes of one transaction have one revision.
    pub revision: i64,
    /// Of what: the key after the common prefix.
    pub key: String,
    /// To what; `None`: it was deleted.
    pub record: Option<Value>,
}

/// The records of the one installation in an etcd.
pub struct Records(Client);

impl Records {
    /// Those in `etcd`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn of(etcd: &Etcd) -> Self {
        Self(Client::connect([etcd.endpoint()], None).await.expect("connect to etcd"))
    }

    /// All records whose key begins with `room`, by the rest of their key.
    ///
    /// # Panics
    /// When etcd does not answer, or a record is not JSON.
    pub async fn all(&mut self, room: &str) -> BTreeMap<String, Value> {
        let prefix = format!("{PREFIX}{room}");
        let found =
            self.0.get(prefix.clone(), Some(GetOptions::new().with_prefix())).await.expect("read etcd");
        let records = found.kvs().iter().map(|pair| {
            let key = pair.key_str().expect("keys are text").trim_start_matches(&prefix).to_owned();
            (key, serde_json::from_slice(pair.value()).expect("records are JSON"))
        });
        records.collect()
    }

    /// How far etcd has come.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn revision(&mut self) -> i64 {
        let found = self.0.get(PREFIX, None).await.expect("read etcd");
        found.header().expect("every answer has one").revision()
    }

    /// Every change since the beginning, in order.
    ///
    /// # Panics
    /// When etcd does not answer, or has forgotten a part.
    pub async fn history(&mut self) -> Vec<Change> {
        let now = self.0.get(PREFIX, None).await.expect("read etcd");
        let now = now.header().map_or(0, etcd_client::ResponseHeader::revision);
        // The mark's own change ends the history.
        self.0.put(MARK, "", None).await.expect("write to etcd");
        let options = WatchOptions::new().with_all_keys().with_start_revision(1);
        let mut stream = self.0.watch("", Some(options)).await.expect("watch etcd");
        let mut changes = Vec::new();
        until::done("etcd's history", async {
            loop {
                let answer = stream.message().await.expect("watch etcd").expect("the watch goes on");
                assert!(!answer.canceled(), "etcd has forgotten a part of its history");
                for event in answer.events() {
                    let pair = event.kv().expect("events are of keys");
                    let key = pair.key_str().expect("keys are text");
                    if key == MARK && pair.mod_revision() > now {
                        return;
                    }
                    changes.extend(key.strip_prefix(PREFIX).map(|key| {
                        Change {
                            revision: pair.mod_revision(),
                            key: key.to_owned(),
                            record: (event.event_type() == EventType::Put)
                                .then(|| serde_json::from_slice(pair.value()).expect("records are JSON")),
                        }
                    }));
                }
            }
        })
        .await;
        changes
    }

    /// The changes of a backend's drain record from now on.
    ///
    /// # Panics
    /// When etcd does not answer.
    pub async fn follow_drain(&mut self, backend: &Backend) -> Follow {
        let key = format!("{PREFIX}drains/{NAMESPACE}/{}/{}", backend.kind(), backend.name());
        let stream = self.0.watch(key.clone(), Some(WatchOptions::new())).await.expect("watch etcd");
        Follow { key, stream }
    }
}

/// A record as it changes.
pub struct Follow {
    key: String,
    stream: WatchStream,
}

impl Follow {
    /// Waits until the record's `state` is this.
    ///
    /// # Panics
    /// When it does not become so within a minute.
    pub async fn until_state(&mut self, state: &str) -> Value {
        let what = format!("{} is {state}", self.key);
        until::done(&what, async {
            loop {
                let answer = self.stream.message().await.expect("watch etcd").expect("the watch goes on");
                let records = answer.events().iter().filter_map(etcd_client::Event::kv);
                let mut records =
                    records.map(|pair| serde_json::from_slice(pair.value()).unwrap_or(Value::Null));
                if let Some(found) = records.find(|record: &Value| record["state"] == state) {
                    return found;
                }
            }
        })
        .await
    }
}
