//! One workload in whatever state a test wants.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Map;
use zenvoy_shared::id::{DrainId, Episode, Uid, UpstreamId, WorkloadId};

use super::view::{Route, UpstreamView, Versioned, WorkloadView};
use super::{
    DrainRecord, DrainState, Endpoint, PinnedWorkload, Ready, ReadyPod, Revision, Target, UpstreamFacts,
    UpstreamSpec, WakeRecord, WakeState, WorkloadFacts, WorkloadVersion,
};

pub(crate) struct Fixture {
    pub(crate) id: WorkloadId,
    pub(crate) upstream: UpstreamId,
    pub(crate) upstream_facts: UpstreamFacts,
    pub(crate) facts: Option<WorkloadFacts>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) wake: Option<Versioned<WakeRecord>>,
    pub(crate) drain: Option<Versioned<DrainRecord>>,
    pub(crate) unreadable: bool,
}

impl Fixture {
    pub(crate) fn cold() -> Self {
        let id = WorkloadId::new("shop", "Deployment.apps", "cart");
        Self {
            upstream: UpstreamId::new("shop", "cart", 80),
            upstream_facts: UpstreamFacts {
                spec: UpstreamSpec::default(),
                target: Target::Workload(id.clone()),
                created: 0,
            },
            facts: Some(WorkloadFacts {
                version: WorkloadVersion {
                    uid: Uid("uid-1".into()),
                    resource_version: "100".into(),
                    generation: 1,
                    observed_generation: 1,
                },
                replicas: 0,
                problem: None,
                back_off: None,
            }),
            id,
            endpoints: Vec::new(),
            wake: None,
            drain: None,
            unreadable: false,
        }
    }

    pub(crate) fn replicas(mut self, replicas: u32) -> Self {
        if let Some(facts) = &mut self.facts {
            facts.replicas = replicas;
        }
        self
    }

    pub(crate) fn ready(mut self, pods: &[&str]) -> Self {
        self.endpoints = endpoints(pods);
        self.replicas(u32::try_from(pods.len()).expect("few pods"))
    }

    pub(crate) fn wake_state(mut self, state: WakeState) -> Self {
        self.wake = Some(Versioned {
            record: WakeRecord {
                uid: Uid("uid-1".into()),
                episode: Episode("episode-1".into()),
                upstream: self.upstream.clone(),
                traceparent: String::new(),
                state,
                opened_unix_ms: 1_000,
                attempts: 0,
                last_error: None,
                endpoints: Vec::new(),
                ready: None,
                unknown: Map::new(),
            },
            revision: Revision(7),
        });
        self
    }

    /// Its wake was retired on these pods, when the object had that generation.
    pub(crate) fn retired(mut self, generation: i64, pods: &[&str]) -> Self {
        let pods = endpoints(pods).into_iter();
        let pods =
            pods.map(|Endpoint { address, pod }| ReadyPod { address, pod, unknown: Map::new() }).collect();
        let pods = BTreeMap::from([(self.upstream.clone(), pods)]);
        self = self.wake_state(WakeState::Retired);
        if let Some(wake) = &mut self.wake {
            wake.record.ready = Some(Ready { generation, pods, unknown: Map::new() });
        }
        self
    }

    /// The drain's record was written before the wake's.
    pub(crate) fn before_the_wake(mut self) -> Self {
        if let Some(drain) = &mut self.drain {
            drain.revision = Revision(6);
        }
        self
    }

    pub(crate) fn woken(self) -> Self {
        self.wake_state(WakeState::Created)
    }

    fn drain_state(mut self, state: DrainState) -> Self {
        self.drain = Some(Versioned {
            record: DrainRecord {
                uid: Uid("uid-1".into()),
                id: DrainId("drain-1".into()),
                upstreams: vec![self.upstream.clone()],
                state,
                offered_unix_ms: 2_000,
                replicas: 3,
                unknown: Map::new(),
            },
            revision: Revision(9),
        });
        self
    }

    pub(crate) fn offered(self) -> Self {
        self.drain_state(DrainState::Offered)
    }

    pub(crate) fn committed(self, condemned: &[&str]) -> Self {
        self.drain_state(DrainState::Committed {
            pinned: PinnedWorkload { resource_version: "100".into(), generation: 1, unknown: Map::new() },
            condemned: uids(condemned),
        })
    }

    pub(crate) fn done(self, condemned: &[&str]) -> Self {
        self.drain_state(DrainState::Done { condemned: uids(condemned) })
    }

    pub(crate) fn unreadable(mut self) -> Self {
        self.unreadable = true;
        self
    }

    pub(crate) fn recreated(mut self) -> Self {
        if let Some(facts) = &mut self.facts {
            facts.version.uid = Uid("uid-2".into());
        }
        self
    }

    pub(crate) fn view(&self) -> WorkloadView<'_> {
        WorkloadView {
            id: &self.id,
            facts: self.facts.as_ref(),
            upstreams: vec![UpstreamView {
                id: &self.upstream,
                facts: &self.upstream_facts,
                endpoints: &self.endpoints,
            }],
            wake_record: self.wake.as_ref(),
            drain_record: self.drain.as_ref(),
            is_unreadable: self.unreadable,
        }
    }

    pub(crate) fn route(&self) -> Route {
        let view = self.view();
        view.route(&view.upstreams[0])
    }
}

/// A pod's address follows from the last sign of its name.
fn endpoints(pods: &[&str]) -> Vec<Endpoint> {
    let address = |pod: &str| {
        let number = pod.bytes().last().expect("a name") - b'0';
        SocketAddr::from((Ipv4Addr::new(10, 42, 0, number), 8080))
    };
    pods.iter().map(|pod| Endpoint { address: address(pod), pod: Some(Uid((*pod).into())) }).collect()
}

fn uids(pods: &[&str]) -> Vec<Uid> {
    pods.iter().map(|pod| Uid((*pod).into())).collect()
}
