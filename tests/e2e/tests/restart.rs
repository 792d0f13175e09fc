//! Parts are restarted or killed under a live installation: traffic goes on, and nothing is forgotten.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use zenvoy_e2e::load::{self, OpenStream, Steady};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::{Installation, Mode};

/// For how long the node has seen nothing of a backend.
async fn idle_for(zenvoy: &Installation, backend: &Backend) -> Option<Duration> {
    let upstream = zenvoy.node.upstream(backend).await?;
    Some(Duration::from_millis(upstream["activity"]["for_ms"].as_u64()?))
}

#[test]
fn a_controller_that_is_killed_and_comes_back_does_not_scale_down_what_is_in_use() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let [web, streamed, clock] =
            ["web", "streamed", "clock"].map(|name| Backend::http(name).set("idle-after", "2s"));
        for backend in [&web, &streamed, &clock] {
            zenvoy.create(backend).await;
        }
        let mut stream = OpenStream::of(&zenvoy.http(&streamed, "/stream?ms=50")).await.expect("a stream");
        let load = Steady::start(&zenvoy.http(&web, "/slow?ms=20"), 4);
        load::once(&zenvoy.http(&clock, "/")).await.served();
        for backend in [&web, &streamed, &clock] {
            zenvoy.until_warm(backend).await;
        }
        zenvoy.controller.process().kill().await;
        // Without a controller, warm services are served.
        load::together(&zenvoy.http(&clock, "/"), 20).await.assert_all_served();
        zenvoy.controller.start_again();
        zenvoy.controller.until_ready().await;
        // What nobody uses falls asleep: the new one sees idleness, and the time has passed.
        zenvoy.until_cold(&clock).await;
        stream.next().await.expect("the stream goes on");
        load.stop().await.assert_all_served();
        for backend in [&web, &streamed] {
            zenvoy.audit().assert_effective(backend.name(), &[(0, 1)]);
        }
        // And it still wakes what sleeps.
        load::once(&zenvoy.http(&clock, "/")).await.served();
        zenvoy.audit().assert_effective("clock", &[(0, 1), (1, 0), (0, 1)]);
    });
}

#[test]
fn a_restart_of_the_controller_does_not_forget_how_long_a_service_has_been_idle() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let web = Backend::http("web").set("idle-after", "12s");
        zenvoy.create(&web).await;
        load::once(&zenvoy.http(&web, "/")).await.served();
        let idle_since = Instant::now();
        until::so("idle for eight seconds", async || {
            idle_for(&zenvoy, &web).await.is_some_and(|idle| idle >= Duration::from_secs(8))
        })
        .await;
        zenvoy.controller.process().terminate().await;
        zenvoy.controller.start_again();
        zenvoy.controller.until_ready().await;
        zenvoy.until_cold(&web).await;
        let took = idle_since.elapsed();
        assert!(took >= Duration::from_secs(12), "not before its time: {took:?}");
        assert!(
            took < Duration::from_secs(19),
            "counted from the last request, not from the restart: {took:?}"
        );
        zenvoy.audit().assert_effective("web", &[(0, 1), (1, 0)]);
    });
}

#[test]
fn a_killed_proxy_loses_only_what_ran_through_it_and_its_successor_wakes_services() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let [web, cold] = ["web", "cold"].map(Backend::http);
        zenvoy.create(&web).await;
        zenvoy.create(&cold).await;
        load::once(&zenvoy.http(&web, "/")).await.served();
        zenvoy.until_warm(&web).await;
        let mut stream = OpenStream::of(&zenvoy.http(&web, "/stream?ms=50")).await.expect("a stream");
        let load = Steady::start(&zenvoy.http(&web, "/slow?ms=20"), 4);
        zenvoy.node.proxy().kill().await;
        load::together(&zenvoy.http(&web, "/"), 20).await.assert_all_served();
        zenvoy.node.start_proxy_again();
        zenvoy.node.until_ready().await;
        load::once(&zenvoy.http(&cold, "/")).await.served();
        stream.next().await.expect("the stream goes on");
        load.stop().await.assert_all_served();
        zenvoy.audit().assert_one_wake("web", 1);
        zenvoy.audit().assert_one_wake("cold", 1);
    });
}

