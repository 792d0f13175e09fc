//! What a proxy is told of an upstream.

use std::time::Duration;

use zenvoy_shared::id::{ActivatorAddress, Protocol, UpstreamId, WorkloadId};
use zenvoy_shared::proto::held_upstream::Verdict;
use zenvoy_shared::proto::{Fail, Forward, HeldUpstream, Hold, Limits, Protocol as ProtoProtocol};

use crate::model::{Route, UpstreamSpec};

/// The resource named like `id`. `workload` is `None` while the target is unresolved; `lacks` is what keeps it from being ready,
/// if that is known.
pub fn held(
    id: &UpstreamId,
    workload: Option<&WorkloadId>,
    spec: &UpstreamSpec,
    route: &Route,
    activator: ActivatorAddress,
    retry_after: Duration,
    lacks: Option<&str>,
) -> HeldUpstream {
    let verdict = match route {
        Route::Pods(pods) => {
            Verdict::Forward(Forward { endpoints: pods.iter().map(ToString::to_string).collect() })
        }
        Route::Activator { drain } => Verdict::Hold(Hold {
            drain_id: drain.as_ref().map(ToString::to_string).unwrap_or_default(),
            lacks: lacks.unwrap_or_default().into(),
        }),
        Route::Fail(problem) => Verdict::Fail(Fail {
            reason: problem.reason.clone(),
            message: problem.message.clone(),
            retry_after_ms: millis(retry_after),
        }),
    };
    HeldUpstream {
        upstream: id.to_string(),
        workload: workload.map(ToString::to_string).unwrap_or_default(),
        activator_address: activator.to_string(),
        protocol: protocol(spec.protocol) as i32,
        limits: Some(Limits { wake_timeout_ms: millis(spec.wake_timeout), max_held: spec.max_held }),
        verdict: Some(verdict),
    }
}

fn protocol(protocol: Protocol) -> ProtoProtocol {
    match protocol {
        Protocol::Http => ProtoProtocol::Http,
        Protocol::Http2 => ProtoProtocol::Http2,
        Protocol::Tcp => ProtoProtocol::Tcp,
        Protocol::Tls => ProtoProtocol::Tls,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
