//! What a change costs, in looks at workloads: as much whether there are few of them or many. And what is done at a time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use zenvoy_shared::id::{ControllerId, NodeEpoch, NodeId, Uid, UpstreamId, WorkloadId};

use super::{Core, CoreOptions, Effect, Event, Now, Said, SessionId};
use crate::execute::{Job, JobDone, Outcome, Subject};
use crate::model::{
    Endpoint, Fact, Replica, Revision, Shard, Target, Term, UpstreamFacts, UpstreamSpec, WorkloadFacts,
    WorkloadVersion,
};
use crate::session::{Activity, DemandQuota, Moment};
use crate::store::{Entry, Key, LeaseId, Snapshot, WatchEvent, Write};
use crate::translate::{ListenerOptions, Names};

const FEW: usize = 40;
const MANY: usize = 300;

fn workload(number: usize) -> WorkloadId {
    WorkloadId::new("shop", "Deployment.apps", format!("service-{number}"))
}

fn upstream(number: usize) -> UpstreamId {
    UpstreamId::new("shop", format!("service-{number}"), 80)
}

fn replica(name: &str) -> Replica {
    Replica {
        id: ControllerId(name.into()),
        address: String::new(),
        version: String::new(),
        protocol_level: 2,
        unknown: serde_json::Map::new(),
    }
}

fn node(number: u64) -> NodeId {
    NodeId(format!("node-{number}"))
}

/// A leading replica with two nodes and another replica beside it; all services are up, and idle for all.
struct World {
    core: Core,
    now: Now,
    revision: i64,
    workloads: usize,
    /// When the nodes' records were written.
    registered: BTreeMap<u64, i64>,
}

impl World {
    fn with(workloads: usize) -> Self {
        let core = Core::new(CoreOptions {
            me: replica("me"),
            pool: "127.0.0.1:20000-29999".parse().expect("a pool"),
            quarantine: Duration::from_secs(600),
            listeners: ListenerOptions {
                bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                http_port: 10_000,
                tls_port: 10_443,
            },
            names: Names::default(),
            max_offers: 4,
            quota: DemandQuota::default(),
        });
        let now = Now { moment: Moment(Duration::from_secs(1_000)), unix_nanos: 1 };
        let mut world = Self { core, now, revision: 1, workloads, registered: BTreeMap::new() };
        let snapshot = Snapshot { revision: Revision(1), entries: Vec::new() };
        world.event(Event::Store(WatchEvent::Resync(snapshot)));
        world.event(Event::Lease(Some(LeaseId(1))));
        for number in 0..workloads {
            world.service(number);
        }
        world.event(Event::Fact(Fact::Complete));
        for name in ["me", "other"] {
            let record = serde_json::to_value(replica(name)).expect("JSON");
            world.put(Key::Controller(ControllerId(name.into())), &record);
        }
        world.event(Event::Leads(Some(Term(Revision(1)))));
        for number in 0..workloads {
            world
                .put(Key::PortByUpstream(upstream(number)), &json!(format!("127.0.0.1:{}", 20_000 + number)));
        }
        world.passes(Duration::from_secs(5));
        for number in [1, 2] {
            world.opens(number);
        }
        let spoken: BTreeMap<String, i64> = BTreeMap::from([1, 2].map(|n| (node(n).0, world.registered[&n])));
        for (replica, nodes) in [("me", spoken), ("other", BTreeMap::new())] {
            for shard in Shard::all() {
                world.votes(replica, shard, None);
            }
            world.put(Key::VoteNodes(ControllerId(replica.into())), &json!({ "nodes": nodes }));
        }
        assert!(
            world.core.records.votes.all_vote_idle(&workload(7))
                && world.core.records.votes.speak_for_all_nodes()
        );
        world
    }

