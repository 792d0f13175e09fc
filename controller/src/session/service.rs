//! The gRPC service that proxies keep a session on. In: their messages; out: events of the replica, and messages to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};
use zenvoy_shared::id::{DrainId, NodeEpoch, NodeId, Uid, UpstreamId};
use zenvoy_shared::proto::sessions_server::{Sessions, SessionsServer};
use zenvoy_shared::proto::upstream_activity::State;
use zenvoy_shared::proto::{self, ControllerMessage, NodeMessage, controller_message, node_message};

use super::{Activity, Demand, Moment, Refusal};
use crate::model::PodReference;
use crate::port::Access;
use crate::replica::{Event, Routes, Said, SessionId, ToNode};

/// Messages to a node that wait to be taken; a node that lets them pile up has its session ended.
const OUTBOX: usize = 256;
/// A demand of ten thousand upstreams is about 1 MiB.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// A node says Hello within this.
const HELLO: Duration = Duration::from_secs(10);
/// A Kubernetes Node's or Pod's name is no longer.
const MAX_NODE_NAME: usize = 253;

type Outbox = mpsc::Sender<Result<ControllerMessage, Status>>;

/// The sessions that stand at this replica. Clones share them.
#[derive(Clone)]
pub struct SessionService {
    inner: Arc<Inner>,
}

struct Inner {
    controller: String,
    access: Access,
    events: mpsc::Sender<Event>,
    now: Box<dyn Fn() -> Moment + Send + Sync>,
    opened: AtomicU64,
    refused: Refused,
    open: Mutex<HashMap<(NodeId, SessionId), Open>>,
}

/// Demands that were beyond a quota.
#[derive(Debug, Default)]
struct Refused {
    too_much: AtomicU64,
    too_fast: AtomicU64,
}

struct Open {
    outbox: Outbox,
    hang: CancellationToken,
}

