//! Names and records of the world, as the production code has them.

use zenvoy_controller::model::{DrainRecord, DrainState, PinnedWorkload, Revision, WakeRecord, WakeState};
use zenvoy_shared::id::{DrainId, Episode, Uid, UpstreamId, WorkloadId};

use super::{Drain, Pod, Rules};

pub(super) fn at(revision: u8) -> Revision {
    Revision(revision.into())
}

/// Each write of this world is one of the spec. Without rules D6 and D7 nobody sees it.
pub(super) fn generation(version: u8, rules: Rules) -> i64 {
    if rules.pinned { version.into() } else { 1 }
}

pub(super) fn cart() -> UpstreamId {
    UpstreamId::new("shop", "cart", 80)
}

pub(super) fn workload() -> WorkloadId {
    WorkloadId::new("shop", "Deployment.apps", "cart")
}

pub(super) fn uid() -> Uid {
    Uid("uid-1".into())
}

pub(super) fn pod_uid(pod: Pod) -> Uid {
    Uid(format!("pod-{pod}"))
}

pub(super) fn drain_id(number: u8) -> DrainId {
    DrainId(format!("drain-{number}"))
}

pub(super) fn wake_record(state: WakeState) -> WakeRecord {
    WakeRecord {
        uid: uid(),
        episode: Episode("episode".into()),
        upstream: cart(),
        traceparent: String::new(),
        state,
        opened_unix_ms: 0,
        attempts: 0,
        last_error: None,
        endpoints: Vec::new(),
        ready: None,
        unknown: serde_json::Map::new(),
    }
}

pub(super) fn drain_record(drain: &Drain, number: u8, rules: Rules) -> DrainRecord {
    let uids = |pods: &[Pod]| pods.iter().copied().map(pod_uid).collect();
    let state = match drain {
        Drain::Offered => DrainState::Offered,
        Drain::Cancelled => DrainState::Cancelled { reason: "a connection arrived".into() },
        Drain::Committed { pinned, condemned } => DrainState::Committed {
            pinned: PinnedWorkload {
                resource_version: pinned.to_string(),
                generation: generation(*pinned, rules),
                unknown: serde_json::Map::new(),
            },
            condemned: uids(condemned),
        },
        Drain::Done { condemned } => DrainState::Done { condemned: uids(condemned) },
    };
    DrainRecord {
        uid: uid(),
        id: drain_id(number),
        upstreams: vec![cart()],
        state,
        offered_unix_ms: 0,
        replicas: 1,
        unknown: serde_json::Map::new(),
    }
}
