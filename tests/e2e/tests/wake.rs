//! A cold service is woken by its first connection, once, however many come.

use zenvoy_e2e::load;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::zenvoy::{Installation, Mode};

async fn every_protocol_is_woken(mode: Mode) {
    let mut zenvoy = Installation::start(mode).await;
    let http = Backend::http("web");
    let http2 = Backend::http2("grpc");
    let echo = Backend::echo("queue", 5555).stateful();
    let greeter = Backend::greeter("mysql", 3306);
    let ipv6 = Backend::http("six").ipv6();
    let backends = [&http, &http2, &echo, &greeter, &ipv6];
    for backend in backends {
        zenvoy.create(backend).await;
    }
    let requests = [
        zenvoy.http(&http, "/first"),
        zenvoy.http2(&http2, "/first"),
        zenvoy.echo(5555),
        zenvoy.greeting(3306),
        zenvoy.http(&ipv6, "/first"),
    ];
    load::all(requests).await.assert_all_served();
    for backend in backends {
        zenvoy.audit().assert_one_wake(backend.name(), 1);
    }
    zenvoy.node.assert_nothing_refused().await;
}

#[test]
fn cold_http_and_tcp_services_answer_their_first_connection_in_transparent_mode() {
    in_namespace(async || every_protocol_is_woken(Mode::Tproxy).await);
}

#[test]
fn cold_http_and_tcp_services_answer_their_first_connection_in_listen_mode() {
    in_namespace(async || every_protocol_is_woken(Mode::Listen).await);
}

#[test]
fn two_hundred_clients_of_one_cold_service_are_all_served_by_one_scale_write() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let cart = Backend::http("cart").set("wake-replicas", "2").behaving("slow-start=500");
        let queue = Backend::echo("queue", 5555).behaving("slow-start=500");
        zenvoy.create(&cart).await;
        zenvoy.create(&queue).await;
        let of_cart = std::iter::repeat_n(zenvoy.http(&cart, "/"), 200);
        let of_queue = std::iter::repeat_n(zenvoy.echo(5555), 200);
        load::all(of_cart.chain(of_queue)).await.assert_all_served();
        zenvoy.audit().assert_one_wake("cart", 2);
        zenvoy.audit().assert_one_wake("queue", 1);
    });
}

#[test]
fn fifty_cold_services_at_once_take_fifty_scale_writes() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let backends: Vec<Backend> = (0..50).map(|number| Backend::http(&format!("shop-{number}"))).collect();
        for backend in &backends {
            backend.apply(&zenvoy.cluster).await;
        }
        for backend in &backends {
            zenvoy.until_known(backend).await;
        }
        load::all(backends.iter().map(|backend| zenvoy.http(backend, "/"))).await.assert_all_served();
        let audit = zenvoy.audit();
        for backend in &backends {
            audit.assert_one_wake(backend.name(), 1);
        }
        zenvoy.node.assert_nothing_refused().await;
    });
}
