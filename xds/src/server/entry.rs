//! A stream's place in its group; given back when dropped.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;
use tracing::{debug, warn};

use super::requests::Request;
use super::{Event, Snapshot};
use crate::core::{Answer, RequestError, Response, StreamId, Version};

/// So many resources of a refused response are named in the log.
const NAMED: usize = 10;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) snapshot: Snapshot,
    pub(super) id: StreamId,
    /// Unique in this server.
    pub(super) stream: u64,
    pub(super) node: Arc<str>,
    /// When the responses that are unanswered were made, by their nonces: one for each type.
    sent: HashMap<u64, Instant>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.snapshot.leave(self.id, &self.node);
        let (group, node) = (self.snapshot.group().clone(), self.node.clone());
        self.snapshot.tell(|| Event::Disconnected { group, node, stream: self.stream });
    }
}

impl Entry {
    pub(super) fn new(snapshot: Snapshot, id: StreamId, stream: u64, node: Arc<str>) -> Self {
        Self { snapshot, id, stream, node, sent: HashMap::new() }
    }

    pub(super) fn request(&mut self, request: Request) -> Result<(), Status> {
        let answer = self.snapshot.request(self.id, &self.node, request).map_err(|error| match error {
            RequestError::NoType | RequestError::WrongType { .. } => {
                Status::invalid_argument(error.to_string())
            }
            RequestError::Limit(_) => Status::resource_exhausted(error.to_string()),
        })?;
        if let Some(answer) = answer {
            self.answered(answer);
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer) {
        let Answer { type_url, nonce, count, resources, refusal } = answer;
        let after = self.sent.remove(&nonce).map_or(Duration::ZERO, |sent| sent.elapsed());
        let (group, node, stream) = (self.snapshot.group().clone(), self.node.clone(), self.stream);
        match refusal {
            None => {
                debug!(node = &*node, %type_url, count, ?after, "ACK");
                self.snapshot.tell(|| Event::Acked { group, node, stream, type_url, resources, after });
            }
            Some(message) => {
                let names = named(&resources);
                // Quoted, so that a client's words stay on one line.
                let refusal = message.as_str();
                warn!(node = &*node, %type_url, count, names, refusal, ?after, "NACK");
                self.snapshot.tell(|| Event::Nacked {
                    group,
                    node,
                    stream,
                    type_url,
                    resources,
                    message,
                    after,
                });
            }
        }
    }

    pub(super) fn poll(&mut self) -> Option<Response> {
        let response = self.snapshot.poll(self.id, &self.node)?;
        self.sent.insert(response.nonce(), Instant::now());
        Some(response)
    }
}

/// The names, as a log line has them.
fn named(resources: &[(Arc<str>, Option<Version>)]) -> String {
    let mut names = resources.iter().take(NAMED).map(|(name, _)| &**name).collect::<Vec<_>>().join(", ");
    if resources.len() > NAMED {
        let _ = write!(names, ", and {} more", resources.len() - NAMED);
    }
    names
}
