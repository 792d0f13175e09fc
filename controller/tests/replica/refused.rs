//! What Envoys refuse of what they are served.

use std::time::Duration;

use zenvoy_controller::report::Happening;
use zenvoy_controller::store::Key;
use zenvoy_shared::id::ControllerId;

use crate::world::World;

const LISTENER: &str = "zenvoy-tcp-5432";

async fn with_a_listen_port() -> World {
    let mut world = World::started().await;
    world.opt_in_on_port("db", 5432).await;
    world.node_opens("node-1").await;
    world
}

fn told(world: &World) -> usize {
    world.happened(|what| matches!(what, Happening::Unserved(problem) if problem.reason == "RefusedByEnvoy"))
}

#[tokio::test]
async fn a_refused_listener_is_told_of_its_upstream_until_it_is_taken() {
    let mut world = with_a_listen_port().await;
    assert!(world.ready("db").holds);
    world.refuses("node-1", Some(LISTENER)).await;
    let ready = world.ready("db").clone();
    assert_eq!((ready.holds, ready.problem.reason.as_str()), (false, "RefusedByEnvoy"));
    let said = ready.problem.message;
    for word in ["node-1", "port 5432", "zenvoy-tcp-5432: in use", "choose another listen port"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(world.ready("cart").holds, "another upstream is served");
    assert_eq!(told(&world), 1);
    world.refuses("node-1", Some(LISTENER)).await;
    assert_eq!(told(&world), 1, "nothing new");
    world.refuses("node-1", None).await;
    assert!(world.ready("db").holds);
}

#[tokio::test]
async fn a_refused_listener_is_offered_again_ever_more_rarely_until_it_is_taken() {
    let mut world = with_a_listen_port().await;
    world.refuses("node-1", Some(LISTENER)).await;
    world.wait(Duration::from_secs(15)).await;
    assert_eq!(world.offered(), [LISTENER; 4], "after 1, 3, 7 and 15 s");
    world.wait(Duration::from_secs(300)).await;
    assert!(world.offered().len() <= 15, "at most every 30 s");
    world.refuses("node-1", None).await;
    let offered = world.offered().len();
    world.wait(Duration::from_secs(300)).await;
    assert_eq!(world.offered().len(), offered);
}

#[tokio::test]
async fn a_node_that_goes_refuses_nothing_any_more() {
    let mut world = with_a_listen_port().await;
    world.refuses("node-1", Some(LISTENER)).await;
    world.closes("node-1").await;
    world.wait(Duration::from_secs(1)).await;
    assert!(world.ready("db").holds);
    world.refuses("node-1", Some(LISTENER)).await;
    assert!(world.ready("db").holds, "a word that comes after the end of its session");
}

#[tokio::test]
async fn what_is_no_longer_served_is_no_longer_offered() {
    let mut world = with_a_listen_port().await;
    world.refuses("node-1", Some("zenvoy-tcp-1")).await;
    world.wait(Duration::from_secs(60)).await;
    assert!(world.offered().is_empty());
}

#[tokio::test]
async fn the_leader_tells_what_a_node_of_another_replica_refuses() {
    let mut world = with_a_listen_port().await;
    let key = Key::Refusals(ControllerId("replica-7".into()));
    let record = r#"{"refused": [{"type_url": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "zenvoy-tcp-5432", "node": "node-7", "message": "in use"}]}"#;
    world.write(key, record).await;
    assert_eq!(world.ready("db").problem.reason, "RefusedByEnvoy");
    assert_eq!(told(&world), 1);
}

#[tokio::test]
async fn a_shared_listener_that_is_refused_concerns_all_that_need_it() {
    let mut world = with_a_listen_port().await;
    world.refuses("node-1", Some("zenvoy-http")).await;
    assert_eq!(world.ready("db").problem.reason, "RefusedByEnvoy");
    assert_eq!(world.ready("cart").problem.reason, "RefusedByEnvoy");
}
