//! Records of later versions (rule L4), and clocks of others: neither is what an own record or an own clock says.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use zenvoy_controller::execute::{Commit, Decided, Executor, Job};
use zenvoy_controller::model::{Shard, Versioned};
use zenvoy_controller::store::{Key, MemoryStore, Room, Store, Txn, TxnOutcome, Write};
use zenvoy_shared::id::{ControllerId, NodeId};

use crate::api::Api;
use crate::world::{World, workload};

/// What no version of today reads.
const LATER: &str = r#"{"form":"of a later version"}"#;

#[tokio::test]
async fn a_wake_that_cannot_be_read_is_neither_opened_again_nor_carried_out_and_says_so() {
    let mut world = World::started().await;
    world.node_opens("node-1").await;
    let key = Key::Wake(workload());
    world.write(key.clone(), LATER).await;
    world.holds("node-1", true).await;
    world.wait(Duration::from_secs(30)).await;
    assert_eq!(world.writes(), Vec::<u32>::new(), "woken twice");
    assert_eq!(world.record(&key).await.expect("it is there")["form"], "of a later version");
    assert_eq!(world.ready_reason(), "RecordUnreadable");
    // A version that can read it has closed it, in a form of today.
    let retired =
        r#"{"uid":"uid-1","episode":"e","upstream":"shop/cart:80","state":"retired","opened_unix_ms":1}"#;
    world.write(key, retired).await;
    world.wait(Duration::from_secs(30)).await;
    assert_eq!(world.writes(), [1]);
}

#[tokio::test]
async fn a_workload_whose_drain_cannot_be_read_is_left_as_it_is() {
    let mut world = World::awake().await;
    world.write(Key::Drain(workload()), LATER).await;
    world.idle_past_limit().await;
    world.wait(Duration::from_secs(120)).await;
    assert_eq!(
        world.record(&Key::Drain(workload())).await.expect("it is there")["form"],
        "of a later version"
    );
    assert_eq!(world.writes(), [1]);
    assert_eq!(world.drains_paused().as_deref(), Some("RecordUnreadable"));
    assert_eq!(world.verdict(), "forward 10.42.0.1:80", "what is up serves on");
}

#[tokio::test]
async fn a_replica_and_a_node_of_a_later_version_count_and_block_a_drain() {
    for key in [Key::Controller(ControllerId("later".into())), Key::Node(NodeId("later".into()))] {
        let mut world = World::awake().await;
        world.write(key, LATER).await;
        world.idle_past_limit().await;
        world.wait(Duration::from_secs(120)).await;
        assert_eq!(world.record(&Key::Drain(workload())).await, None, "offered without its word");
    }
}

