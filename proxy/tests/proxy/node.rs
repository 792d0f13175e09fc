//! What people see of a node, and what its start refuses.

use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until::{done, some};
use zenvoy_proxy::{Proxy, ProxyOptions};

use crate::resources::Upstream;
use crate::world::{World, begin, get, options};

#[test]
fn health_readiness_status_and_metrics_are_served() {
    in_namespace(async || {
        let cart = Upstream::http();
        let world = World::start(&[&cart]).await;
        let _held = begin(cart.activator, "/").await;
        world.controller.until_demanded(&[cart.name]).await;
        for path in ["/healthz", "/readyz"] {
            let answer = get(world.admin, path).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        let status = get(world.admin, "/status").await.expect("an answer");
        let status: serde_json::Value =
            serde_json::from_str(status.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
        assert_eq!(status["node"], "node-1");
        assert_eq!(status["session"]["state"], "open");
        let row = &status["upstreams"][0];
        assert_eq!((row["upstream"].as_str(), row["verdict"].as_str()), (Some(cart.name), Some("hold")));
        assert_eq!(
            (&row["connections"]["held_now"], &row["activity"]["state"]),
            (&1.into(), &"active".into())
        );
        assert!(row["demand"]["traceparent"].is_string());
        let metrics = get(world.admin, "/metrics").await.expect("an answer");
        for line in [
            "zenvoy_proxy_connections_held{upstream=\"shop/cart:80\"} 1",
            "zenvoy_proxy_arrived_total{upstream=\"shop/cart:80\"} 1",
            "zenvoy_proxy_session_open 1",
            "zenvoy_proxy_accepted_total 1",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
        }
    });
}

#[test]
fn a_proxy_without_a_controller_is_alive_and_not_ready() {
    in_namespace(async || {
        let proxy = Proxy::bind(options()).await.expect("a proxy");
        let admin = proxy.admin_address().expect("an address");
        let stop = tokio_util::sync::CancellationToken::new();
        let running = tokio::spawn(proxy.run(stop.clone()));
        assert!(get(admin, "/healthz").await.expect("an answer").starts_with("HTTP/1.1 200 "));
        assert!(get(admin, "/readyz").await.expect("an answer").starts_with("HTTP/1.1 503 "));
        some("the reason in the status", async || {
            get(admin, "/status").await.ok()?.contains("Connection refused").then_some(())
        })
        .await;
        stop.cancel();
        done("its end", running).await.expect("no panic").expect("all parts live");
    });
}

#[test]
fn what_is_wrong_at_the_start_is_named_with_what_to_do() {
    in_namespace(async || {
        let none = Proxy::bind(ProxyOptions { controllers: vec![], ..options() }).await.unwrap_err();
        assert!(none.to_string().contains("--controller"), "{none}");
        let _first = Proxy::bind(options()).await.expect("a proxy");
        let second = Proxy::bind(options()).await.unwrap_err();
        assert!(second.to_string().contains("127.0.0.1:18001"), "{second}");
    });
}
