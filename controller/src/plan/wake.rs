//! The next step of a wake (rules W1-W3, D10): created -> scaled -> retired.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Map;
use zenvoy_shared::id::{DrainId, Episode};

use crate::model::{
    DrainState, Endpoint, Ready, ReadyPod, Revision, UpstreamView, WakeState, WorkloadFacts, WorkloadView,
};

/// A wake's record names no more pods than this, of each upstream: the first to be ready are few.
const MOST_RECORDED: usize = 32;

/// What the leader does next for a workload's wake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WakeStep {
    /// Nothing to do until something changes.
    Nothing,
    /// Patch 0 -> `replicas`, carrying `resource_version` (rule W3).
    ScaleUp {
        /// The wake it is for.
        episode: Episode,
        /// At least 1.
        replicas: u32,
        /// Of the object whose replicas were seen to be 0.
        resource_version: String,
    },
    /// Mark the wake scaled: the object asks for replicas already.
    RecordScaled {
        /// Compare with this.
        at: Revision,
    },
    /// The first ready endpoint is here: close the record (rule W2).
    Retire {
        /// Compare with this.
        at: Revision,
        /// What may take traffic; never empty.
        endpoints: Vec<SocketAddr>,
        /// The same for replicas that see it later, unless this view itself has not seen yet who asked for the pods.
        ready: Option<Ready>,
    },
    /// It was refused for too long, or nobody waits for it any more: close the record; the next connection tries anew.
    GiveUp {
        /// Compare with this.
        at: Revision,
    },
}

/// Decides it. `abandoned`: every live replica votes that the workload is idle, and they speak for all nodes; clients that
/// wait, or come again within `idleAfter`, are activity. `open_for`: for how long this leader has known the wake, on its own
/// clock: another's may be off.
pub fn next(view: &WorkloadView<'_>, abandoned: bool, open_for: Duration) -> WakeStep {
    let (Some(wake), Some(facts), false) = (view.open_wake(), view.facts, view.is_unreadable) else {
        return WakeStep::Nothing;
    };
    if let Some(drain) = view.drain()
        && drain.record.is_open()
    {
        // Rules W2 and D10: the drain's own steps come first.
        return WakeStep::Nothing;
    }
    let endpoints: BTreeSet<SocketAddr> =
        view.upstreams.iter().flat_map(|upstream| view.usable(upstream)).collect();
    if !endpoints.is_empty() {
        let endpoints = endpoints.into_iter().take(MOST_RECORDED).collect();
        return WakeStep::Retire { at: wake.revision, endpoints, ready: ready(view, facts) };
    }
    if abandoned || (wake.record.last_error.is_some() && open_for > patience(view)) {
        return WakeStep::GiveUp { at: wake.revision };
    }
    if facts.replicas == 0 {
        return WakeStep::ScaleUp {
            episode: wake.record.episode.clone(),
            replicas: replicas(view),
            resource_version: facts.version.resource_version.clone(),
        };
    }
    match wake.record.state {
        WakeState::Created => WakeStep::RecordScaled { at: wake.revision },
        WakeState::Scaled | WakeState::Retired => WakeStep::Nothing,
    }
}

/// The pods behind each upstream that may take traffic.
fn ready(view: &WorkloadView<'_>, facts: &WorkloadFacts) -> Option<Ready> {
    if facts.replicas == 0 {
        return None;
    }
    let pods_of = |upstream: &UpstreamView<'_>| {
        let usable = view.usable(upstream);
        let pods = upstream.endpoints.iter().filter(|endpoint| usable.contains(&endpoint.address));
        let pods = pods.take(MOST_RECORDED).cloned();
        pods.map(|Endpoint { address, pod }| ReadyPod { address, pod, unknown: Map::new() }).collect()
    };
    let pods = view.upstreams.iter().map(|upstream| (upstream.id.clone(), pods_of(upstream))).collect();
    Some(Ready { generation: facts.version.generation, pods, unknown: Map::new() })
}

