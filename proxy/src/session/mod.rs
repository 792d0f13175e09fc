//! The node's tie to one controller replica: the session, the table's subscription and Envoy's streams share one
//! connection and one fate (rule N1). In: news of the node; out: verdicts into the table, requests for proof, and the
//! connection for Envoy's streams.

mod elsewhere;
mod link;
mod secured;
mod status;
mod talk;
mod uplink;
mod watch_table;

pub use link::{LinkError, Place};
pub use secured::Refused;
pub use status::{SessionState, SessionStatus};
pub use uplink::Uplink;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Uri;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::{info, warn};
use zenvoy_shared::proto::node_message::Message as FromNode;
use zenvoy_shared::proto::sessions_client::SessionsClient;
use zenvoy_shared::proto::{ControllerMessage, Hello, NodeMessage, PodReference, Welcome};
use zenvoy_shared::tls::Live;
use zenvoy_xds::client::{Backoff, Decoded, run_stream};
use zenvoy_xds::core::ClientState;

use self::link::Link;
use self::watch_table::Subscription;
use crate::node::{Moment, Node};
use crate::table::{Standing, Table};

/// A controller that has taken a session says so within this: it registers the node first (rule N3).
const WELCOME: Duration = Duration::from_secs(10);

/// A controller that lives takes a session within this.
const OPENED: Duration = Duration::from_secs(5);

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A session that lived this long was a good one: the next attempt comes soon.
const GOOD: Duration = Duration::from_secs(5);

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no connection.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The controller does not take this node's certificate.
    #[error("the controller refuses this node's certificate: {0}")]
    Refused(Refused),
    /// The controller refused the session, or it broke.
    #[error("the session broke: {}: {}", .0.code(), .0.message())]
    Broken(#[from] tonic::Status),
    /// The controller did not welcome the node, or did not take what it said.
    #[error("the controller did not {0} in time")]
    Late(&'static str),
    /// The controller ended the session.
    #[error("the controller ended the session")]
    Ended,
    /// The subscription to the table broke.
    #[error("the table's stream broke: {0}")]
    Table(String),
    /// One of Envoy's streams broke, and all share one fate.
    #[error("a stream of Envoy's broke: {0}")]
    Envoy(String),
    /// The controller cannot register the node, and another one can (rule N2).
    #[error("the controller's store does not answer, and the controller at {} has registered the node", .0.address)]
    Elsewhere(Place),
    /// The node has a new epoch (rule N5).
    #[error("another Envoy has come, and a new epoch begins")]
    Epoch,
}

/// Keeps a session open.
#[derive(Debug)]
pub struct Session {
    node: Arc<Node>,
    table: Arc<Table>,
    controllers: Vec<Uri>,
    tls: Option<Live>,
    pod: Option<PodReference>,
    uplink: watch::Sender<Option<Uplink>>,
    status: watch::Sender<SessionStatus>,
}

impl Session {
    /// With any of `controllers`, in turn from a random one on; never empty.
    pub fn new(node: Arc<Node>, table: Arc<Table>, controllers: Vec<Uri>, tls: Option<Live>) -> Self {
        let (uplink, status) = (watch::Sender::new(None), watch::Sender::new(SessionStatus::default()));
        Self { node, table, controllers, tls, pod: None, uplink, status }
    }

    /// Of a node that lives in this Pod: its deletion is proof that the node is gone (rule N4).
    #[must_use]
    pub fn in_pod(self, pod: Option<PodReference>) -> Self {
        Self { pod, ..self }
    }

    /// The connection while there is one.
    pub fn uplink(&self) -> watch::Receiver<Option<Uplink>> {
        self.uplink.subscribe()
    }

    /// How it goes.
    pub fn status(&self) -> watch::Receiver<SessionStatus> {
        self.status.subscribe()
    }

    /// Opens session after session until `stop`; the last one ends in good order.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut state = watch_table::state(self.node.id());
        let mut turn = rand::random_range(0..self.controllers.len().max(1));
        let mut registered_at = None;
        while !stop.is_cancelled() {
            let Some(controller) = self.controllers.get(turn % self.controllers.len().max(1)) else { return };
            let place: Option<Place> = registered_at.take();
            let controller = place.as_ref().map_or(controller, |place| &place.controller);
            turn = turn.wrapping_add(1);
            let began = Instant::now();
            let over = self.one(controller, place.as_ref(), &mut state, &stop).await;
            self.uplink.send_replace(None);
            let Err(error) = over else { return };
            if began.elapsed() >= GOOD {
                backoff.reset();
            }
            // A new epoch is no failure: the controller is asked for nothing twice.
            let pause = match &error {
                SessionError::Epoch => Duration::ZERO,
                SessionError::Elsewhere(place) => {
                    registered_at = Some(place.clone());
                    Duration::ZERO
                }
                _ => backoff.pause(rand::random()),
            };
            warn!(%controller, %error, pause_ms = pause.as_millis(), "no session: held connections wait on");
            self.status.send_modify(|status| status.lost(&error));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One session from connecting, to that place if one is given, to its end; `Ok` when it ended because of `stop`.
    async fn one(
        &self,
        controller: &Uri,
        place: Option<&Place>,
        state: &mut ClientState,
        stop: &CancellationToken,
    ) -> Result<(), SessionError> {
        let mut epoch = self.node.epoch();
        let own_epoch = epoch.borrow_and_update().clone();
        let link = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            link = async {
                match place {
                    Some(place) => link::connect_to(place, self.tls.as_ref()).await,
                    None => link::connect(controller, self.tls.as_ref()).await,
                }
            } => link?,
        };
        let over = async {
            let (to, from) = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                opened = open(&link, self.greeting(self.node.hello(Moment::now()))) => opened?,
            };
            let uplink = Uplink::new(link.channel.clone(), own_epoch);
            let _all_end_with_this = uplink.guard();
            let (welcome, welcomed) = watch::channel(None);
            tokio::select! {
                over = talk::talk(&self.node, to, from, welcome, stop) => over,
                over = self.served(&uplink, welcomed, link.address, state) => over,
                why = uplink.broken() => Err(SessionError::Envoy(why)),
                _ = epoch.changed() => Err(SessionError::Epoch),
            }
        };
        // Whatever broke first, it broke because of that.
        over.await.map_err(|error| link.refused().map_or(error, SessionError::Refused))
    }

    fn greeting(&self, hello: Hello) -> Hello {
        Hello { pod: self.pod.clone(), ..hello }
    }

    /// From the controller's welcome on, the table is kept and Envoy's streams may come. Demand does not wait for that.
    async fn served(
        &self,
        uplink: &Uplink,
        mut welcomed: watch::Receiver<Option<Welcome>>,
        address: SocketAddr,
        state: &mut ClientState,
    ) -> Result<(), SessionError> {
        let Welcome { controller: id, relayed } =
            match timeout(WELCOME, welcomed.wait_for(Option::is_some)).await {
                Ok(Ok(welcome)) => welcome.clone().unwrap_or_default(),
                Ok(Err(_)) => return Err(SessionError::Ended),
                Err(_) => return Err(SessionError::Late("welcome the node")),
            };
        if relayed {
            // Meanwhile it may wake what is held here, but lets nothing through.
            if let Some(place) = self.registered_elsewhere(&id, address).await {
                return Err(SessionError::Elsewhere(place));
            }
            warn!(controller = id, %address, "session open; no controller's store answers, and this proxy relays");
        } else {
            info!(controller = id, %address, "session open");
        }
        self.table.begin(if relayed { Standing::Unregistered } else { Standing::Registered });
        self.status.send_modify(|status| status.opened(id.clone(), address));
        self.uplink.send_replace(Some(uplink.clone()));
        let received = || self.status.send_modify(|status| status.table_received = true);
        let mut subscription = Decoded(Subscription::new(&self.table, received));
        tokio::select! {
            over = run_stream(uplink.channel.clone(), state, &mut subscription) => match over {
                Ok(()) => Err(SessionError::Table("the controller ended it".into())),
                Err(error) => Err(SessionError::Table(error.to_string())),
            },
            place = self.until_registered_elsewhere(&id, address), if relayed => Err(SessionError::Elsewhere(place)),
        }
    }
}

/// Says Hello.
async fn open(link: &Link, hello: Hello) -> Result<Opened, SessionError> {
    let (to, messages) = mpsc::channel(16);
    // There is room: it is the first.
    let _ = to.try_send(NodeMessage { message: Some(FromNode::Hello(hello)) });
    let mut client = SessionsClient::new(link.channel.clone()).max_decoding_message_size(64 << 20);
    let opening = timeout(OPENED, client.session(ReceiverStream::new(messages))).await;
    let from = opening.map_err(|_| SessionError::Late("take the session"))??.into_inner();
    Ok((to, from))
}

/// A session whose Hello is on its way.
type Opened = (mpsc::Sender<NodeMessage>, Streaming<ControllerMessage>);
