//! An idle service goes to zero; whatever is open keeps it up.

use zenvoy_e2e::load::{self, Open, OpenStream};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::zenvoy::{Installation, Mode};

#[test]
fn an_idle_service_goes_to_zero_and_wakes_again_with_as_many_replicas_as_it_had() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let (web, grpc) = (Backend::http("web"), Backend::http2("grpc").stateful());
        let (queue, mysql) = (Backend::echo("queue", 5555), Backend::greeter("mysql", 3306));
        let [web, grpc, queue, mysql] =
            [web, grpc, queue, mysql].map(|backend| backend.set("idle-after", "1s"));
        let requests =
            [zenvoy.http(&web, "/"), zenvoy.http2(&grpc, "/"), zenvoy.echo(5555), zenvoy.greeting(3306)];
        for backend in [&web, &grpc, &queue, &mysql] {
            zenvoy.create(backend).await;
        }
        for round in 0..3 {
            load::all(requests.iter().cloned()).await.assert_all_served();
            if round == 1 {
                web.scale(&zenvoy.cluster, 2).await;
            }
            for backend in [&web, &grpc, &queue, &mysql] {
                zenvoy.until_cold(backend).await;
            }
        }
        let audit = zenvoy.audit();
        audit.assert_effective("web", &[(0, 1), (1, 0), (0, 1), (2, 0), (0, 2), (2, 0)]);
        for backend in [&grpc, &queue, &mysql] {
            audit.assert_effective(backend.name(), &[(0, 1), (1, 0), (0, 1), (1, 0), (0, 1), (1, 0)]);
        }
    });
}

#[test]
fn an_open_stream_or_connection_keeps_its_service_up_until_it_is_closed() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let [cold_web, warm_web, clock] =
            ["cold-web", "warm-web", "clock"].map(|name| Backend::http(name).set("idle-after", "1s"));
        let [cold_queue, warm_queue] = [("cold-queue", 5555), ("warm-queue", 6666)]
            .map(|(name, port)| Backend::echo(name, port).set("idle-after", "1s"));
        let held_up = [&cold_web, &warm_web, &cold_queue, &warm_queue];
        for backend in held_up.into_iter().chain([&clock]) {
            zenvoy.create(backend).await;
        }
        // Opened while cold, they run through the proxy for as long as they last; opened while warm, past it.
        let mut cold_stream =
            OpenStream::of(&zenvoy.http(&cold_web, "/stream?ms=50")).await.expect("a stream");
        let mut cold_connection = Open::to(zenvoy.node.listener(5555)).await;
        cold_connection.say("hello").await.expect("an echo");
        load::all([zenvoy.http(&warm_web, "/"), zenvoy.echo(6666)]).await.assert_all_served();
        zenvoy.until_warm(&warm_web).await;
        zenvoy.until_warm(&warm_queue).await;
        let mut warm_stream =
            OpenStream::of(&zenvoy.http(&warm_web, "/stream?ms=50")).await.expect("a stream");
        let mut warm_connection = Open::to(zenvoy.node.listener(6666)).await;
        warm_connection.say("hello").await.expect("an echo");

        for (backend, relayed) in [(&cold_web, 1), (&cold_queue, 1), (&warm_web, 0), (&warm_queue, 0)] {
            assert_eq!(zenvoy.node.relayed_now(backend).await, relayed, "{}", backend.name());
        }

        // A service beside them falls asleep three times meanwhile: the time has passed, and idleness is seen.
        for _ in 0..3 {
            load::once(&zenvoy.http(&clock, "/")).await.served();
            zenvoy.until_cold(&clock).await;
        }
        for stream in [&mut cold_stream, &mut warm_stream] {
            stream.next().await.expect("the stream goes on");
        }
        for connection in [&mut cold_connection, &mut warm_connection] {
            connection.say("still here").await.expect("the connection goes on");
        }
        for backend in held_up {
            zenvoy.audit().assert_effective(backend.name(), &[(0, 1)]);
        }
        drop((cold_stream, warm_stream, cold_connection, warm_connection));
        for backend in held_up {
            zenvoy.until_cold(backend).await;
            zenvoy.audit().assert_effective(backend.name(), &[(0, 1), (1, 0)]);
        }
    });
}

#[test]
fn two_services_on_one_workload_wake_it_once_and_it_sleeps_when_both_are_idle() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let shop = Backend::http("shop").set("idle-after", "1s");
        let front = shop.clone().named("front").set("target", "Deployment/shop");
        let clock = Backend::http("clock").set("idle-after", "1s");
        zenvoy.create(&shop).await;
        front.apply_service(&zenvoy.cluster).await;
        zenvoy.until_known(&front).await;
        zenvoy.create(&clock).await;
        load::all([zenvoy.http(&shop, "/"), zenvoy.http(&front, "/")]).await.assert_all_served();
        zenvoy.audit().assert_one_wake("shop", 1);

        let mut stream = OpenStream::of(&zenvoy.http(&front, "/stream?ms=50")).await.expect("a stream");
        for _ in 0..2 {
            load::once(&zenvoy.http(&clock, "/")).await.served();
            zenvoy.until_cold(&clock).await;
        }
        stream.next().await.expect("the stream goes on");
        zenvoy.audit().assert_one_wake("shop", 1);
        drop(stream);
        zenvoy.until_cold(&shop).await;
        load::once(&zenvoy.http(&front, "/")).await.served();
        zenvoy.audit().assert_effective("shop", &[(0, 1), (1, 0), (0, 1)]);
    });
}
