//! Protocols whose connections last: WebSocket and gRPC, by clients of their own.

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use zenvoy_e2e::load;
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::zenvoy::{Installation, Mode};

/// A service beside the one at hand falls asleep twice meanwhile: the idle time has passed, and idleness is seen.
async fn while_others_fall_asleep(zenvoy: &mut Installation, clock: &Backend) {
    for _ in 0..2 {
        load::once(&zenvoy.http(clock, "/")).await.served();
        zenvoy.until_cold(clock).await;
    }
}

async fn websocket(zenvoy: &Installation, backend: &Backend) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(zenvoy.node.http()).await.expect("connect to Envoy");
    let (socket, answer) =
        client_async(format!("ws://{}/ws", backend.host()), stream).await.expect("a WebSocket");
    assert_eq!(answer.status(), 101);
    socket
}

async fn say(socket: &mut WebSocketStream<TcpStream>, word: &str) {
    socket.send(Message::text(word)).await.expect("send a message");
    let answer = socket.next().await.expect("a message").expect("a message");
    assert_eq!(answer, Message::text(word));
}

async fn grpc(zenvoy: &Installation, backend: &Backend) -> HealthClient<Channel> {
    let envoy = Endpoint::from_shared(format!("http://{}", zenvoy.node.http())).expect("a URI");
    let origin = format!("http://{}", backend.host()).parse().expect("a URI");
    let channel = envoy.origin(origin).connect().await.expect("connect to Envoy");
    HealthClient::new(channel)
}

fn asked() -> HealthCheckRequest {
    HealthCheckRequest { service: String::new() }
}

#[test]
fn a_websocket_wakes_its_service_and_keeps_it_up_until_it_is_closed() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Tproxy).await;
        let [chat, clock] = ["chat", "clock"].map(|name| Backend::http(name).set("idle-after", "1s"));
        zenvoy.create(&chat).await;
        zenvoy.create(&clock).await;
        let mut cold = websocket(&zenvoy, &chat).await;
        say(&mut cold, "opened while it slept").await;
        zenvoy.until_warm(&chat).await;
        let mut warm = websocket(&zenvoy, &chat).await;
        say(&mut warm, "opened while it was up").await;
        while_others_fall_asleep(&mut zenvoy, &clock).await;
        say(&mut cold, "still here").await;
        drop(cold);
        while_others_fall_asleep(&mut zenvoy, &clock).await;
        say(&mut warm, "still here").await;
        zenvoy.audit().assert_effective("chat", &[(0, 1)]);
        drop(warm);
        zenvoy.until_cold(&chat).await;
    });
}

#[test]
fn a_grpc_call_wakes_its_service_and_an_open_stream_keeps_it_up() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let health = Backend::grpc("health").set("idle-after", "1s");
        let clock = Backend::http("clock").set("idle-after", "1s");
        zenvoy.create(&health).await;
        zenvoy.create(&clock).await;
        let mut client = grpc(&zenvoy, &health).await;
        let answer = client.check(asked()).await.expect("the cold service answers").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
        zenvoy.until_cold(&health).await;

        let mut stream = client.watch(asked()).await.expect("the cold service streams").into_inner();
        let first = stream.message().await.expect("a message").expect("a message");
        assert_eq!(first.status(), ServingStatus::Serving);
        zenvoy.until_warm(&health).await;
        client.check(asked()).await.expect("the same connection goes on beside the stream");
        while_others_fall_asleep(&mut zenvoy, &clock).await;
        zenvoy.audit().assert_effective("health", &[(0, 1), (1, 0), (0, 1)]);
        drop(stream);
        zenvoy.until_cold(&health).await;
    });
}

#[test]
fn a_grpc_call_to_what_cannot_start_fails_with_unavailable_and_the_reason() {
    in_namespace(async || {
        let mut zenvoy = Installation::start(Mode::Listen).await;
        let broken = Backend::grpc("broken").behaving("crash-loop");
        zenvoy.create(&broken).await;
        let status = grpc(&zenvoy, &broken).await.check(asked()).await.expect_err("it cannot start");
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("CrashLoop"), "{status}");
    });
}
