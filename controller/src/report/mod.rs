//! What zenvoy says to people about upstreams. In: what the leader knows; out: status and events, in whatever form the
//! source's users look at (an `Upstream`'s status and Kubernetes Events; the live view of `zenvoy up`).

use std::time::Duration;

use zenvoy_shared::id::{ActivatorAddress, Episode, UpstreamId, WorkloadId};

use crate::model::{Condition, Phase, Problem};

/// Takes what the leader has to say. Calls return at once; what is slow to write is replaced by what is newer.
pub trait Reporter: Send + Sync + 'static {
    /// Level-triggered: this is how the upstream stands now.
    fn status(&self, upstream: &UpstreamId, status: Status);

    /// The upstream is gone, or no longer opted in.
    fn gone(&self, upstream: &UpstreamId);

    /// Something happened once.
    fn happened(&self, occasion: Occasion);

    /// Whether this replica leads: others say nothing.
    fn leading(&self, leads: bool);
}

/// How an upstream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where its workload is in its life.
    pub phase: Phase,
    /// What is behind it, when that is resolved.
    pub workload: Option<WorkloadId>,
    /// What stands in for it while it is cold, once allocated.
    pub address: Option<ActivatorAddress>,
    /// What is wrong, or that nothing is.
    pub conditions: Vec<Condition>,
    /// When the last wake was opened, milliseconds since the Unix epoch.
    pub last_wake_unix_ms: Option<u64>,
    /// Since when no node saw activity, milliseconds since the Unix epoch; `None` while active or unknown.
    pub idle_since_unix_ms: Option<u64>,
}

/// Something that happened to a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    /// To which.
    pub workload: WorkloadId,
    /// By or for which upstream.
    pub upstream: UpstreamId,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A wake was opened: somebody waits.
    Waking,
    /// The first held connection got its first byte.
    Woken(WakeTimeline),
    /// A wake does not go on; held clients are told.
    WakeFailed(Problem),
    /// What the user configured is not there to be had: a host or port of another upstream, an activator address, a port that
    /// an Envoy cannot listen on.
    Unserved(Problem),
    /// It is scaled to zero; what still ends of it gets no traffic.
    Slept,
    /// A drain was withdrawn before its commit.
    DrainCancelled {
        /// Why.
        reason: String,
    },
}

/// When a wake's phases ended, each since the first connection was held. A phase that was not seen is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WakeTimeline {
    /// Which wake.
    pub episode: Option<Episode>,
    /// The intent lay in the store.
    pub intent: Option<Duration>,
    /// The scale write was answered.
    pub scaled: Option<Duration>,
    /// The first pod began to run.
    pub started: Option<Duration>,
    /// The first ready endpoint was seen.
    pub ready: Option<Duration>,
    /// Envoy had applied the switch to the pods.
    pub switched: Option<Duration>,
    /// The held connection's first byte of an answer.
    pub first_byte: Option<Duration>,
}
