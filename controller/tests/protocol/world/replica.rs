//! The replica: production code over its own view.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zenvoy_controller::model::{
    DrainAck, Endpoint, Fact, Inventory, Revision, Route, Target, UpstreamFacts, UpstreamSpec, Versioned,
    WakeState, WorkloadFacts, WorkloadVersion,
};
use zenvoy_controller::plan::drain::{DrainStep, Surroundings};
use zenvoy_controller::plan::wake::WakeStep;
use zenvoy_controller::plan::{drain, wake};
use zenvoy_shared::id::{ControllerId, NodeId};

use super::records::{at, cart, drain_id, drain_record, generation, pod_uid, uid, wake_record, workload};
use super::{DRAINS, Drain, Rules, To, World};

impl World {
    pub(super) fn inventory(&self, rules: Rules) -> Inventory {
        let mut inventory = Inventory::default();
        let upstream =
            UpstreamFacts { spec: UpstreamSpec::default(), target: Target::Workload(workload()), created: 0 };
        inventory.apply(Fact::Upstream(cart(), upstream));
        let version = WorkloadVersion {
            uid: uid(),
            resource_version: self.seen_object.version.to_string(),
            generation: generation(self.seen_object.version, rules),
            observed_generation: generation(self.seen_object.version, rules),
        };
        let facts =
            WorkloadFacts { version, replicas: self.seen_object.replicas, problem: None, back_off: None };
        inventory.apply(Fact::Workload(workload(), facts));
        let endpoints = self.seen_ready.iter().map(|pod| Endpoint {
            address: SocketAddr::from((Ipv4Addr::new(10, 42, 0, *pod), 80)),
            pod: rules.condemned_pods.then(|| pod_uid(*pod)),
        });
        inventory.apply(Fact::Endpoints(cart(), endpoints.collect()));
        if let Some((state, revision)) = self.wake {
            inventory.set_wake(&workload(), Versioned { record: wake_record(state), revision: at(revision) });
        }
        if let Some((drain, revision)) = &self.drain {
            let record = drain_record(drain, self.drains, rules);
            inventory.set_drain(&workload(), Versioned { record, revision: at(*revision) });
        }
        inventory
    }

    pub(super) fn route(&self, rules: Rules) -> To {
        let (inventory, id) = (self.inventory(rules), workload());
        let view = inventory.view(&id);
        match view.route(&view.upstreams[0]) {
            Route::Pods(pods) => match pods[0] {
                SocketAddr::V4(address) => To::Pod(address.ip().octets()[3]),
                SocketAddr::V6(_) => unreachable!("pods of this world are IPv4"),
            },
            Route::Activator { drain } => To::Activator(drain.map(|_| self.drains)),
            Route::Fail(problem) => unreachable!("{problem:?}"),
        }
    }

    pub(super) fn write(&mut self) -> u8 {
        self.revision += 1;
        self.revision
    }

    pub(super) fn wake_is_open(&self) -> bool {
        matches!(self.wake, Some((WakeState::Created | WakeState::Scaled, _)))
    }

    /// Rule D11: demand that the view does not serve opens a wake, and takes back the own acknowledgement.
    pub(super) fn open_wake(&mut self, rules: Rules) {
        if self.held > 0 && !self.wake_is_open() && matches!(self.route(rules), To::Activator(_)) {
            self.wake = Some((WakeState::Created, self.write()));
            if rules.connection_cancels {
                self.acked = None;
            }
        }
    }

    pub(super) fn plan_wake(&mut self, rules: Rules) {
        // Rule D10: without it the leader does not heed the drain.
        let heedless = Self { drain: None, ..self.clone() };
        let seen = if rules.commit_first { &*self } else { &heedless };
        let (inventory, id) = (seen.inventory(rules), workload());
        match wake::next(&inventory.view(&id), false, Duration::ZERO) {
            WakeStep::Nothing => {}
            WakeStep::ScaleUp { replicas, resource_version, .. } => {
                self.patch(replicas, resource_version.parse().expect("a number"));
            }
            WakeStep::RecordScaled { .. } => self.wake = Some((WakeState::Scaled, self.write())),
            WakeStep::Retire { .. } | WakeStep::GiveUp { .. } => {
                self.wake = Some((WakeState::Retired, self.write()));
            }
        }
    }

    pub(super) fn plan_drain(&mut self, all_vote_idle: bool, rules: Rules) {
        let nodes = BTreeMap::from([(NodeId("node-1".into()), Revision(1))]);
        let replica = ControllerId("replica-1".into());
        let acks = self.acked.map(|drain| {
            let nodes = BTreeMap::from([("node-1".into(), Revision(1))]);
            (replica.clone(), DrainAck { drain: drain_id(drain), nodes, unknown: serde_json::Map::new() })
        });
        let (acks, live) = (acks.into_iter().collect(), [replica]);
        let around = Surroundings {
            nodes: &nodes,
            acks: &acks,
            live: &live,
            all_vote_idle,
            offered_for: Duration::ZERO,
        };
        let (inventory, id) = (self.view_of_drain(rules), workload());
        match drain::next(&inventory.view(&id), &around) {
            DrainStep::Nothing => {}
            DrainStep::Offer { .. } if self.drains < DRAINS => {
                self.drains += 1;
                self.acked = None;
                self.drain = Some((Drain::Offered, self.write()));
            }
            DrainStep::Offer { .. } => {}
            DrainStep::Cancel { .. } => self.drain = Some((Drain::Cancelled, self.write())),
            DrainStep::Commit { .. } => self.commit(rules),
            DrainStep::ScaleDown { pinned } => {
                let pinned = pinned.resource_version.parse().expect("a number");
                self.patch(0, if rules.pinned { pinned } else { self.object.version });
            }
            DrainStep::Overtaken { .. } | DrainStep::Finish { .. } => self.finish(),
        }
    }

    /// The leader's view of the drain; without rule D11 it is blind for the wake.
    pub(super) fn view_of_drain(&self, rules: Rules) -> Inventory {
        let blind = Self { wake: None, ..self.clone() };
        if rules.connection_cancels { self.inventory(rules) } else { blind.inventory(rules) }
    }

    /// Rules D5 and D6: the object and its pods by quorum read.
    pub(super) fn commit(&mut self, rules: Rules) {
        if self.object.replicas == 0 || (rules.connection_cancels && self.wake_is_open()) {
            return;
        }
        let condemned = self.pods.keys().copied().collect();
        self.drain = Some((Drain::Committed { pinned: self.object.version, condemned }, self.write()));
    }

    /// Rule D8: by quorum read nothing is asked for and nothing lives.
    pub(super) fn finish(&mut self) {
        if let Some((Drain::Committed { condemned, .. }, _)) = self.drain.clone()
            && self.object.replicas == 0
            && self.pods.is_empty()
        {
            self.drain = Some((Drain::Done { condemned }, self.write()));
        }
    }
}
