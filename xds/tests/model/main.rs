//! Model clients of both variants, on aggregated and separate streams, driven at random over two replicas: whatever happens
//! on the way, what the server says they have applied they hold, none loses a cluster that its routes use nor is sent routes
//! to one that it lacks, in the end each holds exactly what it asked for, and a server without clients and content holds
//! nothing.

mod check;
mod delta;
mod resources;
mod sotw;
mod wires;
mod world;

use proptest::prelude::*;
use proptest::test_runner::Config;

use resources::{CONTENTS, KINDS, NAMES};
use world::{CLIENTS, Step, World};

/// More are tried with `PROPTEST_CASES`.
const CASES: u32 = 1500;

fn config() -> Config {
    let set = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: set.unwrap_or(CASES), failure_persistence: None, ..Config::default() }
}

fn step() -> impl Strategy<Value = Step> {
    let (client, kind, name, replica) = (0..CLIENTS, 0..KINDS.len(), 0..NAMES, 0..2usize);
    let one = (client.clone(), kind.clone(), name.clone());
    let content = || proptest::option::weighted(0.8, 0..CONTENTS);
    let contents = proptest::array::uniform5(proptest::option::weighted(0.6, content()));
    let both = (client.clone(), replica.clone());
    prop_oneof![
        3 => one.clone().prop_map(|(client, kind, name)| Step::Subscribe { client, kind, name }),
        2 => one.prop_map(|(client, kind, name)| Step::Unsubscribe { client, kind, name }),
        2 => (client.clone(), kind.clone(), 1..1u8 << NAMES)
            .prop_map(|(client, kind, names)| Step::Names { client, kind, names }),
        1 => (client.clone(), kind.clone()).prop_map(|(client, kind)| Step::Everything { client, kind }),
        1 => (client.clone(), kind.clone()).prop_map(|(client, kind)| Step::NotEverything { client, kind }),
        3 => (replica.clone(), kind.clone(), name, content())
            .prop_map(|(replica, kind, name, content)| Step::Change { replica, kind, name, content }),
        3 => (replica.clone(), kind, contents)
            .prop_map(|(replica, kind, contents)| Step::Changes { replica, kind, contents }),
        2 => replica.prop_map(|from| Step::Same { from }),
        5 => client.clone().prop_map(|client| Step::Send { client }),
        5 => client.clone().prop_map(|client| Step::Hear { client }),
        5 => client.clone().prop_map(|client| Step::Read { client }),
        5 => (client.clone(), 1..6usize).prop_map(|(client, times)| Step::RoundTrips { client, times }),
        1 => client.prop_map(|client| Step::Rest { client }),
        2 => both.prop_map(|(client, replica)| Step::Move { client, replica }),
    ]
}

/// What each client wants at first of each kind, and what each replica serves.
fn beginning() -> impl Strategy<Value = Vec<Step>> {
    let want = (0..CLIENTS, 0..KINDS.len(), 0..1u8 << NAMES, proptest::bool::weighted(0.3));
    let wants = want.prop_map(|(client, kind, names, everything)| match everything {
        true => Step::Everything { client, kind },
        false => Step::Names { client, kind, names },
    });
    let content = proptest::option::weighted(0.7, proptest::option::weighted(0.9, 0..CONTENTS));
    let serves = (0..2usize, 0..KINDS.len(), proptest::array::uniform5(content));
    let serves = serves.prop_map(|(replica, kind, contents)| Step::Changes { replica, kind, contents });
    let rests = (0..CLIENTS).prop_map(|client| Step::Rest { client });
    (
        proptest::collection::vec(wants, 0..40),
        proptest::collection::vec(serves, 0..12),
        proptest::collection::vec(rests, 0..12),
    )
        .prop_map(|(wants, serves, rests)| wants.into_iter().chain(serves).chain(rests).collect())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_client_ends_with_what_it_asked_for(
        beginning in beginning(),
        steps in proptest::collection::vec(step(), 1..100),
    ) {
        let mut world = World::new();
        for step in &beginning {
            world.step(step);
        }
        for step in &steps {
            world.step(step);
        }
        world.settle();
        world.check();
        world.end();
    }
}