/// What a replica does by itself for a demanded workload while the store does not answer (rule W4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AloneStep {
    /// Nothing that a scale write would help.
    Nothing,
    /// A drain is under way, and without the store nobody knows how far: its end must be known first (rule D10).
    AwaitDrain(DrainId),
    /// Patch 0 -> `replicas`; the version, not leadership, makes it one effective write.
    ScaleUp {
        /// At least 1.
        replicas: u32,
        /// Of the object whose replicas were seen to be 0.
        resource_version: String,
    },
}

/// Decides that, on facts alone where there is no record.
pub fn without_store(view: &WorkloadView<'_>) -> AloneStep {
    let (Some(facts), false) = (view.facts, view.is_unreadable) else { return AloneStep::Nothing };
    if let Some(drain) = view.drain().filter(|drain| drain.record.is_open()) {
        return AloneStep::AwaitDrain(drain.record.id.clone());
    }
    if facts.replicas > 0 || view.has_usable() {
        return AloneStep::Nothing;
    }
    AloneStep::ScaleUp { replicas: replicas(view), resource_version: facts.version.resource_version.clone() }
}

/// The last count before a drain, or the largest `wakeReplicas` of the upstreams (rule W3).
fn replicas(view: &WorkloadView<'_>) -> u32 {
    let before_drain = view
        .drain()
        .filter(|drain| matches!(drain.record.state, DrainState::Done { .. }))
        .map(|drain| drain.record.replicas);
    let configured = view.upstreams.iter().map(|upstream| upstream.facts.spec.wake_replicas).max();
    before_drain.or(configured).unwrap_or(1).max(1)
}

/// How long a refused wake is tried: as long as two clients, one after the other, could have been held.
fn patience(view: &WorkloadView<'_>) -> Duration {
    let timeouts = view.upstreams.iter().map(|upstream| upstream.facts.spec.wake_timeout);
    timeouts.max().unwrap_or_default().saturating_mul(2)
}

