//! A warm service pays nothing: its traffic goes past the proxy, and no request is lost on the way there.

use zenvoy_e2e::load::{self, Steady};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until;
use zenvoy_e2e::zenvoy::{Installation, Mode};

#[test]
fn after_the_switch_no_byte_passes_the_proxy_and_no_request_failed_on_the_way() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let (web, grpc) = (Backend::http("web"), Backend::http2("grpc"));
        let (queue, mysql) = (Backend::echo("queue", 5555), Backend::greeter("mysql", 3306));
        let backends = [&web, &grpc, &queue, &mysql];
        for backend in backends {
            zenvoy.create(backend).await;
        }
        // Under load from the first, cold, request on.
        let requests =
            [zenvoy.http(&web, "/"), zenvoy.http2(&grpc, "/"), zenvoy.echo(5555), zenvoy.greeting(3306)];
        let loads: Vec<Steady> = requests.iter().map(|request| Steady::start(request, 4)).collect();
        for backend in backends {
            zenvoy.until_warm(backend).await;
        }
        // What was relayed before the switch may still end.
        let mut before = Vec::new();
        for backend in backends {
            until::so("relayed connections have ended", async || zenvoy.node.relayed_now(backend).await == 0)
                .await;
            let relayed = zenvoy.node.relayed_bytes(backend).await;
            assert!(relayed > 0, "the first connections of {} were relayed", backend.name());
            before.push(relayed);
        }
        let after: Vec<_> = requests.iter().map(|request| load::together(request, 50)).collect();
        for report in futures::future::join_all(after).await {
            report.assert_all_served();
        }
        for load in loads {
            load.stop().await.assert_all_served();
        }
        for (backend, before) in backends.iter().zip(before) {
            let passed = zenvoy.node.relayed_bytes(backend).await - before;
            assert_eq!(passed, 0, "bytes of {} passed the proxy after the switch", backend.name());
            zenvoy.audit().assert_one_wake(backend.name(), 1);
        }
    });
}

#[test]
fn traffic_follows_the_pods_as_they_come_and_go_while_a_service_is_warm() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let web = Backend::http("web");
        zenvoy.create(&web).await;
        load::once(&zenvoy.http(&web, "/")).await.served();
        zenvoy.until_warm(&web).await;
        web.scale(&zenvoy.cluster, 3).await;
        until::so("three pods answer", async || {
            load::together(&zenvoy.http(&web, "/"), 30).await.pods().len() == 3
        })
        .await;
        web.scale(&zenvoy.cluster, 1).await;
        until::so("one pod is left", async || web.pods(&zenvoy.cluster).await.len() == 1).await;
        until::so("Envoy knows one pod", async || zenvoy.node.envoy_endpoints(&web).await.len() == 1).await;
        let report = load::together(&zenvoy.http(&web, "/"), 30).await;
        report.assert_all_served();
        assert_eq!(report.pods().len(), 1);
        zenvoy.audit().assert_one_wake("web", 1);
    });
}
