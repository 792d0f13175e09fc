//! Facts and decisions of one workload side by side, and what follows for its traffic.
//! In: borrowed facts and records; out: phase and route. Pure.

use std::net::SocketAddr;

use zenvoy_shared::id::{DrainId, Uid, UpstreamId, WorkloadId};

use super::{
    DrainRecord, DrainState, Endpoint, Problem, ReadyPod, Revision, UpstreamFacts, WakeRecord, WorkloadFacts,
};

/// A record with the revision that wrote it last: what a compare-and-swap compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub record: T,
    /// Its `mod_revision`.
    pub revision: Revision,
}

/// One upstream as the view sees it.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamView<'a> {
    /// Which.
    pub id: &'a UpstreamId,
    /// Its configuration and target.
    pub facts: &'a UpstreamFacts,
    /// Ready, not terminating pods.
    pub endpoints: &'a [Endpoint],
}

/// Everything known of one workload.
#[derive(Debug, Clone)]
pub struct WorkloadView<'a> {
    /// Which.
    pub id: &'a WorkloadId,
    /// What the source says of it; `None` while it does not exist.
    pub facts: Option<&'a WorkloadFacts>,
    /// All upstreams on it.
    pub upstreams: Vec<UpstreamView<'a>>,
    /// Its wake record, whatever its UID.
    pub wake_record: Option<&'a Versioned<WakeRecord>>,
    /// Its drain record, whatever its UID.
    pub drain_record: Option<&'a Versioned<DrainRecord>>,
    /// Whether one of the two cannot be read: a later version wrote it. What is above is older then, and nothing may be
    /// decided on it.
    pub is_unreadable: bool,
}

/// Where a workload is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing runs and nobody asked.
    Cold,
    /// Somebody asked, or something runs; not ready yet.
    Waking,
    /// Ready pods take traffic.
    Active,
    /// On its way to zero.
    Draining,
}

/// Where an upstream's traffic goes now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Envoy goes to the pods directly; never empty, sorted.
    Pods(Vec<SocketAddr>),
    /// Envoy goes to the activator; the proxy holds.
    Activator {
        /// The drain that asks for it, if one does.
        drain: Option<DrainId>,
    },
    /// Envoy goes to the activator; the proxy answers with the reason.
    Fail(Problem),
}