/// How long after a failed scale write the next one is worth trying: 50 ms, doubling, at most 10 s.
pub fn retry_after(attempts: u32) -> Duration {
    Duration::from_millis(50).saturating_mul(1 << attempts.min(10)).min(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::AloneStep::ScaleUp;
    use super::*;
    use crate::model::fixture::Fixture;
    use zenvoy_shared::id::Uid;

    fn next(view: &WorkloadView<'_>) -> WakeStep {
        super::next(view, false, Duration::from_secs(1))
    }

    #[test]
    fn a_demanded_cold_workload_is_scaled_with_the_version_seen_at_zero() {
        let fixture = Fixture::cold().woken();
        let WakeStep::ScaleUp { replicas, resource_version, .. } = next(&fixture.view()) else { panic!() };
        assert_eq!((replicas, resource_version.as_str()), (1, "100"));
    }

    #[test]
    fn nobody_asked_nothing_is_scaled() {
        assert_eq!(next(&Fixture::cold().view()), WakeStep::Nothing);
    }

    #[test]
    fn a_workload_that_asks_for_replicas_is_not_scaled_again() {
        let fixture = Fixture::cold().replicas(1).woken();
        assert_eq!(next(&fixture.view()), WakeStep::RecordScaled { at: Revision(7) });
        let fixture = Fixture::cold().replicas(1).wake_state(WakeState::Scaled);
        assert_eq!(next(&fixture.view()), WakeStep::Nothing);
    }

    #[test]
    fn no_scale_write_goes_out_while_an_endpoint_is_ready_though_replicas_say_zero() {
        let fixture = Fixture::cold().ready(&["pod-1"]).replicas(0).woken();
        assert!(matches!(next(&fixture.view()), WakeStep::Retire { .. }));
    }

    #[test]
    fn a_retired_wake_says_which_pods_of_which_object_served() {
        let fixture = Fixture::cold().ready(&["pod-1", "pod-2"]).done(&["pod-1"]).woken();
        let WakeStep::Retire { ready: Some(ready), .. } = next(&fixture.view()) else { panic!() };
        let pods: Vec<_> = ready.pods[&fixture.upstream].iter().map(|ready| ready.pod.clone()).collect();
        assert_eq!((ready.generation, pods), (1, vec![Some(Uid("pod-2".into()))]));
        let unseen = Fixture::cold().ready(&["pod-1"]).replicas(0).woken();
        assert!(matches!(next(&unseen.view()), WakeStep::Retire { ready: None, .. }));
    }

    #[test]
    fn a_wake_waits_for_a_committed_drain() {
        let fixture = Fixture::cold().committed(&["pod-1"]).woken();
        assert_eq!(next(&fixture.view()), WakeStep::Nothing);
    }

    #[test]
    fn a_wake_is_not_retired_while_a_drain_is_on_offer() {
        let fixture = Fixture::cold().ready(&["pod-1"]).offered().woken();
        assert_eq!(next(&fixture.view()), WakeStep::Nothing);
    }

    #[test]
    fn a_wake_is_not_retired_on_a_condemned_pod() {
        let fixture = Fixture::cold().ready(&["pod-1"]).done(&["pod-1"]).wake_state(WakeState::Scaled);
        assert_eq!(next(&fixture.view()), WakeStep::Nothing);
    }

    #[test]
    fn the_wake_after_a_drain_brings_back_as_many_replicas() {
        let fixture = Fixture::cold().done(&["pod-1"]).woken();
        assert!(matches!(next(&fixture.view()), WakeStep::ScaleUp { replicas: 3, .. }));
    }

    #[test]
    fn a_refused_wake_is_tried_again_and_given_up_after_two_wake_timeouts() {
        let mut fixture = Fixture::cold().woken();
        if let Some(wake) = &mut fixture.wake {
            let message = "over quota".into();
            let refused = crate::model::Problem { reason: "QuotaExceeded".into(), message };
            wake.record.last_error = Some(refused.into());
        }
        assert!(matches!(
            super::next(&fixture.view(), false, Duration::from_secs(120)),
            WakeStep::ScaleUp { .. }
        ));
        assert_eq!(
            super::next(&fixture.view(), false, Duration::from_millis(120_001)),
            WakeStep::GiveUp { at: Revision(7) }
        );
    }

    #[test]
    fn a_wake_that_nobody_waits_for_any_more_is_given_up_unless_its_pods_are_there() {
        let never_ready = Fixture::cold().replicas(1).wake_state(WakeState::Scaled);
        assert_eq!(
            super::next(&never_ready.view(), true, Duration::from_secs(1)),
            WakeStep::GiveUp { at: Revision(7) }
        );
        let ready = Fixture::cold().ready(&["pod-1"]).wake_state(WakeState::Scaled);
        assert!(matches!(super::next(&ready.view(), true, Duration::from_secs(1)), WakeStep::Retire { .. }));
    }

    #[test]
    fn nothing_is_decided_on_a_record_that_cannot_be_read() {
        let woken = Fixture::cold().woken();
        assert!(matches!(next(&woken.view()), WakeStep::ScaleUp { .. }));
        let unreadable = woken.unreadable();
        assert_eq!(next(&unreadable.view()), WakeStep::Nothing);
        assert_eq!(without_store(&unreadable.view()), AloneStep::Nothing);
    }

    #[test]
    fn without_the_store_what_is_at_zero_is_scaled_on_facts_alone() {
        let ScaleUp { replicas, resource_version } = without_store(&Fixture::cold().view()) else { panic!() };
        assert_eq!((replicas, resource_version.as_str()), (1, "100"));
        let drained = Fixture::cold().done(&["pod-1"]);
        assert!(matches!(without_store(&drained.view()), ScaleUp { replicas: 3, .. }), "as many as before");
    }

    #[test]
    fn without_the_store_what_is_up_or_drains_is_left_alone() {
        assert_eq!(without_store(&Fixture::cold().replicas(1).view()), AloneStep::Nothing);
        let ready = Fixture::cold().ready(&["pod-1"]).replicas(0);
        assert_eq!(without_store(&ready.view()), AloneStep::Nothing, "its endpoint is ready still");
        let drain = DrainId("drain-1".into());
        for draining in [Fixture::cold().committed(&["pod-1"]), Fixture::cold().ready(&["pod-1"]).offered()] {
            assert_eq!(without_store(&draining.view()), AloneStep::AwaitDrain(drain.clone()));
        }
    }

    #[test]
    fn retries_back_off_to_a_bound() {
        assert_eq!(retry_after(0), Duration::from_millis(50));
        assert_eq!(retry_after(u32::MAX), Duration::from_secs(10));
    }
}
