//! What nodes refuse of what they are served. In: the xDS server's events; out: [`Event::Refuses`], for each node whenever that
//! changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zenvoy_shared::id::NodeId;
use zenvoy_xds::server::{Event as Heard, Server, StreamStatus};

use super::event::{Event, Resource};

/// So much of an Envoy's words is told to people, in characters.
const WORDS: usize = 300;

/// What a node refuses, each with its words.
type Refused = BTreeMap<Resource, String>;

/// Tells what nodes refuse, until `stop`.
pub(super) async fn follow(
    xds: Server,
    mut heard: Receiver<Heard>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    let mut answers = Answers::default();
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return,
            next = heard.recv() => next,
        };
        let changed = match next {
            Ok(heard) => answers.hear(heard, || xds.streams()),
            // What was missed stands in the status of the streams.
            Err(RecvError::Lagged(_)) => answers.look(&xds.streams()),
            Err(RecvError::Closed) => return,
        };
        for node in changed {
            let refused = answers.of(&node);
            if events.send(Event::Refuses(NodeId(node.to_string()), refused)).await.is_err() {
                return;
            }
        }
    }
}

/// What each node refuses.
#[derive(Debug, Default)]
struct Answers(BTreeMap<Arc<str>, Refused>);

impl Answers {
    fn of(&self, node: &str) -> Refused {
        self.0.get(node).cloned().unwrap_or_default()
    }

    /// Takes in an event; returns the node for which something has changed.
    fn hear(&mut self, heard: Heard, streams: impl FnOnce() -> Vec<StreamStatus>) -> Vec<Arc<str>> {
        match heard {
            // What was refused among others is sent again alone.
            Heard::Nacked { node, type_url, resources, message, .. } => match resources.as_slice() {
                [(name, Some(_))] => {
                    let mut refused = self.of(&node);
                    refused.insert(Resource { type_url, name: name.clone() }, words(&message));
                    self.set(node, refused)
                }
                _ => Vec::new(),
            },
            Heard::Acked { node, type_url, resources, .. } if self.0.contains_key(&node) => {
                let mut refused = self.of(&node);
                for (name, _) in resources {
                    refused.remove(&Resource { type_url: type_url.clone(), name });
                }
                self.set(node, refused)
            }
            // Another stream of the node may still refuse it.
            Heard::Disconnected { node, .. } if self.0.contains_key(&node) => {
                let refused = refused_by(&node, &streams());
                self.set(node, refused)
            }
            _ => Vec::new(),
        }
    }

    /// Takes in how all streams stand.
    fn look(&mut self, streams: &[StreamStatus]) -> Vec<Arc<str>> {
        let known = self.0.keys().cloned();
        let nodes: BTreeSet<Arc<str>> =
            streams.iter().map(|stream| stream.node.clone()).chain(known).collect();
        let mut refused: BTreeMap<Arc<str>, Refused> = BTreeMap::new();
        for stream in streams {
            refused.entry(stream.node.clone()).or_default().extend(refused_on(stream));
        }
        let set = |node: Arc<str>| {
            let of_node = refused.remove(&node).unwrap_or_default();
            self.set(node, of_node)
        };
        nodes.into_iter().flat_map(set).collect()
    }

    fn set(&mut self, node: Arc<str>, refused: Refused) -> Vec<Arc<str>> {
        if self.0.get(&node).map_or(refused.is_empty(), |known| *known == refused) {
            return Vec::new();
        }
        if refused.is_empty() {
            self.0.remove(&node);
        } else {
            self.0.insert(node.clone(), refused);
        }
        vec![node]
    }
}

fn refused_by(node: &str, streams: &[StreamStatus]) -> Refused {
    streams.iter().filter(|stream| &*stream.node == node).flat_map(refused_on).collect()
}

fn refused_on(stream: &StreamStatus) -> impl Iterator<Item = (Resource, String)> + '_ {
    stream.types.iter().flat_map(|of_type| {
        let refused = of_type.rejected.iter().filter(|rejected| rejected.version.is_some());
        refused.map(|rejected| {
            let resource = Resource { type_url: of_type.type_url.clone(), name: rejected.name.clone() };
            (resource, words(&rejected.message))
        })
    })
}

/// As one line that says what is wrong: Envoy's words may end in line breaks, and be long.
fn words(message: &str) -> String {
    let line: String = message.replace(char::is_control, " ").trim().chars().take(WORDS).collect();
    line.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zenvoy_xds::core::Version;
    use zenvoy_xds::server::Group;

    use super::*;
    use crate::translate::type_url::LISTENER;

    fn answered(names: &[&str], refusal: Option<&str>) -> Heard {
        let (group, node, stream, after) = (Group::default(), "a".into(), 1, Duration::ZERO);
        let type_url = LISTENER.into();
        let resources = names.iter().map(|name| ((*name).into(), Some(Version("1".into())))).collect();
        match refusal {
            Some(words) => {
                let message = words.to_owned();
                Heard::Nacked { group, node, stream, type_url, resources, message, after }
            }
            None => Heard::Acked { group, node, stream, type_url, resources, after },
        }
    }

    fn refused(answers: &Answers) -> Vec<(String, String)> {
        answers.of("a").into_iter().map(|(resource, words)| (resource.name.to_string(), words)).collect()
    }

    #[test]
    fn what_is_refused_alone_is_refused_until_it_is_taken() {
        let mut answers = Answers::default();
        let mut hear = |heard| !answers.hear(heard, Vec::new).is_empty();
        assert!(!hear(answered(&["x", "y"], Some("x: no"))), "one of them, it is not known which");
        assert!(!hear(answered(&["y"], None)), "nothing is refused yet");
        assert!(hear(answered(&["x"], Some("x: no\n"))));
        assert!(!hear(answered(&["x"], Some("x: no\n"))), "again");
        assert_eq!(refused(&answers), [("x".to_owned(), "x: no".to_owned())]);
        assert!(answers.hear(answered(&["y"], None), Vec::new).is_empty());
        assert_eq!(answers.hear(answered(&["x"], None), Vec::new).len(), 1);
        assert!(answers.0.is_empty());
    }

    #[test]
    fn what_no_stream_refuses_any_more_is_not_refused() {
        let mut answers = Answers::default();
        answers.hear(answered(&["x"], Some("no")), Vec::new);
        let over = Heard::Disconnected { group: Group::default(), node: "a".into(), stream: 1 };
        assert_eq!(answers.hear(over, Vec::new).len(), 1);
        answers.hear(answered(&["x"], Some("no")), Vec::new);
        assert_eq!(answers.look(&[]).len(), 1, "events were missed");
        assert!(answers.0.is_empty());
    }
}
