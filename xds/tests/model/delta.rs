//! A client of the incremental variant.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::rpc::Status;
use prost::Message;
use zenvoy_xds::core::{Hub, StreamId, Variant, Version};

use crate::world::{KINDS, Model, Wanted, is_bad};

pub(crate) struct DeltaClient {
    /// Applies the good resources of a response that it refuses, as Envoy does with clusters.
    partial: bool,
    wanted: [Wanted; 3],
    /// This stream has asked for the type.
    asked: [bool; 3],
    has: [BTreeMap<String, String>; 3],
    requests: VecDeque<DeltaDiscoveryRequest>,
    responses: VecDeque<DeltaDiscoveryResponse>,
}

impl DeltaClient {
    pub(crate) fn new(partial: bool) -> Self {
        Self {
            partial,
            wanted: Default::default(),
            asked: [false; 3],
            has: Default::default(),
            requests: VecDeque::new(),
            responses: VecDeque::new(),
        }
    }

    fn request(&mut self, kind: usize, subscribe: Vec<String>, unsubscribe: Vec<String>) {
        let first = !std::mem::replace(&mut self.asked[kind], true);
        let has = &self.has[kind];
        self.requests.push_back(DeltaDiscoveryRequest {
            type_url: KINDS[kind].into(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: if first {
                has.clone().into_iter().collect()
            } else {
                Default::default()
            },
            ..DeltaDiscoveryRequest::default()
        });
    }

    fn apply(&mut self, response: &DeltaDiscoveryResponse) -> bool {
        let kind = KINDS.iter().position(|kind| *kind == response.type_url).expect("a known type");
        let content = |at: usize| response.resources[at].resource.as_ref().expect("content").value.as_slice();
        let bad = (0..response.resources.len()).any(|at| is_bad(content(at)));
        if bad && !self.partial {
            return false;
        }
        for (at, resource) in response.resources.iter().enumerate() {
            if !is_bad(content(at)) && self.wanted[kind].wants(&resource.name) {
                self.has[kind].insert(resource.name.clone(), resource.version.clone());
            }
        }
        for name in &response.removed_resources {
            self.has[kind].remove(name);
        }
        !bad
    }
}

impl Model for DeltaClient {
    fn variant(&self) -> Variant {
        Variant::Delta
    }

    fn want(&mut self, kind: usize, wanted: Wanted) {
        let old = std::mem::replace(&mut self.wanted[kind], wanted.clone());
        let mut subscribe: Vec<String> = wanted.names.difference(&old.names).cloned().collect();
        let mut unsubscribe: Vec<String> = old.names.difference(&wanted.names).cloned().collect();
        if wanted.everything && !old.everything {
            subscribe.push("*".into());
        }
        if old.everything && !wanted.everything {
            unsubscribe.push("*".into());
        }
        if !subscribe.is_empty() || !unsubscribe.is_empty() {
            self.has[kind].retain(|name, _| wanted.wants(name));
            self.request(kind, subscribe, unsubscribe);
        }
    }

    fn open(&mut self) {
        self.requests.clear();
        self.responses.clear();
        self.asked = [false; 3];
        for kind in 0..3 {
            let wanted = self.wanted[kind].clone();
            let everything = wanted.everything.then(|| "*".to_owned());
            let names: Vec<String> = wanted.names.into_iter().chain(everything).collect();
            if !names.is_empty() {
                self.request(kind, names, Vec::new());
            }
        }
    }

    fn hear(&mut self, hub: &mut Hub, id: StreamId) -> bool {
        let Some(request) = self.requests.pop_front() else { return false };
        hub.delta(id, request, true).expect("a good request");
        true
    }

    fn send(&mut self, hub: &mut Hub, id: StreamId) -> bool {
        let Some(response) = hub.poll(id) else { return false };
        let mut bytes = BytesMut::new();
        response.into_pieces().for_each(|piece| bytes.extend_from_slice(&piece));
        self.responses.push_back(DeltaDiscoveryResponse::decode(bytes.freeze()).expect("a response"));
        true
    }

    fn read(&mut self) -> bool {
        let Some(response) = self.responses.pop_front() else { return false };
        let good = self.apply(&response);
        self.requests.push_back(DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            error_detail: (!good).then(Status::default),
            ..DeltaDiscoveryRequest::default()
        });
        true
    }

    fn check(&self, kind: usize, served: &BTreeMap<String, Vec<u8>>) {
        let wanted = &self.wanted[kind];
        for (name, content) in served {
            let has = self.has[kind].get(name);
            if !wanted.wants(name) {
                assert_eq!(has, None, "{name} is not wanted");
            } else if !is_bad(content) {
                assert_eq!(has, Some(&Version::of(content).to_string()), "{name} is wanted");
            }
        }
        for name in self.has[kind].keys() {
            assert!(served.contains_key(name), "{name} is not served");
        }
    }
}