    fn service(&mut self, number: usize) -> Vec<Effect> {
        let target = Target::Workload(workload(number));
        let facts = UpstreamFacts { spec: UpstreamSpec::default(), target, created: 0 };
        let effects = self.event(Event::Fact(Fact::Upstream(upstream(number), facts)));
        let version = WorkloadVersion {
            uid: Uid("uid-1".into()),
            resource_version: "1".into(),
            generation: 1,
            observed_generation: 1,
        };
        let facts = WorkloadFacts { version, replicas: 1, problem: None, back_off: None };
        self.event(Event::Fact(Fact::Workload(workload(number), facts)));
        self.ready(number, 1);
        effects
    }

    fn ready(&mut self, number: usize, pod: u8) {
        let address = SocketAddr::from((Ipv4Addr::new(10, 42, 0, pod), 80));
        let endpoint = Endpoint { address, pod: Some(Uid(format!("pod-{pod}"))) };
        self.event(Event::Fact(Fact::Endpoints(upstream(number), vec![endpoint])));
    }

    /// Node 1 was idle last on everything.
    fn opens(&mut self, number: u64) {
        let idle = Activity::idle_for(Duration::from_secs(1_000 * number), self.now.moment);
        let activity = (0..self.workloads).map(|service| (upstream(service), idle)).collect();
        let opened =
            Said::Opened { epoch: NodeEpoch("e".into()), demand: BTreeMap::new(), activity, pod: None };
        self.event(Event::Said(node(number), SessionId(number), opened));
        self.revision += 1;
        let at = Revision(self.revision);
        self.registered.insert(number, self.revision);
        let record = json!({ "epoch": "e", "controller": "me" });
        let put = |world: &Self| WatchEvent::Put(world.entry(Key::Node(node(number)), &record));
        let written = vec![put(self)];
        let done = JobDone { subject: Subject::Node(node(number)), outcome: Outcome::Written(at), written };
        self.event(Event::Done(done));
        let put = put(self);
        self.event(Event::Store(put));
    }

    /// A replica's votes on a shard, but for one workload.
    fn votes(&mut self, replica: &str, shard: Shard, but: Option<usize>) {
        let voted = (0..self.workloads).filter(|number| Some(*number) != but).map(workload);
        let workloads: Vec<WorkloadId> = voted.filter(|workload| Shard::of(workload) == shard).collect();
        let record = json!({ "workloads": workloads });
        self.put(Key::VoteShard(ControllerId(replica.into()), shard), &record);
    }

    fn entry(&self, key: Key, record: &serde_json::Value) -> Entry {
        Entry { key, value: record.to_string().into(), mod_revision: Revision(self.revision) }
    }

    fn put(&mut self, key: Key, record: &serde_json::Value) {
        self.revision += 1;
        let entry = self.entry(key, record);
        self.event(Event::Store(WatchEvent::Put(entry)));
    }

    /// The leader's batches of port mappings are written, one after the other, while there are any.
    fn maps_ports(&mut self, mut effects: Vec<Effect>) -> u32 {
        let mut batches = 0;
        let batch = |effect| match effect {
            Effect::Start(Job::Write { subject: Subject::Ports, txn }) => Some(txn),
            _ => None,
        };
        while let Some(txn) = effects.into_iter().find_map(batch) {
            batches += 1;
            self.revision += 1;
            let at = Revision(self.revision);
            let written = txn.writes.into_iter().map(|write| match write {
                Write::Put(key, value, _) => WatchEvent::Put(Entry { key, value, mod_revision: at }),
                Write::Delete(key) => WatchEvent::Deleted(key, at),
            });
            let (subject, written) = (Subject::Ports, written.collect());
            let done = JobDone { subject, outcome: Outcome::Written(at), written };
            effects = self.event(Event::Done(done));
        }
        batches
    }

    fn passes(&mut self, time: Duration) {
        self.now.moment = self.now.moment.after(time);
        self.event(Event::Tick);
    }

    fn event(&mut self, event: Event) -> Vec<Effect> {
        self.core.handle(event, self.now)
    }

    /// What something costs, in looks at workloads.
    fn cost(&mut self, change: impl FnOnce(&mut Self)) -> u64 {
        let before = self.core.inventory.looks();
        change(self);
        self.core.inventory.looks() - before
    }
}

