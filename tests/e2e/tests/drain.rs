//! A connection that arrives while its service goes to zero is served, at whichever step it arrives.

use std::time::Duration;

use futures::future::join_all;
use zenvoy_e2e::load::{self, Request};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::store::Records;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::{Installation, Mode};

/// How far a drain is when a connection arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Traffic goes to the activator; nothing is decided.
    Offered,
    /// Decided, perhaps not yet carried out.
    Committed,
    /// Scaled to zero; the pods are ending.
    Ending,
    /// Nothing is left.
    Done,
}

const STEPS: [Step; 4] = [Step::Offered, Step::Committed, Step::Ending, Step::Done];

/// A backend that drains soon, and whose pods take their time to end.
fn slow_to_end(backend: Backend) -> Backend {
    backend.set("idle-after", "1s").with("--linger=1500")
}

/// Wakes a backend, lets it drain, and sends a request as soon as the drain is at `step`.
async fn arrive_at(zenvoy: &Installation, backend: &Backend, request: &Request, step: Step) {
    let mut drain = Records::of(&zenvoy.etcd).await.follow_drain(backend).await;
    let first = load::once(request).await;
    first.served();
    match step {
        Step::Offered => drop(drain.until_state("offered").await),
        Step::Committed => drop(drain.until_state("committed").await),
        Step::Ending => {
            until::so("scaled to zero", async || {
                zenvoy.audit().effective(backend.name()).last() == Some(&(1, 0))
            })
            .await;
        }
        Step::Done => drop(drain.until_state("done").await),
    }
    let second = load::once(request).await;
    second.served();
    let changes = zenvoy.audit().effective(backend.name());
    if step == Step::Offered {
        drain.until_state("cancelled").await;
        assert_eq!(
            changes,
            [(0, 1)],
            "{step:?} of {}: the drain is cancelled, nothing is scaled",
            backend.name()
        );
        assert_eq!(first.pod(), second.pod(), "the pod that was there serves it");
    } else {
        assert_eq!(changes, [(0, 1), (1, 0), (0, 1)], "{step:?} of {}", backend.name());
        if first.pod().is_some() {
            assert_ne!(first.pod(), second.pod(), "{step:?}: never a condemned pod");
        }
    }
}

async fn every_step_serves(mode: Mode) {
    let mut zenvoy = Installation::start(mode).await;
    let mut cases = Vec::new();
    for (port, step) in (5000..).zip(STEPS) {
        let name = format!("{step:?}").to_lowercase();
        let web = slow_to_end(Backend::http(&format!("web-{name}")));
        let queue = slow_to_end(Backend::echo(&format!("queue-{name}"), port));
        let requests = [zenvoy.http(&web, "/"), zenvoy.echo(port)];
        for (backend, request) in [web, queue].into_iter().zip(requests) {
            zenvoy.create(&backend).await;
            cases.push((backend, request, step));
        }
    }
    let zenvoy = &zenvoy;
    join_all(cases.iter().map(|(backend, request, step)| arrive_at(zenvoy, backend, request, *step))).await;
    zenvoy.node.assert_nothing_refused().await;
}

#[test]
fn a_connection_that_arrives_at_any_step_of_a_drain_is_served_in_transparent_mode() {
    in_namespace(async || every_step_serves(Mode::Tproxy).await);
}

#[test]
fn a_connection_that_arrives_at_any_step_of_a_drain_is_served_in_listen_mode() {
    in_namespace(async || every_step_serves(Mode::Listen).await);
}

#[test]
fn requests_at_all_distances_from_idleness_are_served_and_every_wake_is_one_write() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let backends = [
            Backend::http("web").set("idle-after", "1s"),
            Backend::http2("grpc").set("idle-after", "1s"),
            Backend::echo("queue", 5555).set("idle-after", "1s"),
        ];
        let requests = [zenvoy.http(&backends[0], "/"), zenvoy.http2(&backends[1], "/"), zenvoy.echo(5555)];
        for backend in &backends {
            zenvoy.create(backend).await;
        }
        // Pauses around the moment at which a drain is offered, proven, committed and carried out.
        let pauses = (0..16_u64).map(|number| Duration::from_millis(900 + 150 * number));
        let clients = requests.iter().map(async |request| {
            for pause in pauses.clone() {
                load::once(request).await.served();
                tokio::time::sleep(pause).await;
            }
        });
        join_all(clients).await;
        for backend in &backends {
            zenvoy.until_cold(backend).await;
            let changes = zenvoy.audit().effective(backend.name());
            let expected: Vec<(u64, u64)> =
                [(0, 1), (1, 0)].into_iter().cycle().take(changes.len()).collect();
            assert_eq!(changes, expected, "{}", backend.name());
            assert!(changes.len() >= 4, "{} slept in between: {changes:?}", backend.name());
        }
    });
}