#[test]
fn what_arrives_at_a_proxy_that_has_just_started_waits_until_it_knows_for_whom_it_is() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let (web, queue) = (Backend::http("web"), Backend::echo("queue", 5555));
        zenvoy.create(&web).await;
        zenvoy.create(&queue).await;
        // It tells nobody anything, until it goes on.
        zenvoy.controller.process().signal(Signal::SIGSTOP);
        zenvoy.node.proxy().kill().await;
        zenvoy.node.start_proxy_again();
        until::so("the proxy runs", async || zenvoy.node.try_status().await.is_some()).await;
        let requests = load::all([zenvoy.http(&web, "/"), zenvoy.echo(5555)]);
        let goes_on = async {
            until::so("Envoy has connected to the proxy", async || {
                let clusters = zenvoy.node.envoy_says("/clusters").await.unwrap_or_default();
                let connected = |backend: &Backend| {
                    let of = |line: &str| line.starts_with(&backend.upstream());
                    clusters.lines().any(|line| of(line) && line.ends_with("::cx_active::1"))
                };
                connected(&web) && connected(&queue)
            })
            .await;
            zenvoy.controller.process().signal(Signal::SIGCONT);
        };
        let (report, ()) = tokio::join!(requests, goes_on);
        report.assert_all_served();
    });
}

#[test]
fn etcd_and_the_api_server_may_restart_under_a_live_installation() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let [web, first, second] = ["web", "first", "second"].map(Backend::http);
        for backend in [&web, &first, &second] {
            zenvoy.create(backend).await;
        }
        let load = Steady::start(&zenvoy.http(&web, "/slow?ms=20"), 2);
        zenvoy.until_warm(&web).await;
        zenvoy.etcd.restart().await;
        load::once(&zenvoy.http(&first, "/")).await.served();
        zenvoy.cluster.restart_api().await;
        load::once(&zenvoy.http(&second, "/")).await.served();
        load.stop().await.assert_all_served();
        for backend in [&web, &first, &second] {
            zenvoy.audit().assert_effective(backend.name(), &[(0, 1)]);
        }
    });
}

#[test]
fn a_killed_envoy_comes_back_to_what_it_had_and_services_go_on_to_sleep_and_wake() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let web = Backend::http("web").set("idle-after", "1s");
        let queue = Backend::echo("queue", 5555).set("idle-after", "1s");
        zenvoy.create(&web).await;
        zenvoy.create(&queue).await;
        let requests = [zenvoy.http(&web, "/"), zenvoy.echo(5555)];
        load::all(requests.iter().cloned()).await.assert_all_served();
        zenvoy.node.envoy().kill().await;
        zenvoy.node.start_envoy_again();
        zenvoy.node.until_ready().await;
        for _ in 0..2 {
            load::all(requests.iter().cloned()).await.assert_all_served();
            zenvoy.until_cold(&web).await;
            zenvoy.until_cold(&queue).await;
        }
        zenvoy.node.assert_nothing_refused().await;
        for backend in [&web, &queue] {
            let changes = zenvoy.audit().effective(backend.name());
            let expected: Vec<(u64, u64)> =
                [(0, 1), (1, 0)].into_iter().cycle().take(changes.len()).collect();
            assert_eq!(changes, expected, "{}", backend.name());
        }
    });
}

#[test]
fn envoy_is_hot_restarted_under_load_and_nothing_sleeps_while_two_of_them_live() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        zenvoy.node.envoy().terminate().await;
        drop(zenvoy.node.start_envoy_epoch(0));
        zenvoy.node.until_ready().await;
        let [web, cold, clock] =
            ["web", "cold", "clock"].map(|name| Backend::http(name).set("idle-after", "1s"));
        for backend in [&web, &cold, &clock] {
            zenvoy.create(backend).await;
        }
        let load = Steady::start(&zenvoy.http(&web, "/slow?ms=20"), 4);
        load::once(&zenvoy.http(&clock, "/")).await.served();
        zenvoy.until_warm(&clock).await;

        let mut before = zenvoy.node.start_envoy_epoch(1);
        until::so("both Envoys speak to the proxy", async || zenvoy.node.status().await["envoys"] == 2).await;
        load::once(&zenvoy.http(&cold, "/")).await.served();
        assert!(before.end().await.success(), "{}", before.log());
        // Rule N5: what two Envoys say together is no proof.
        zenvoy.audit().assert_effective("clock", &[(0, 1)]);
        for backend in [&cold, &clock] {
            zenvoy.until_cold(backend).await;
        }
        load::once(&zenvoy.http(&clock, "/")).await.served();
        load.stop().await.assert_all_served();
        zenvoy.audit().assert_effective("web", &[(0, 1)]);
    });
}
