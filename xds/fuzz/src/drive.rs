//! Any bytes as a life of a server: requests as they come from the wire, requests made up from the bytes, changes of
//! content, sends and disconnects. Nothing may panic, no response may be made for ever, and in the end nothing may be
//! kept.

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;
use prost::Message;
use zenvoy_xds::core::{Change, Hub, Limits, StreamId, TypeUrl, Variant};

const TYPES: [&str; 4] = [
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "custom.Type",
];
const NAMES: [&str; 5] = ["*", "a", "b", "c", ""];

/// Takes bytes from the front; zeros when there are none left.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn names(&mut self) -> Vec<String> {
        let bits = self.byte();
        let picked = NAMES.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        picked.map(|(_, name)| (*name).to_owned()).collect()
    }

    fn raw(&mut self) -> &[u8] {
        let length = self.byte().min(self.0.len());
        let (raw, rest) = self.0.split_at(length);
        self.0 = rest;
        raw
    }

    fn delta(&mut self) -> DeltaDiscoveryRequest {
        let refuses = self.byte().is_multiple_of(4);
        DeltaDiscoveryRequest {
            type_url: TYPES[self.byte() % 4].into(),
            resource_names_subscribe: self.names(),
            resource_names_unsubscribe: self.names(),
            initial_resource_versions: self.names().into_iter().map(|name| (name, "1".into())).collect(),
            response_nonce: self.byte().to_string(),
            error_detail: refuses.then(|| Status { message: "a".into(), ..Status::default() }),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn sotw(&mut self) -> DiscoveryRequest {
        let refuses = self.byte().is_multiple_of(4);
        DiscoveryRequest {
            type_url: TYPES[self.byte() % 4].into(),
            resource_names: self.names(),
            response_nonce: match self.byte() {
                0..32 => String::new(),
                nonce => (nonce - 32).to_string(),
            },
            version_info: "0".repeat(32),
            error_detail: refuses.then(Status::default),
            ..DiscoveryRequest::default()
        }
    }
}

/// One life.
///
/// # Panics
/// When something is wrong with the server.
pub(crate) fn drive(bytes: &[u8]) {
    let mut source = Source(bytes);
    let limits = Limits { names: 50, types: 6, name_length: 64, ..Limits::default() };
    let mut hub = Hub::new(limits, String::new());
    let variant = if source.byte().is_multiple_of(2) { Variant::Delta } else { Variant::StateOfTheWorld };
    let mut id = hub.open("node".into(), variant, None).expect("room");
    while !source.0.is_empty() {
        match source.byte() % 8 {
            0 => request(&mut hub, &mut id, variant, |hub, id| match variant {
                Variant::Delta => DeltaDiscoveryRequest::decode(source.raw())
                    .map_or(true, |r| hub.delta(id, r, true).is_ok()),
                Variant::StateOfTheWorld => {
                    DiscoveryRequest::decode(source.raw()).map_or(true, |r| hub.sotw(id, r, true).is_ok())
                }
            }),
            1 | 2 => request(&mut hub, &mut id, variant, |hub, id| match variant {
                Variant::Delta => hub.delta(id, source.delta(), true).is_ok(),
                Variant::StateOfTheWorld => hub.sotw(id, source.sotw(), true).is_ok(),
            }),
            3 => {
                let (kind, name) = (TYPES[source.byte() % 4], NAMES[source.byte() % 5]);
                hub.apply([Change::set(kind, name, vec![b'0'; source.byte() % 3])]);
            }
            4 => {
                let (kind, name) = (TYPES[source.byte() % 4], NAMES[source.byte() % 5]);
                hub.apply([Change::remove(kind, name)]);
            }
            5 | 6 => drop(hub.poll(id)),
            _ => {
                hub.close(id);
                id = hub.open("node".into(), variant, None).expect("room");
            }
        }
    }
    // Each type has one response outstanding at most; so many can be had and no more.
    let responses = (0..100).take_while(|_| hub.poll(id).is_some()).count();
    assert!(responses < 10, "responses without an end");
    hub.close(id);
    for kind in TYPES {
        hub.replace(&TypeUrl::from(kind), []);
    }
    assert!(hub.is_empty(), "something is kept");
}

/// A stream whose request is refused ends; another one takes its place.
fn request(
    hub: &mut Hub,
    id: &mut StreamId,
    variant: Variant,
    take_in: impl FnOnce(&mut Hub, StreamId) -> bool,
) {
    if !take_in(hub, *id) {
        hub.close(*id);
        *id = hub.open("node".into(), variant, None).expect("room");
    }
}
