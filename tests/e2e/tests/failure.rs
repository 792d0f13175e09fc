//! What cannot be woken fails its clients with the reason, soon, and is tried again; what is too much is refused.

use std::net::TcpListener;

use serde_json::Value;
use zenvoy_e2e::cluster::Cluster;
use zenvoy_e2e::http::{Answer, get};
use zenvoy_e2e::load::{self, Open, Steady};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::{Installation, Mode};

/// Asks, and checks that the answer is a refusal with this reason.
async fn refused(zenvoy: &Installation, backend: &Backend, reason: &str) -> Value {
    let answer: Answer = get(zenvoy.node.http(), &backend.host(), "/").await.expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
    let body: Value = serde_json::from_str(&answer.body).expect("the reason is JSON");
    assert_eq!(body["reason"], reason, "{body}");
    assert_eq!(body["upstream"], backend.upstream().as_str(), "{body}");
    body
}

/// Waits until a backend's Service says `reason` in its status, and in an event.
async fn told(cluster: &Cluster, backend: &Backend, reason: &str) {
    let what = format!("{} tells {reason}", backend.name());
    until::so(&what, async || {
        let condition = backend
            .condition(cluster)
            .await
            .is_some_and(|condition| condition.status == "False" && condition.reason == reason);
        condition && backend.events(cluster).await.iter().any(|note| note.contains(reason))
    })
    .await;
}

#[test]
fn clients_of_what_cannot_start_are_told_why_and_served_once_it_is_repaired() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let fine = Backend::http("fine");
        let absent = Backend::http("absent").behaving("image-pull-error");
        let broken = Backend::http("broken").behaving("crash-loop");
        let queue = Backend::echo("queue", 5555).behaving("crash-loop");
        for backend in [&fine, &absent, &broken, &queue] {
            zenvoy.create(backend).await;
        }
        let load = Steady::start(&zenvoy.http(&fine, "/slow?ms=20"), 2);
        for (backend, reason, word) in
            [(&absent, "ImagePullFailed", "zenvoy.dev/test/backend:1"), (&broken, "CrashLoop", "exit code 1")]
        {
            let body = refused(&zenvoy, backend, reason).await;
            assert!(body["message"].as_str().is_some_and(|text| text.contains(word)), "{body}");
            told(&zenvoy.cluster, backend, reason).await;
            refused(&zenvoy, backend, reason).await;
        }
        let failed = load::once(&zenvoy.echo(5555)).await;
        assert!(failed.result.is_err(), "a TCP client is reset");

        for repaired in [Backend::http("absent"), Backend::http("broken"), Backend::echo("queue", 5555)] {
            repaired.repair(&zenvoy.cluster).await;
        }
        for request in [zenvoy.http(&absent, "/"), zenvoy.http(&broken, "/"), zenvoy.echo(5555)] {
            until::so("it is served after its repair", async || load::once(&request).await.result.is_ok())
                .await;
        }
        load.stop().await.assert_all_served();
        for backend in [&fine, &absent, &broken, &queue] {
            zenvoy.audit().assert_one_wake(backend.name(), 1);
        }
    });
}

#[test]
fn a_connection_is_held_until_its_deadline_and_not_beyond_the_limit() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let never = Backend::http("never").behaving("unready").set("wake-timeout", "2s");
        let few = Backend::http("few").behaving("slow-start=2000").set("max-held", "5");
        zenvoy.create(&never).await;
        zenvoy.create(&few).await;
        refused(&zenvoy, &never, "WakeDeadline").await;
        told(&zenvoy.cluster, &never, "WakeDeadline").await;

        let report = load::together(&zenvoy.http(&few, "/"), 20).await;
        let served = report.0.iter().filter(|record| record.result.is_ok()).count();
        let full = report.0.iter().filter_map(|record| record.result.as_ref().err());
        assert_eq!(served, 5, "as many as may be held");
        assert!(
            full.clone().count() == 15 && full.clone().all(|failure| failure.0.contains("503")),
            "{report:?}"
        );
        zenvoy.audit().assert_one_wake("few", 1);
        load::together(&zenvoy.http(&few, "/"), 20).await.assert_all_served();
    });
}

#[test]
fn a_port_in_use_on_a_node_is_told_of_the_upstream_that_asks_for_it_until_it_is_free() {
    in_namespace(async || {
        let zenvoy = Installation::start(Mode::Listen).await;
        let taken = TcpListener::bind(zenvoy.node.listener(5555)).expect("a port");
        let queue = Backend::echo("queue", 5555);
        queue.apply(&zenvoy.cluster).await;
        until::so("the Service and an event tell it", async || {
            let condition = queue.condition(&zenvoy.cluster).await;
            let refused = condition.is_some_and(|condition| condition.reason == "RefusedByEnvoy");
            refused && queue.event_reasons(&zenvoy.cluster).await.contains(&"RefusedByEnvoy".to_owned())
        })
        .await;
        drop(taken);
        until::so("it is offered again and taken", async || {
            load::once(&zenvoy.echo(5555)).await.result.is_ok()
        })
        .await;
        until::so("nothing is wrong any more", async || {
            queue.condition(&zenvoy.cluster).await.is_none_or(|condition| condition.status != "False")
        })
        .await;
    });
}

#[test]
fn what_never_became_ready_sleeps_again_once_nobody_waits_for_it() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let never = Backend::http("never").behaving("unready");
        let broken = Backend::http("broken").behaving("crash-loop");
        for (backend, reason, timeout) in [(&never, "WakeDeadline", "1s"), (&broken, "CrashLoop", "30s")] {
            zenvoy.create(&backend.clone().set("wake-timeout", timeout).set("idle-after", "2s")).await;
            refused(&zenvoy, backend, reason).await;
            zenvoy.until_cold(backend).await;
            refused(&zenvoy, backend, reason).await;
            zenvoy.until_cold(backend).await;
        }
        Backend::http("broken").repair(&zenvoy.cluster).await;
        until::so("it is served after its repair", async || {
            load::once(&zenvoy.http(&broken, "/")).await.result.is_ok()
        })
        .await;
    });
}

#[test]
fn a_client_that_goes_away_without_a_word_wakes_nothing_where_clients_speak_first() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let (web, mysql) = (Backend::http("web"), Backend::greeter("mysql", 3306));
        zenvoy.create(&web).await;
        zenvoy.create(&mysql).await;
        // Of TCP it is not known who speaks first: to connect is to ask.
        drop(Open::to(zenvoy.node.activator(&web).await).await);
        let silent = Open::to(zenvoy.node.listener(3306)).await;
        zenvoy.until_warm(&mysql).await;
        drop(silent);
        zenvoy.audit().assert_one_wake("mysql", 1);
        assert_eq!(zenvoy.audit().attempts("web"), 0, "nobody asked for it");
    });
}
