//! A client of the state-of-the-world variant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::BytesMut;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc::Status;
use prost::Message;
use zenvoy_xds::core::{Hub, StreamId, Variant};

use crate::world::{KINDS, Model, Wanted, is_bad, name_of};

pub(crate) struct SotwClient {
    /// Applies the good resources of a response that it refuses, as Envoy does with clusters.
    partial: bool,
    kinds: [Kind; 3],
    requests: VecDeque<DiscoveryRequest>,
    responses: VecDeque<DiscoveryResponse>,
}

#[derive(Default)]
struct Kind {
    wanted: Wanted,
    asked: bool,
    has: BTreeMap<String, Vec<u8>>,
    /// The last accepted version. A client that has dropped something since must not come back with it, for it may ask
    /// for the same again before the server has heard of it.
    version: String,
    /// Of the last response on this stream.
    nonce: String,
}

impl SotwClient {
    pub(crate) fn new(partial: bool) -> Self {
        Self { partial, kinds: Default::default(), requests: VecDeque::new(), responses: VecDeque::new() }
    }

    fn request(&mut self, kind: usize, error_detail: Option<Status>) {
        let state = &mut self.kinds[kind];
        state.asked = true;
        let everything = state.wanted.everything.then(|| "*".to_owned());
        self.requests.push_back(DiscoveryRequest {
            type_url: KINDS[kind].into(),
            resource_names: state.wanted.names.iter().cloned().chain(everything).collect(),
            version_info: state.version.clone(),
            response_nonce: state.nonce.clone(),
            error_detail,
            ..DiscoveryRequest::default()
        });
    }
}

impl Model for SotwClient {
    fn variant(&self) -> Variant {
        Variant::StateOfTheWorld
    }

    fn want(&mut self, kind: usize, wanted: Wanted) {
        let state = &mut self.kinds[kind];
        let old = std::mem::replace(&mut state.wanted, wanted.clone());
        if old == wanted {
            return;
        }
        if old.everything && !wanted.everything || old.names.difference(&wanted.names).next().is_some() {
            state.version.clear();
        }
        state.has.retain(|name, _| wanted.wants(name));
        self.request(kind, None);
    }

    fn open(&mut self) {
        self.requests.clear();
        self.responses.clear();
        for kind in 0..3 {
            let state = &mut self.kinds[kind];
            state.asked = false;
            state.nonce.clear();
            if state.wanted != Wanted::default() {
                self.request(kind, None);
            }
        }
    }

    fn hear(&mut self, hub: &mut Hub, id: StreamId) -> bool {
        let Some(request) = self.requests.pop_front() else { return false };
        hub.sotw(id, request, true).expect("a good request");
        true
    }

    fn send(&mut self, hub: &mut Hub, id: StreamId) -> bool {
        let Some(response) = hub.poll(id) else { return false };
        let mut bytes = BytesMut::new();
        response.into_pieces().for_each(|piece| bytes.extend_from_slice(&piece));
        self.responses.push_back(DiscoveryResponse::decode(bytes.freeze()).expect("a response"));
        true
    }

    fn read(&mut self) -> bool {
        let Some(response) = self.responses.pop_front() else { return false };
        let kind = KINDS.iter().position(|kind| *kind == response.type_url).expect("a known type");
        let state = &mut self.kinds[kind];
        state.nonce = response.nonce;
        let contents: Vec<Vec<u8>> = response.resources.into_iter().map(|any| any.value).collect();
        let bad = contents.iter().any(|content| is_bad(content));
        let kept = contents.iter().all(|content| state.wanted.wants(&name_of(content)));
        if !bad || self.partial {
            let full = kind == 0 || state.wanted.everything;
            let names: BTreeSet<String> = contents.iter().map(|content| name_of(content)).collect();
            state.has.retain(|name, _| !full || names.contains(name));
            for content in contents.into_iter().filter(|content| !is_bad(content)) {
                if state.wanted.wants(&name_of(&content)) {
                    state.has.insert(name_of(&content), content);
                }
            }
        }
        if !bad {
            state.version = if kept { response.version_info } else { String::new() };
        }
        self.request(kind, bad.then(Status::default));
        true
    }

    fn check(&self, kind: usize, served: &BTreeMap<String, Vec<u8>>) {
        let Kind { wanted, has, .. } = &self.kinds[kind];
        let full = kind == 0 || wanted.everything;
        let any_bad = served.iter().any(|(name, content)| wanted.wants(name) && is_bad(content));
        if full && any_bad && !self.partial {
            return; // It refuses every full state.
        }
        for (name, content) in served {
            if !wanted.wants(name) {
                assert_eq!(has.get(name), None, "{name} is not wanted");
            } else if !is_bad(content) {
                assert_eq!(has.get(name), Some(content), "{name} is wanted");
            }
        }
        // A removal cannot be told but by a full state.
        assert!(!full || has.keys().all(|name| served.contains_key(name)), "something is not served");
    }
}
