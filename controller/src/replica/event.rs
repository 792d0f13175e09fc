//! What the core of a replica takes in and gives out.

use std::collections::BTreeMap;
use std::sync::Arc;

use zenvoy_shared::id::{DrainId, Episode, NodeEpoch, NodeId, UpstreamId, WorkloadId};
use zenvoy_xds::core::{Change, TypeUrl};

use crate::execute::{Job, JobDone};
use crate::model::{Fact, PodReference, Term};
use crate::report::{Occasion, Status};
use crate::session::{Activity, Demand, Moment, Refusal};
use crate::store::{LeaseId, WatchEvent};

/// The time at which something is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// On this replica's monotonic clock: everything is decided by it.
    pub moment: Moment,
    /// Nanoseconds since the Unix epoch: only for records that people read, and for deadlines that replicas share.
    pub unix_nanos: u64,
}

impl Now {
    /// Milliseconds since the Unix epoch.
    pub fn unix_ms(self) -> u64 {
        self.unix_nanos / 1_000_000
    }
}

/// One session of a node with this replica; a node that comes again has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What happens to a replica.
#[derive(Debug)]
pub enum Event {
    /// A source said something.
    Fact(Fact),
    /// The store's watch brought a step.
    Store(WatchEvent),
    /// A node said something on its session.
    Said(NodeId, SessionId, Said),
    /// Envoy and the proxy of a node have applied what was published for a switch.
    Applied(NodeId, Switch),
    /// Everything that a node refuses now of what it is served, each with its words.
    Refuses(NodeId, BTreeMap<Resource, String>),
    /// A job ended.
    Done(JobDone),
    /// This replica leads, or no longer does.
    Leads(Option<Term>),
    /// The lease on which this replica's own records hang.
    Lease(Option<LeaseId>),
    /// The moment asked for by `Core::next_due` is here.
    Tick,
}

/// One thing that nodes are served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: Arc<str>,
}

/// What a node says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The session's first message: everything the node knows.
    Opened {
        /// Which start of the node.
        epoch: NodeEpoch,
        /// What it holds connections for.
        demand: BTreeMap<UpstreamId, Demand>,
        /// What it knows of activity.
        activity: Vec<(UpstreamId, Activity)>,
        /// The Pod that it lives in, if it does.
        pod: Option<PodReference>,
    },
    /// The whole set of demanded upstreams.
    Demand(BTreeMap<UpstreamId, Demand>),
    /// Changes of activity.
    Activity(Vec<(UpstreamId, Activity)>),
    /// The node proved quiet for a drain.
    Quiet {
        /// Which.
        drain: DrainId,
        /// Which start of the node proved it.
        epoch: NodeEpoch,
    },
    /// A held connection got its first byte.
    FirstByte {
        /// Of which upstream.
        upstream: UpstreamId,
        /// When it was held, nanoseconds since the Unix epoch on the node's clock.
        held_unix_nanos: u64,
        /// When the byte came.
        first_byte_unix_nanos: u64,
    },
    /// The node is gone for good.
    Goodbye,
    /// The session broke.
    Closed,
}

/// Traffic that moves, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Switch {
    /// Of which workload.
    pub workload: WorkloadId,
    /// All upstreams that move.
    pub upstreams: Vec<UpstreamId>,
    /// Why.
    pub cause: Cause,
}

/// Why traffic moves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// To the activator.
    Drain(DrainId),
    /// To the pods.
    Wake(Episode),
}

/// What a node is told on its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToNode {
    /// xDS may flow, with these routes.
    Welcome(Routes),
    /// Prove that nothing runs.
    ProveQuiet {
        /// For this drain.
        drain: DrainId,
        /// On these.
        upstreams: Vec<UpstreamId>,
    },
    /// The proof is no longer asked for.
    WithdrawProof {
        /// Of this drain.
        drain: DrainId,
    },
    /// These of its demands are beyond its quota and wake nothing.
    Refuse(BTreeMap<UpstreamId, Refusal>),
}

/// What a node's Envoy is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routes {
    /// To the pods, where they are ready: the node is registered.
    Direct,
    /// To the activator only: without the store the node cannot be registered, and the proxy beside it relays (rule N2).
    Activator,
}

/// What a replica does to the world.
#[derive(Debug)]
pub enum Effect {
    /// Serve these to nodes with direct routes.
    Publish(Vec<Change>),
    /// Serve these to nodes with activator routes only.
    Relay(Vec<Change>),
    /// There are no such nodes any more: nothing is kept for them.
    EndRelay,
    /// Tell a node, if that session still stands. `Welcome` also opens xDS for it.
    Tell(NodeId, SessionId, ToNode),
    /// The session breaks: what the node says from now on is not listened to.
    Hang(NodeId, SessionId),
    /// Say [`Event::Applied`] once the node has applied what is published of the switch's upstreams.
    AwaitApplied(NodeId, Switch),
    /// Serve this again to those nodes that have refused it as it is.
    OfferAgain(Resource),
    /// Carry out a job and say [`Event::Done`].
    Start(Job),
    /// This is how an upstream stands.
    Status(UpstreamId, Status),
    /// The upstream is gone.
    Gone(UpstreamId),
    /// Something happened once.
    Happened(Occasion),
    /// Whether this replica leads now.
    Leading(bool),
}