impl SessionService {
    /// Passes what nodes say on to `events`. `controller` names this replica, `access` says who may be which node, and `now`
    /// is its monotonic clock.
    pub fn new(
        controller: String,
        access: Access,
        events: mpsc::Sender<Event>,
        now: impl Fn() -> Moment + Send + Sync + 'static,
    ) -> Self {
        let inner = Inner {
            controller,
            access,
            events,
            now: Box::new(now),
            opened: AtomicU64::new(0),
            refused: Refused::default(),
            open: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The gRPC service.
    pub fn service(&self) -> SessionsServer<Self> {
        SessionsServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Tells a node something, if that session still stands.
    pub fn tell(&self, node: &NodeId, session: SessionId, message: ToNode) {
        let message = ControllerMessage { message: Some(self.inner.wire(message)) };
        let open = self.inner.open();
        let Some(open) = open.get(&(node.clone(), session)) else { return };
        if open.outbox.try_send(Ok(message)).is_err() {
            warn!(%node, "the node does not take its messages; its session ends");
            open.hang.cancel();
        }
    }

    /// Ends a session.
    pub fn hang(&self, node: &NodeId, session: SessionId) {
        if let Some(open) = self.inner.open().get(&(node.clone(), session)) {
            open.hang.cancel();
        }
    }

    /// Demands refused since the start, each with the reason.
    pub fn refused(&self) -> [(&'static str, u64); 2] {
        let Refused { too_much, too_fast } = &self.inner.refused;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [(Refusal::TOO_MUCH, count(too_much)), (Refusal::TOO_FAST, count(too_fast))]
    }

    /// How many sessions stand.
    pub fn count(&self) -> usize {
        self.inner.open().len()
    }
}

impl Inner {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<(NodeId, SessionId), Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wire(&self, message: ToNode) -> controller_message::Message {
        use controller_message::Message;
        match message {
            ToNode::Welcome(routes) => Message::Welcome(proto::Welcome {
                controller: self.controller.clone(),
                relayed: routes == Routes::Activator,
            }),
            ToNode::ProveQuiet { drain, upstreams } => Message::ProveQuiet(proto::ProveQuiet {
                drain_id: drain.0,
                upstreams: upstreams.iter().map(ToString::to_string).collect(),
            }),
            ToNode::WithdrawProof { drain } => {
                Message::WithdrawProof(proto::WithdrawProof { drain_id: drain.0 })
            }
            ToNode::Refuse(refused) => {
                self.refused.count(refused.values());
                Message::DemandRefused(demand_refused(refused))
            }
        }
    }

    fn said(&self, message: NodeMessage) -> Option<Said> {
        Some(match message.message? {
            node_message::Message::Hello(_) => return None,
            node_message::Message::Demand(said) => Said::Demand(demand(said)),
            node_message::Message::Activity(said) => Said::Activity(activity(said, (self.now)())),
            node_message::Message::Quiet(quiet) => {
                Said::Quiet { drain: DrainId(quiet.drain_id), epoch: NodeEpoch(quiet.epoch) }
            }
            node_message::Message::WakeTiming(timing) => Said::FirstByte {
                upstream: timing.upstream.parse().ok()?,
                held_unix_nanos: timing.held_unix_nanos,
                first_byte_unix_nanos: timing.first_byte_unix_nanos,
            },
            node_message::Message::Goodbye(_) => Said::Goodbye,
        })
    }

    /// Reads a session until it ends.
    async fn listen(
        &self,
        node: &NodeId,
        session: SessionId,
        messages: &mut (impl Stream<Item = Result<NodeMessage, Status>> + Unpin),
    ) {
        loop {
            match messages.next().await {
                Some(Ok(message)) => {
                    if let Some(said) = self.said(message)
                        && self.events.send(Event::Said(node.clone(), session, said)).await.is_err()
                    {
                        return;
                    }
                }
                Some(Err(status)) => {
                    info!(%node, %status, "the session broke");
                    return;
                }
                None => {
                    info!(%node, "the session ended");
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl Sessions for SessionService {
    type SessionStream = ReceiverStream<Result<ControllerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<NodeMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let certificates = request.peer_certs();
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(HELLO, messages.next()).await;
        let first =
            first.map_err(|_| Status::deadline_exceeded("a session begins with Hello, and none came"))?;
        let first = first.transpose()?.and_then(|message| message.message);
        let Some(node_message::Message::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the first message of a session must be Hello"));
        };
        if hello.unregistered_at == self.inner.controller {
            return Err(Status::already_exists(
                "the node asks others to register it, and has a session with this one",
            ));
        }
        let (node, opened) = self.inner.opened(hello)?;
        self.inner.access.check(&node, certificates.as_ref().map(|chain| chain.as_slice()))?;
        let session = SessionId(self.inner.opened.fetch_add(1, Ordering::Relaxed));
        let (outbox, receiver) = mpsc::channel(OUTBOX);
        let hang = CancellationToken::new();
        let open = Open { outbox: outbox.clone(), hang: hang.clone() };
        self.inner.open().insert((node.clone(), session), open);
        info!(%node, "a session opened");
        let inner = self.inner.clone();
        // Ends with the session, or when the replica no longer takes events.
        tokio::spawn(async move {
            if inner.events.send(Event::Said(node.clone(), session, opened)).await.is_ok() {
                tokio::select! {
                    () = inner.listen(&node, session, &mut messages) => {}
                    () = hang.cancelled() => {
                        let _ = outbox.try_send(Err(Status::aborted("the session was replaced; open another")));
                    }
                    () = outbox.closed() => {}
                }
            }
            inner.open().remove(&(node.clone(), session));
            let _ = inner.events.send(Event::Said(node, session, Said::Closed)).await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Inner {
    fn opened(&self, hello: proto::Hello) -> Result<(NodeId, Said), Status> {
        let fits = |text: &str| {
            !text.is_empty()
                && text.len() <= MAX_NODE_NAME
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        };
        if !fits(&hello.node) || !fits(&hello.epoch) {
            return Err(Status::invalid_argument(format!(
                "{:?} is no node name: letters, digits, '-', '.' and '_', at most {MAX_NODE_NAME} of them",
                hello.node
            )));
        }
        let opened = Said::Opened {
            epoch: NodeEpoch(hello.epoch),
            demand: demand(hello.demand.unwrap_or_default()),
            activity: activity(hello.activity.unwrap_or_default(), (self.now)()),
            pod: hello.pod.map(pod).transpose()?,
        };
        Ok((NodeId(hello.node), opened))
    }
}

impl Refused {
    fn count<'a>(&self, refused: impl Iterator<Item = &'a Refusal>) {
        for refusal in refused {
            let counter = match refusal {
                Refusal::TooMuch { .. } => &self.too_much,
                Refusal::TooFast { .. } => &self.too_fast,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn demand_refused(refused: BTreeMap<UpstreamId, Refusal>) -> proto::DemandRefused {
    let each = refused.into_iter().map(|(upstream, refusal)| proto::RefusedDemand {
        upstream: upstream.to_string(),
        reason: refusal.reason().into(),
        message: refusal.to_string(),
        retry_after_ms: u64::try_from(refusal.retry_after().as_millis()).unwrap_or(u64::MAX),
    });
    proto::DemandRefused { refused: each.collect() }
}

/// Names go into paths of the API server's: nothing but names is taken.
fn pod(said: proto::PodReference) -> Result<PodReference, Status> {
    let fits = |text: &str| {
        !text.is_empty()
            && text.len() <= MAX_NODE_NAME
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
    };
    if [&said.namespace, &said.name, &said.uid].into_iter().all(|text| fits(text)) {
        return Ok(PodReference {
            namespace: said.namespace,
            name: said.name,
            uid: Uid(said.uid),
            unknown: serde_json::Map::new(),
        });
    }
    Err(Status::invalid_argument(format!(
        "namespace {:?}, name {:?} and UID {:?} are no Pod's: take them from the downward API",
        said.namespace, said.name, said.uid
    )))
}

/// What is malformed names no upstream of ours: nothing follows from it.
fn demand(said: proto::Demand) -> BTreeMap<UpstreamId, Demand> {
    let held = said.held.into_iter().filter_map(|held| {
        let upstream = held.upstream.parse().ok()?;
        Some((upstream, Demand { traceparent: held.traceparent, since_unix_nanos: held.since_unix_nanos }))
    });
    held.collect()
}

fn activity(said: proto::Activity, now: Moment) -> Vec<(UpstreamId, Activity)> {
    let each = said.upstreams.into_iter().filter_map(|upstream| {
        let activity = match upstream.state? {
            State::Active(true) => Activity::Active,
            State::IdleForMs(idle) => Activity::idle_for(Duration::from_millis(idle), now),
            State::Active(false) | State::Unknown(_) => Activity::Unknown,
        };
        Some((upstream.upstream.parse().ok()?, activity))
    });
    each.collect()
}
