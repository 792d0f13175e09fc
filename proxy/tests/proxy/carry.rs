//! Envoy's ADS streams, carried as they are, in both forms; clients here speak as an Envoy does.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::until::done;
use zenvoy_proxy::Proxy;

use crate::controller::Controller;
use crate::world::{CONTROLLER, NODE, options};

type Client = AggregatedDiscoveryServiceClient<Channel>;

/// A proxy whose controller says back what it is sent, and a client of the proxy.
async fn carried() -> (Controller, Client, CancellationToken) {
    let controller = Controller::echo(CONTROLLER);
    let proxy = Proxy::bind(options()).await.expect("a proxy");
    let address = proxy.local_address().to_string();
    let stop = CancellationToken::new();
    tokio::spawn(proxy.run(stop.clone()));
    let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let channel = channel.connect().await.expect("a connection");
    (controller, Client::new(channel).max_decoding_message_size(usize::MAX), stop)
}

fn node() -> Option<Node> {
    Some(Node { id: NODE.into(), ..Default::default() })
}

fn sotw(type_url: &str, name: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        node: node(),
        type_url: type_url.into(),
        resource_names: vec![name.into()],
        ..Default::default()
    }
}

/// What comes back for one request in state-of-the-world form.
async fn said_back(client: &mut Client, request: DiscoveryRequest) -> Result<String, Status> {
    let (to, requests) = mpsc::channel(1);
    to.send(request).await.expect("room");
    let answers = client.stream_aggregated_resources(ReceiverStream::new(requests)).await?;
    let answer = done("an answer", answers.into_inner().message()).await?;
    Ok(answer.expect("an answer").version_info)
}

#[test]
fn both_forms_are_carried_and_so_are_messages_far_beyond_the_usual_limit() {
    in_namespace(async || {
        let (_controller, mut client, _stop) = carried().await;
        let large = "x".repeat(20 << 20);
        assert_eq!(said_back(&mut client, sotw("type", &large)).await.expect("an answer").len(), large.len());
        let (to, requests) = mpsc::channel(2);
        for (type_url, name) in [("first", "a"), ("second", "b")] {
            let request = DeltaDiscoveryRequest {
                node: node().filter(|_| type_url == "first"),
                type_url: type_url.into(),
                resource_names_subscribe: vec![name.into()],
                ..Default::default()
            };
            to.send(request).await.expect("room");
        }
        let answers = client.delta_aggregated_resources(ReceiverStream::new(requests)).await;
        let mut answers = answers.expect("a stream").into_inner();
        for (type_url, name) in [("first", "a"), ("second", "b")] {
            let answer = done("an answer", answers.message()).await.expect("no error").expect("an answer");
            assert_eq!((answer.type_url.as_str(), answer.system_version_info.as_str()), (type_url, name));
        }
    });
}

#[test]
fn a_stream_that_the_controller_refuses_is_refused_and_the_session_stands() {
    in_namespace(async || {
        let (controller, mut client, _stop) = carried().await;
        let refused = said_back(&mut client, sotw("refused", "")).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "refused"));
        assert_eq!(said_back(&mut client, sotw("type", "name")).await.expect("an answer"), "name");
        assert_eq!(controller.hellos(), 1);
    });
}

#[test]
fn a_stream_waits_for_a_session_and_ends_with_it() {
    in_namespace(async || {
        let (controller, mut client, _stop) = carried().await;
        drop(controller);
        let (to, requests) = mpsc::channel(1);
        to.send(sotw("type", "name")).await.expect("room");
        let mut waiting = Box::pin(client.stream_aggregated_resources(ReceiverStream::new(requests)));
        assert!(futures::poll!(&mut waiting).is_pending());
        let controller = Controller::echo(CONTROLLER);
        let mut answers = done("a stream", waiting).await.expect("a stream").into_inner();
        assert_eq!(
            done("an answer", answers.message()).await.expect("no error").expect("it").version_info,
            "name"
        );
        controller.kill();
        let ended = done("the end", answers.message()).await.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable);
    });
}
