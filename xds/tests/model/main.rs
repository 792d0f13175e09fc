//! Model clients of both variants, driven at random over two replicas: whatever happens on the way, in the end each holds
//! exactly what it asked for, and a server without clients and content holds nothing.

mod delta;
mod sotw;
mod world;

use proptest::prelude::*;
use proptest::test_runner::Config;

use world::{CLIENTS, Step, World};

/// More are tried with `PROPTEST_CASES`.
const CASES: u32 = 1500;

fn config() -> Config {
    let set = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: set.unwrap_or(CASES), failure_persistence: None, ..Config::default() }
}

fn step() -> impl Strategy<Value = Step> {
    let (client, kind, name) = (0..CLIENTS, 0..3usize, 0..5usize);
    let subscribe = (client.clone(), kind.clone(), name.clone());
    prop_oneof![
        3 => subscribe.clone().prop_map(|(client, kind, name)| Step::Subscribe { client, kind, name }),
        2 => subscribe.prop_map(|(client, kind, name)| Step::Unsubscribe { client, kind, name }),
        1 => (client.clone(), kind.clone()).prop_map(|(client, kind)| Step::Everything { client, kind }),
        1 => (client.clone(), kind.clone()).prop_map(|(client, kind)| Step::NotEverything { client, kind }),
        5 => (0..2usize, kind, name, proptest::option::of(0..4u8))
            .prop_map(|(replica, kind, name, content)| Step::Change { replica, kind, name, content }),
        6 => client.clone().prop_map(|client| Step::Send { client }),
        6 => client.clone().prop_map(|client| Step::Hear { client }),
        6 => client.clone().prop_map(|client| Step::Read { client }),
        1 => (client, 0..2usize).prop_map(|(client, replica)| Step::Move { client, replica }),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_client_ends_with_what_it_asked_for(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
        world.check();
        world.end();
    }
}
