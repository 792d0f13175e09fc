//! The next step of a drain (rules D1-D10): offered -> committed -> done, or cancelled before the commit.

use std::collections::BTreeMap;
use std::time::Duration;

use zenvoy_shared::id::{ControllerId, NodeId, UpstreamId};

use crate::model::{DrainAck, DrainState, PinnedWorkload, Revision, WorkloadView};

/// An offer that is not committed by then is cancelled (rule D1).
pub const OFFER_DEADLINE: Duration = Duration::from_secs(60);

/// What the leader knows beside the workload itself, all evaluated at one revision.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// Every registered node with the `mod_revision` of its key.
    pub nodes: &'a BTreeMap<NodeId, Revision>,
    /// The acknowledgements for this workload.
    pub acks: &'a BTreeMap<ControllerId, DrainAck>,
    /// Replicas whose registration lives.
    pub live: &'a [ControllerId],
    /// Whether every live replica votes that the workload is up and idle (rule V2), and they speak for all nodes.
    pub all_vote_idle: bool,
    /// For how long this leader has known the offer, on its own clock: another's may be off.
    pub offered_for: Duration,
}

/// What the leader does next for a workload's drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainStep {
    /// Nothing to do until something changes.
    Nothing,
    /// Write an offer over whatever record is there.
    Offer {
        /// All upstreams on the workload, sorted.
        upstreams: Vec<UpstreamId>,
        /// Replicas it has now.
        replicas: u32,
    },
    /// Withdraw the offer.
    Cancel {
        /// Compare with this.
        at: Revision,
        /// For people.
        reason: &'static str,
    },
    /// All nodes are vouched for: pin the object and commit (rules D5, D6).
    Commit {
        /// Compare with this.
        at: Revision,
    },
    /// Patch to zero with exactly the pinned version (rule D7).
    ScaleDown {
        /// What the patch carries.
        pinned: PinnedWorkload,
    },
    /// Someone changed the spec after the pin: never patch; finish with the pods that are terminating (rule D7).
    Overtaken {
        /// Compare with this.
        at: Revision,
    },
    /// Replicas are 0: once a quorum list shows no living pod, write `done` (rule D8).
    Finish {
        /// Compare with this.
        at: Revision,
    },
}

/// Decides it.
pub fn next(view: &WorkloadView<'_>, around: &Surroundings<'_>) -> DrainStep {
    let (Some(facts), false) = (view.facts, view.is_unreadable) else { return DrainStep::Nothing };
    let Some(drain) = view.drain().filter(|drain| drain.record.is_open()) else {
        return offer(view, around);
    };
    let at = drain.revision;
    match &drain.record.state {
        DrainState::Offered => match obstacle(view, around, &drain.record.upstreams) {
            Some(reason) => DrainStep::Cancel { at, reason },
            None if covered(around, &drain.record.id) => DrainStep::Commit { at },
            None => DrainStep::Nothing,
        },
        DrainState::Committed { pinned, .. } => {
            if facts.replicas == 0 && facts.version.resource_version != pinned.resource_version {
                DrainStep::Finish { at }
            } else if facts.version.generation > pinned.generation {
                DrainStep::Overtaken { at }
            } else {
                DrainStep::ScaleDown { pinned: pinned.clone() }
            }
        }
        DrainState::Cancelled { .. } | DrainState::Done { .. } => DrainStep::Nothing,
    }
}

fn offer(view: &WorkloadView<'_>, around: &Surroundings<'_>) -> DrainStep {
    // Without a node nothing is known of the traffic, and unknown is not idle (I5).
    let wanted = around.all_vote_idle
        && !around.nodes.is_empty()
        && !view.upstreams.is_empty()
        && view.open_wake().is_none();
    match view.facts {
        Some(facts) if wanted && facts.replicas > 0 => {
            DrainStep::Offer { upstreams: upstreams(view), replicas: facts.replicas }
        }
        _ => DrainStep::Nothing,
    }
}