impl<'a> WorkloadView<'a> {
    /// The wake record, unless it is about another object of the same name (rule G4).
    pub fn wake(&self) -> Option<&'a Versioned<WakeRecord>> {
        let uid = &self.facts?.version.uid;
        self.wake_record.filter(|wake| wake.record.uid == *uid)
    }

    /// The drain record, unless it is about another object of the same name (rule G4).
    pub fn drain(&self) -> Option<&'a Versioned<DrainRecord>> {
        let uid = &self.facts?.version.uid;
        self.drain_record.filter(|drain| drain.record.uid == *uid)
    }

    /// The wake that goes on, if one does.
    pub fn open_wake(&self) -> Option<&'a Versioned<WakeRecord>> {
        self.wake().filter(|wake| wake.record.is_open())
    }

    /// Pods that must never be used again (rule D9).
    pub fn condemned(&self) -> &'a [Uid] {
        self.drain().map_or(&[], |drain| drain.record.condemned())
    }

    /// The endpoints of `upstream` that may take traffic, sorted.
    ///
    /// Rule W2: while this view is older than the last wake, what it shows are pods of a time before, and those that the
    /// wake's record names serve. Once it shows one of these it has caught up.
    pub fn usable(&self, upstream: &UpstreamView<'_>) -> Vec<SocketAddr> {
        let seen = upstream.endpoints.iter().map(|endpoint| (endpoint.address, endpoint.pod.as_ref()));
        let seen = self.uncondemned(seen);
        let recorded = self.served_later(upstream.id);
        let recorded = self.uncondemned(recorded.iter().map(|ready| (ready.address, ready.pod.as_ref())));
        if recorded.is_empty() || recorded.iter().any(|address| seen.contains(address)) {
            return seen;
        }
        recorded
    }

    /// The pods in the last wake's record, if what this view shows of the object is older than they are. A drain that was
    /// committed since has ended them.
    fn served_later(&self, upstream: &UpstreamId) -> &'a [ReadyPod] {
        let later = || {
            let wake = self.wake().filter(|wake| !wake.record.is_open() && !self.is_unreadable)?;
            let ready = wake.record.ready.as_ref()?;
            let ended = self.drain().is_some_and(|drain| {
                let committed =
                    matches!(drain.record.state, DrainState::Committed { .. } | DrainState::Done { .. });
                committed && drain.revision > wake.revision
            });
            let older = self.facts?.version.generation < ready.generation;
            ready.pods.get(upstream).filter(|_| older && !ended)
        };
        later().map_or(&[], Vec::as_slice)
    }

    /// The addresses of pods that are not condemned (rule D9), sorted.
    fn uncondemned<'p>(&self, pods: impl Iterator<Item = (SocketAddr, Option<&'p Uid>)>) -> Vec<SocketAddr> {
        let condemned = self.condemned();
        let living = pods.filter(|(_, pod)| pod.is_none_or(|pod| !condemned.contains(pod)));
        let mut addresses: Vec<SocketAddr> = living.map(|(address, _)| address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Whether any upstream has an endpoint that may take traffic.
    pub fn has_usable(&self) -> bool {
        self.upstreams.iter().any(|upstream| !self.usable(upstream).is_empty())
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        match self.drain().map(|drain| &drain.record.state) {
            Some(DrainState::Committed { .. }) => return Phase::Draining,
            Some(DrainState::Offered) if self.open_wake().is_none() => return Phase::Draining,
            _ => {}
        }
        if self.has_usable() {
            Phase::Active
        } else if self.open_wake().is_some() || self.facts.is_some_and(|facts| facts.replicas > 0) {
            // Also when nobody waits for it any more, or its pods have crashed: what is not at zero is not cold.
            Phase::Waking
        } else {
            Phase::Cold
        }
    }

    /// Where the traffic of `upstream` goes.
    ///
    /// A committed drain sends everything to the activator (rule D10); an offered one does, until a wake cancels it (rule D11).
    pub fn route(&self, upstream: &UpstreamView<'_>) -> Route {
        if let Some(drain) = self.drain() {
            let moved = match drain.record.state {
                DrainState::Committed { .. } => true,
                DrainState::Offered => self.open_wake().is_none(),
                DrainState::Cancelled { .. } | DrainState::Done { .. } => false,
            };
            if moved {
                return Route::Activator { drain: Some(drain.record.id.clone()) };
            }
        }
        let usable = self.usable(upstream);
        if !usable.is_empty() {
            return Route::Pods(usable);
        }
        match self.facts {
            None => Route::Fail(Problem {
                reason: "WorkloadMissing".into(),
                message: format!("{} does not exist; create it or name another target", self.id),
            }),
            Some(WorkloadFacts { problem: Some(problem), .. }) => Route::Fail(problem.clone()),
            Some(_) => match self.open_wake().and_then(|wake| wake.record.last_error.as_ref()) {
                Some(refused) => Route::Fail(refused.problem()),
                None => Route::Activator { drain: None },
            },
        }
    }
}

impl DrainRecord {
    /// Pods that this drain condemned; the list lasts until the next offer (rule D9).
    pub fn condemned(&self) -> &[Uid] {
        match &self.state {
            DrainState::Offered | DrainState::Cancelled { .. } => &[],
            DrainState::Committed { condemned, .. } | DrainState::Done { condemned } => condemned,
        }
    }

    /// Whether it still wants the workload down.
    pub fn is_open(&self) -> bool {
        matches!(self.state, DrainState::Offered | DrainState::Committed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn a_workload_without_pods_or_demand_is_cold_and_held() {
        let fixture = Fixture::cold();
        assert_eq!(fixture.view().phase(), Phase::Cold);
        assert_eq!(fixture.route(), Route::Activator { drain: None });
    }

    #[test]
    fn what_is_not_at_zero_is_not_cold_before_it_was_drained() {
        let abandoned = Fixture::cold().replicas(1);
        assert_eq!(abandoned.view().phase(), Phase::Waking, "its wake is over, and no pod is ready");
        assert_eq!(abandoned.offered().view().phase(), Phase::Draining);
        assert_eq!(Fixture::cold().done(&["pod-1"]).view().phase(), Phase::Cold);
    }

    #[test]
    fn ready_pods_take_the_traffic_even_before_the_wake_is_retired() {
        let fixture = Fixture::cold().woken().ready(&["pod-1"]);
        assert_eq!(fixture.view().phase(), Phase::Active);
        assert!(matches!(fixture.route(), Route::Pods(pods) if pods.len() == 1));
    }

    #[test]
    fn an_offered_drain_moves_traffic_to_the_activator_and_a_wake_moves_it_back() {
        let fixture = Fixture::cold().ready(&["pod-1"]).offered();
        assert_eq!(fixture.view().phase(), Phase::Draining);
        assert!(matches!(fixture.route(), Route::Activator { drain: Some(_) }));
        let cancelled = fixture.woken();
        assert!(matches!(cancelled.route(), Route::Pods(_)));
    }

    #[test]
    fn a_committed_drain_is_not_turned_by_a_wake() {
        let fixture = Fixture::cold().ready(&["pod-1"]).committed(&["pod-1"]).woken();
        assert_eq!(fixture.view().phase(), Phase::Draining);
        assert!(matches!(fixture.route(), Route::Activator { drain: Some(_) }));
    }

    #[test]
    fn a_condemned_pod_gets_no_traffic_after_the_drain_is_done() {
        let fixture = Fixture::cold().ready(&["pod-1", "pod-2"]).done(&["pod-1"]);
        assert!(matches!(fixture.route(), Route::Pods(pods) if pods.len() == 1));
    }

    const NONE: [u8; 0] = [];

    /// Pods that the route goes to, by the last number of their addresses.
    fn pods(fixture: &Fixture) -> Vec<u8> {
        let last = |pod: &SocketAddr| match pod {
            SocketAddr::V4(pod) => pod.ip().octets()[3],
            SocketAddr::V6(_) => panic!("pods of the fixture are IPv4"),
        };
        match fixture.route() {
            Route::Pods(pods) => pods.iter().map(last).collect(),
            Route::Activator { .. } | Route::Fail(_) => Vec::new(),
        }
    }

    #[test]
    fn a_view_older_than_a_retired_wake_goes_to_the_pods_in_its_record() {
        let behind = Fixture::cold().retired(2, &["pod-1"]);
        assert_eq!(pods(&behind), [1], "the object of generation 1 is older than what served");
        assert_eq!(behind.view().phase(), Phase::Active);
        assert_eq!(pods(&behind.ready(&["pod-0"])), [1], "what it still shows is of a time before");
        assert_eq!(
            pods(&Fixture::cold().retired(1, &["pod-1"])),
            NONE,
            "it knows that object, and no ready pod"
        );
        assert_eq!(
            pods(&Fixture::cold().retired(2, &["pod-1"]).recreated()),
            NONE,
            "the wake of another object"
        );
        assert_eq!(
            pods(&Fixture::cold().retired(2, &["pod-1"]).unreadable()),
            NONE,
            "who knows what was decided since"
        );
    }

    #[test]
    fn what_a_view_shows_counts_again_once_it_shows_a_pod_of_the_record() {
        let caught_up = Fixture::cold().ready(&["pod-1", "pod-2"]).retired(2, &["pod-1"]);
        assert_eq!(pods(&caught_up), [1, 2]);
    }

    #[test]
    fn a_drain_after_the_wake_ends_what_its_record_says() {
        let woken = || Fixture::cold().retired(2, &["pod-1"]);
        assert_eq!(pods(&woken().done(&["pod-0"]).before_the_wake()), [1], "the drain before it does not");
        for over in [woken().offered(), woken().committed(&["pod-2"]), woken().done(&["pod-2"])] {
            assert_eq!(pods(&over), NONE);
        }
    }

    #[test]
    fn a_condemned_pod_gets_no_traffic_though_a_record_names_it() {
        let fixture = Fixture::cold().retired(2, &["pod-1", "pod-2"]).done(&["pod-1"]).before_the_wake();
        assert_eq!(pods(&fixture), [2]);
    }

    #[test]
    fn records_of_a_deleted_object_do_not_bind_its_successor() {
        let fixture = Fixture::cold().ready(&["pod-1"]).committed(&["pod-1"]).recreated();
        assert!(matches!(fixture.route(), Route::Pods(_)));
    }
}