/// It costs the same among few services and among many.
fn is_local(change: impl Fn(&mut World) + Copy) {
    let [few, many] = [FEW, MANY].map(|workloads| World::with(workloads).cost(change));
    assert_eq!(few, many, "looks at workloads among {FEW} and {MANY}");
    assert!(few < 60, "{few} looks for one change");
}

#[test]
fn a_changed_endpoint_costs_its_workload() {
    is_local(|world| world.ready(7, 2));
}

#[test]
fn activity_on_one_upstream_costs_its_workload() {
    is_local(|world| {
        let active = Said::Activity(vec![(upstream(7), Activity::Active)]);
        world.event(Event::Said(node(1), SessionId(1), active));
    });
}

#[test]
fn another_replicas_vote_costs_its_workload_and_not_its_shard() {
    is_local(|world| world.votes("other", Shard::of(&workload(7)), Some(7)));
}

#[test]
fn the_nodes_that_another_replica_speaks_for_cost_no_more_than_there_are_places_for_offers() {
    is_local(|world| {
        let record = json!({ "epoch": "e", "controller": "other" });
        world.put(Key::Node(node(9)), &record);
        let at = world.revision;
        world.put(Key::VoteNodes(ControllerId("other".into())), &json!({ "nodes": { "node-9": at } }));
    });
}

#[test]
fn a_session_that_breaks_costs_what_its_node_alone_kept_up() {
    is_local(|world| drop(world.event(Event::Said(node(2), SessionId(2), Said::Closed))));
}

#[test]
fn a_lease_that_ends_and_is_followed_by_another_costs_what_is_demanded() {
    is_local(|world| {
        world.event(Event::Lease(None));
        world.event(Event::Lease(Some(LeaseId(2))));
    });
}

#[test]
fn an_activator_address_costs_its_upstream() {
    is_local(|world| world.put(Key::PortByUpstream(upstream(7)), &json!("127.0.0.1:29999")));
}

#[test]
fn what_the_watch_repeats_costs_nothing() {
    is_local(|world| {
        let record = world.entry(Key::PortByUpstream(upstream(7)), &json!("127.0.0.1:29999"));
        let at = Revision(1);
        world.event(Event::Store(WatchEvent::Put(Entry { mod_revision: at, ..record })));
    });
}

#[test]
fn a_node_that_comes_costs_a_look_at_each_vote_and_no_more() {
    let mut world = World::with(MANY);
    let cost = world.cost(|world| world.opens(2));
    let most = u64::try_from(MANY).expect("few") + 100;
    assert!(cost <= most, "{cost} looks at {MANY} workloads");
}

#[test]
fn allocation_looks_at_each_address_once_however_many_batches_it_takes() {
    let mut world = World::with(FEW);
    // What was under way meanwhile has nothing left to do.
    let done = JobDone { subject: Subject::Ports, outcome: Outcome::Conflict, written: Vec::new() };
    world.event(Event::Done(done));
    world.passes(Duration::from_secs(1));
    let mut effects = Vec::new();
    for number in FEW..FEW + MANY {
        effects.extend(world.service(number));
    }
    let batches = world.maps_ports(effects);
    assert!(batches > 5, "{batches} batches prove nothing");
    let most = u64::try_from(MANY).expect("few") + 10;
    let looks = world.core.mappings.looks;
    assert!(looks <= most, "{looks} looks for {MANY} addresses in {batches} batches");
}

#[test]
fn services_that_are_idle_at_once_are_offered_one_after_the_other() {
    let mut world = World::with(FEW);
    let offers =
        |effect: &Effect| matches!(effect, Effect::Start(Job::Write { subject: Subject::Workload(_), .. }));
    let mut offered = Vec::new();
    for step in 0..25 {
        world.now.moment = world.now.moment.after(Duration::from_millis(10));
        let effects = world.event(Event::Tick);
        offered.extend(effects.iter().filter(|effect| offers(effect)).map(|_| step));
    }
    assert_eq!(offered.len(), 4, "as many as there are places: {offered:?}");
    offered.dedup();
    assert!(offered.len() > 2, "at these moments: {offered:?}");
}