/// Why an offer must be withdrawn, if it must.
fn obstacle(
    view: &WorkloadView<'_>,
    around: &Surroundings<'_>,
    offered: &[UpstreamId],
) -> Option<&'static str> {
    if view.open_wake().is_some() {
        Some("a connection arrived")
    } else if !around.all_vote_idle {
        Some("it is no longer idle everywhere")
    } else if upstreams(view) != offered {
        Some("its upstreams changed")
    } else if view.facts.is_some_and(|facts| facts.replicas == 0) {
        Some("someone else scaled it to zero")
    } else if around.offered_for > OFFER_DEADLINE {
        Some("not every node proved quiet in time")
    } else {
        None
    }
}

/// Rule D5: every node is covered by an acknowledgement of a live replica at the node's present revision.
fn covered(around: &Surroundings<'_>, drain: &zenvoy_shared::id::DrainId) -> bool {
    around.nodes.iter().all(|(node, revision)| {
        around.acks.iter().any(|(replica, ack)| {
            around.live.contains(replica) && ack.drain == *drain && ack.nodes.get(&node.0) == Some(revision)
        })
    })
}

fn upstreams(view: &WorkloadView<'_>) -> Vec<UpstreamId> {
    let mut ids: Vec<UpstreamId> = view.upstreams.iter().map(|upstream| upstream.id.clone()).collect();
    ids.sort();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::Fixture;
    use zenvoy_shared::id::DrainId;

    struct Around {
        nodes: BTreeMap<NodeId, Revision>,
        acks: BTreeMap<ControllerId, DrainAck>,
        live: Vec<ControllerId>,
        idle: bool,
        offered_for: Duration,
    }

    impl Around {
        fn idle() -> Self {
            Self {
                nodes: BTreeMap::from([(NodeId("node-1".into()), Revision(5))]),
                acks: BTreeMap::new(),
                live: vec![ControllerId("replica-1".into())],
                idle: true,
                offered_for: Duration::from_secs(1),
            }
        }

        fn acked(mut self, drain: &str, revision: i64) -> Self {
            self.acks.insert(
                ControllerId("replica-1".into()),
                DrainAck {
                    drain: DrainId(drain.into()),
                    nodes: BTreeMap::from([("node-1".into(), Revision(revision))]),
                    unknown: serde_json::Map::new(),
                },
            );
            self
        }

        fn next(&self, fixture: &Fixture) -> DrainStep {
            self.decide(&fixture.view())
        }

        fn decide(&self, view: &WorkloadView<'_>) -> DrainStep {
            next(
                view,
                &Surroundings {
                    nodes: &self.nodes,
                    acks: &self.acks,
                    live: &self.live,
                    all_vote_idle: self.idle,
                    offered_for: self.offered_for,
                },
            )
        }
    }

    fn up() -> Fixture {
        Fixture::cold().ready(&["pod-1"])
    }

    #[test]
    fn an_idle_workload_is_offered() {
        assert!(matches!(Around::idle().next(&up()), DrainStep::Offer { replicas: 1, .. }));
    }

    #[test]
    fn a_workload_whose_pods_never_became_ready_is_offered_too() {
        let never_ready = Fixture::cold().replicas(1);
        assert!(matches!(Around::idle().next(&never_ready), DrainStep::Offer { replicas: 1, .. }));
        assert_eq!(Around::idle().next(&Fixture::cold()), DrainStep::Nothing);
    }

    #[test]
    fn nothing_is_offered_while_a_replica_sees_activity_or_no_node_is_known() {
        let busy = Around { idle: false, ..Around::idle() };
        assert_eq!(busy.next(&up()), DrainStep::Nothing);
        let alone = Around { nodes: BTreeMap::new(), ..Around::idle() };
        assert_eq!(alone.next(&up()), DrainStep::Nothing);
    }

    #[test]
    fn a_wake_has_priority_over_an_offer() {
        assert_eq!(Around::idle().next(&up().woken()), DrainStep::Nothing);
    }

    #[test]
    fn a_drain_commits_only_when_every_node_is_vouched_for_at_its_revision() {
        let offered = up().offered();
        assert_eq!(Around::idle().next(&offered), DrainStep::Nothing);
        assert_eq!(Around::idle().acked("drain-0", 5).next(&offered), DrainStep::Nothing);
        assert_eq!(Around::idle().acked("drain-1", 4).next(&offered), DrainStep::Nothing);
        assert_eq!(Around::idle().acked("drain-1", 5).next(&offered), DrainStep::Commit { at: Revision(9) });
    }

    #[test]
    fn an_acknowledgement_of_a_dead_replica_does_not_count() {
        let around = Around { live: Vec::new(), ..Around::idle() }.acked("drain-1", 5);
        assert_eq!(around.next(&up().offered()), DrainStep::Nothing);
    }

    #[test]
    fn a_connection_cancels_an_offer_even_when_all_is_vouched_for() {
        let step = Around::idle().acked("drain-1", 5).next(&up().offered().woken());
        assert_eq!(step, DrainStep::Cancel { at: Revision(9), reason: "a connection arrived" });
    }

    #[test]
    fn an_offer_ends_at_its_deadline() {
        let late = Around { offered_for: OFFER_DEADLINE + Duration::from_millis(1), ..Around::idle() };
        assert!(matches!(late.next(&up().offered()), DrainStep::Cancel { .. }));
    }

    #[test]
    fn an_offer_ends_when_what_it_rests_on_changes() {
        let vouched = || Around::idle().acked("drain-1", 5);
        let busy = Around { idle: false, ..vouched() };
        let at_zero = up().offered().replicas(0);
        let offered = up().offered();
        let mut without_upstreams = offered.view();
        without_upstreams.upstreams.clear();
        for (step, reason) in [
            (busy.next(&offered), "it is no longer idle everywhere"),
            (vouched().next(&at_zero), "someone else scaled it to zero"),
            (vouched().decide(&without_upstreams), "its upstreams changed"),
        ] {
            assert_eq!(step, DrainStep::Cancel { at: Revision(9), reason });
        }
    }

    #[test]
    fn a_committed_drain_patches_exactly_what_it_pinned_whatever_is_demanded() {
        let committed = up().committed(&["pod-1"]).woken();
        let busy = Around { idle: false, ..Around::idle() };
        assert!(
            matches!(busy.next(&committed), DrainStep::ScaleDown { pinned } if pinned.resource_version == "100")
        );
    }

    #[test]
    fn a_spec_changed_after_the_pin_is_never_patched() {
        let mut committed = up().committed(&["pod-1"]);
        if let Some(facts) = &mut committed.facts {
            facts.version.generation = 2;
            facts.version.resource_version = "101".into();
        }
        assert_eq!(Around::idle().next(&committed), DrainStep::Overtaken { at: Revision(9) });
    }

    #[test]
    fn zero_replicas_at_a_later_revision_finish_the_drain() {
        let mut committed = Fixture::cold().committed(&["pod-1"]);
        if let Some(facts) = &mut committed.facts {
            facts.version.generation = 2;
            facts.version.resource_version = "101".into();
        }
        assert_eq!(Around::idle().next(&committed), DrainStep::Finish { at: Revision(9) });
    }

    #[test]
    fn nothing_is_decided_on_records_that_cannot_be_read() {
        let acked = Around::idle().acked("drain-1", 5);
        for fixture in [up(), up().offered(), up().committed(&["pod-1"])] {
            assert_ne!(acked.next(&fixture), DrainStep::Nothing);
            assert_eq!(acked.next(&fixture.unreadable()), DrainStep::Nothing);
        }
    }

    #[test]
    fn a_recreated_workload_does_not_inherit_the_scale_down() {
        let step = Around { idle: false, ..Around::idle() }.next(&up().committed(&["pod-1"]).recreated());
        assert_eq!(step, DrainStep::Nothing);
    }
}