#[tokio::test]
async fn votes_have_the_form_that_every_live_replica_can_read() {
    let mut world = World::awake().await;
    world.idle_past_limit().await;
    let me = || ControllerId("replica-0".into());
    let shard = Key::VoteShard(me(), Shard::of(&workload()));
    let in_one = async |world: &World| {
        world.record(&Key::IdleVotes(me())).await.map(|votes| votes["workloads"].clone())
    };
    let in_shards = async |world: &World| world.record(&shard).await.map(|votes| votes["workloads"].clone());
    let voted = Some(Value::from(vec![workload().to_string()]));
    assert_eq!((in_one(&world).await, in_shards(&world).await), (None, voted.clone()));
    let earlier = Key::Controller(ControllerId("earlier".into()));
    world.write(earlier.clone(), r#"{"id":"earlier","address":"","version":"","protocol_level":1}"#).await;
    world.wait(Duration::from_secs(1)).await;
    assert_eq!((in_one(&world).await, in_shards(&world).await), (voted.clone(), None));
    assert_eq!(world.record(&Key::VoteNodes(me())).await, None);
    world.delete(earlier).await;
    world.wait(Duration::from_secs(1)).await;
    assert_eq!((in_one(&world).await, in_shards(&world).await), (None, voted));
}

#[tokio::test]
async fn what_only_later_builds_serve_is_served_once_all_live_replicas_can() {
    let mut world = World::awake().await;
    assert!(world.envoys_answer_in_json());
    let earlier = Key::Controller(ControllerId("earlier".into()));
    world.write(earlier.clone(), r#"{"id":"earlier","address":"","version":"","protocol_level":1}"#).await;
    world.wait(Duration::from_secs(1)).await;
    assert!(!world.envoys_answer_in_json(), "all replicas serve the same bytes (I4)");
    world.delete(earlier).await;
    world.wait(Duration::from_secs(1)).await;
    assert!(world.envoys_answer_in_json());
}

#[tokio::test]
async fn an_address_used_for_something_unknown_is_not_given_away() {
    let mut world = World::started().await;
    let next = Key::PortByAddress("127.0.0.1:20001".parse().expect("an address"));
    world.write(next.clone(), LATER).await;
    world.opt_in("other").await;
    assert_eq!(world.address_of("other"), "127.0.0.1:20002");
    assert_eq!(world.record(&next).await.expect("it is there")["form"], "of a later version");
}

#[tokio::test]
async fn what_a_later_version_added_to_an_offer_is_there_when_it_is_cancelled() {
    let mut world = World::awake().await;
    world.idle_past_limit().await;
    let key = Key::Drain(workload());
    let mut offer = world.record(&key).await.expect("offered");
    offer["later"] = "kept".into();
    world.write(key.clone(), &offer.to_string()).await;
    world.wait(Duration::from_secs(61)).await;
    let ended = world.record(&key).await.expect("it is there");
    assert_eq!((&ended["state"], &ended["later"]), (&Value::from("cancelled"), &Value::from("kept")));
}

#[tokio::test]
async fn a_quarantine_is_counted_on_the_own_clock_whatever_the_clock_of_who_wrote_it_says() {
    for jump in [-3_600_000, 3_600_000] {
        let mut world = World::started().await;
        let address = world.address();
        world.opt_out().await;
        world.clock_jumps(jump);
        world.opt_in("other").await;
        world.wait(Duration::from_secs(500)).await;
        world.opt_in("third").await;
        for service in ["other", "third"] {
            assert_ne!(world.address_of(service), address, "used again too early");
        }
        world.wait(Duration::from_secs(100)).await;
        world.opt_in("fourth").await;
        assert_eq!(world.address_of("fourth"), address);
    }
}

#[tokio::test]
async fn what_a_later_version_added_to_a_commit_is_there_when_it_is_pinned_anew() {
    let (api, store) = (Api::default(), MemoryStore::new());
    {
        let mut object = api.0.lock().expect("not poisoned");
        (object.version, object.generation, object.replicas) = (5, 1, 1);
    }
    let key = Key::Drain(workload());
    let committed = r#"{"uid":"uid-1","id":"d","upstreams":[],"offered_unix_ms":1,"replicas":1,"state":"committed",
        "condemned":[],"pinned":{"resource_version":"4","generation":1,"later":"kept"},"later":"kept"}"#;
    let write = Write::Put(key.clone(), committed.into(), None);
    let written = store.txn(Txn { compares: Vec::new(), writes: vec![write] }).await.expect("memory");
    let TxnOutcome::Written(revision) = written else { panic!("{written:?}") };
    let record = serde_json::from_str(committed).expect("a record");
    let down = Commit { drain: Versioned { record, revision }, compares: Vec::new() };
    let executor = Executor::new(Arc::new(store.clone()), Arc::new(api));
    executor.run(Job::Decide { workload: workload(), decided: Decided::ScaleDown(down) }).await;
    let entries = store.read(Room::Drains).await.expect("memory").entries;
    let anew: Value = serde_json::from_slice(&entries[0].value).expect("JSON");
    assert_eq!(
        (&anew["pinned"]["resource_version"], &anew["pinned"]["later"]),
        (&"5".into(), &"kept".into())
    );
    assert_eq!(anew["later"], "kept");
}

#[tokio::test]
async fn a_wake_is_late_and_given_up_on_the_own_clock_whatever_the_wall_clock_says() {
    for jump in [-3_600_000, 3_600_000] {
        let mut world = World::started().await;
        world.node_opens("node-1").await;
        world.refuse_scaling(true);
        world.holds("node-1", true).await;
        let episode = world.record(&Key::Wake(workload())).await.expect("opened")["episode"].clone();
        world.clock_jumps(jump);
        world.wait(Duration::from_secs(110)).await;
        let wake = world.record(&Key::Wake(workload())).await.expect("open");
        assert_eq!(wake["episode"], episode, "given up too early");
        world.wait(Duration::from_secs(30)).await;
        let wake = world.record(&Key::Wake(workload())).await.expect("it is there");
        assert_ne!(wake["episode"], episode, "never given up");

        let mut world = World::started().await;
        world.node_opens("node-1").await;
        world.holds("node-1", true).await;
        world.clock_jumps(jump);
        world.wait(Duration::from_secs(59)).await;
        assert_eq!(world.ready_reason(), "Ready", "late too early");
        world.wait(Duration::from_secs(2)).await;
        assert_eq!(world.ready_reason(), "WakeDeadline", "never late");
    }
}

#[tokio::test]
async fn an_offer_ends_at_its_deadline_on_the_leaders_own_clock() {
    for jump in [-3_600_000, 3_600_000] {
        let mut world = World::awake().await;
        world.idle_past_limit().await;
        let offered = world.record(&Key::Drain(workload())).await.expect("offered");
        world.clock_jumps(jump);
        world.wait(Duration::from_secs(50)).await;
        assert_eq!(world.record(&Key::Drain(workload())).await, Some(offered), "cancelled too early");
        world.wait(Duration::from_secs(11)).await;
        let ended = world.record(&Key::Drain(workload())).await.expect("it is there");
        assert_eq!(ended["state"], "cancelled", "never cancelled");
    }
}
