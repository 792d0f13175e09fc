//! The rules, one test each, on a hub with streams of either variant.

mod again;
mod applied;
mod delta;
mod encoded;
mod hostile;
mod limits;
mod order;
mod returning;
mod sotw;
mod stale;

use bytes::BytesMut;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status;
use prost::Message;

use super::*;

const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const SDS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

fn set(type_url: &str, name: &str, content: &str) -> Change {
    Change::set(type_url, name, content.to_owned())
}

fn message<M: Message + Default>(response: Response) -> M {
    let mut bytes = BytesMut::with_capacity(response.encoded_len());
    response.into_pieces().for_each(|piece| bytes.extend_from_slice(&piece));
    M::decode(bytes.freeze()).expect("a response decodes")
}

fn refusal(message: &str) -> Option<Status> {
    Some(Status { message: message.into(), ..Status::default() })
}

/// A hub and one delta stream.
struct Delta {
    hub: Hub,
    id: StreamId,
}

impl Delta {
    fn new() -> Self {
        Self::over(Hub::new(Limits::default(), String::new()))
    }

    fn over(mut hub: Hub) -> Self {
        let id = hub.open("node".into(), Variant::Delta, None).expect("room");
        Self { hub, id }
    }

    fn set(&mut self, type_url: &str, name: &str, content: &str) {
        self.hub.apply([set(type_url, name, content)]);
    }

    fn remove(&mut self, type_url: &str, name: &str) {
        self.hub.apply([Change::remove(type_url, name)]);
    }

    fn request(&mut self, type_url: &str, fill: impl FnOnce(&mut DeltaDiscoveryRequest)) -> Option<Answer> {
        let mut request = DeltaDiscoveryRequest { type_url: type_url.into(), ..Default::default() };
        fill(&mut request);
        self.hub.delta(self.id, request, true).expect("a good request")
    }

    fn ask(&mut self, type_url: &str, names: &[&str]) {
        self.request(type_url, |request| {
            request.resource_names_subscribe = names.iter().map(ToString::to_string).collect();
        });
    }

    fn unask(&mut self, type_url: &str, names: &[&str]) {
        self.request(type_url, |request| {
            request.resource_names_unsubscribe = names.iter().map(ToString::to_string).collect();
        });
    }

    fn has(&mut self, type_url: &str, names: &[&str], has: &[(&str, &str)]) {
        self.request(type_url, |request| {
            request.resource_names_subscribe = names.iter().map(ToString::to_string).collect();
            let version = |content: &str| Version::of(content.as_bytes()).to_string();
            request.initial_resource_versions =
                has.iter().map(|(name, content)| ((*name).to_owned(), version(content))).collect();
        });
    }

    fn next(&mut self) -> Option<DeltaDiscoveryResponse> {
        self.hub.poll(self.id).map(message)
    }

    fn ack(&mut self, response: &DeltaDiscoveryResponse) -> Option<Answer> {
        self.request(&response.type_url, |request| request.response_nonce.clone_from(&response.nonce))
    }

    fn nack(&mut self, response: &DeltaDiscoveryResponse, message: &str) -> Option<Answer> {
        self.request(&response.type_url, |request| {
            request.response_nonce.clone_from(&response.nonce);
            request.error_detail = refusal(message);
        })
    }

    /// The next response, applied.
    fn acked(&mut self) -> DeltaDiscoveryResponse {
        let response = self.next().expect("a response");
        self.ack(&response);
        response
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

/// What a response sets and removes.
fn told(response: &DeltaDiscoveryResponse) -> (Vec<&str>, Vec<&str>) {
    (names(response), response.removed_resources.iter().map(String::as_str).collect())
}

/// A hub and one state-of-the-world stream.
struct Sotw {
    hub: Hub,
    id: StreamId,
}

impl Sotw {
    fn new() -> Self {
        Self::over(Hub::new(Limits::default(), String::new()))
    }

    fn over(mut hub: Hub) -> Self {
        let id = hub.open("node".into(), Variant::StateOfTheWorld, None).expect("room");
        Self { hub, id }
    }

    fn set(&mut self, type_url: &str, name: &str, content: &str) {
        self.hub.apply([set(type_url, name, content)]);
    }

    fn remove(&mut self, type_url: &str, name: &str) {
        self.hub.apply([Change::remove(type_url, name)]);
    }

    fn request(&mut self, type_url: &str, fill: impl FnOnce(&mut DiscoveryRequest)) -> Option<Answer> {
        let mut request = DiscoveryRequest { type_url: type_url.into(), ..Default::default() };
        fill(&mut request);
        self.hub.sotw(self.id, request, true).expect("a good request")
    }

    /// Asks for exactly `names`, as of the response `nonce`.
    fn ask(&mut self, type_url: &str, names: &[&str], nonce: &str) -> Option<Answer> {
        self.request(type_url, |request| {
            request.resource_names = names.iter().map(ToString::to_string).collect();
            request.response_nonce = nonce.into();
        })
    }

    /// As [`Self::ask`], on a new stream by a client that has `version`.
    fn come_back(&mut self, type_url: &str, names: &[&str], version: &str) {
        self.hub.close(self.id);
        self.id = self.hub.open("node".into(), Variant::StateOfTheWorld, None).expect("room");
        self.request(type_url, |request| {
            request.resource_names = names.iter().map(ToString::to_string).collect();
            request.version_info = version.into();
        });
    }

    fn refuse(&mut self, response: &DiscoveryResponse, names: &[&str], message: &str) -> Option<Answer> {
        self.request(&response.type_url, |request| {
            request.resource_names = names.iter().map(ToString::to_string).collect();
            request.response_nonce.clone_from(&response.nonce);
            request.error_detail = refusal(message);
        })
    }

    fn next(&mut self) -> Option<DiscoveryResponse> {
        self.hub.poll(self.id).map(message)
    }

    /// The next response, applied by a client that asks for `names`.
    fn acked(&mut self, names: &[&str]) -> DiscoveryResponse {
        let response = self.next().expect("a response");
        self.ask(&response.type_url, names, &response.nonce);
        response
    }
}

/// What a response holds, sorted.
fn contents(response: &DiscoveryResponse) -> Vec<String> {
    let text =
        |any: &envoy_types::pb::google::protobuf::Any| String::from_utf8_lossy(&any.value).into_owned();
    let mut all: Vec<String> = response.resources.iter().map(text).collect();
    all.sort();
    all
}
