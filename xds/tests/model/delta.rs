//! A client of the incremental variant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::BytesMut;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::rpc::Status;
use prost::Message;
use zenvoy_xds::core::{Hub, StreamId, Variant, Version};

use crate::resources::{CLUSTERS, KINDS, is_bad, is_full, kind_of};
use crate::world::{Habits, Model, Wanted};

pub(crate) struct DeltaClient {
    habits: Habits,
    kinds: [Kind; 4],
    requests: VecDeque<(usize, DeltaDiscoveryRequest)>,
    responses: VecDeque<DeltaDiscoveryResponse>,
    lost: BTreeSet<String>,
}

#[derive(Default)]
struct Kind {
    wanted: Wanted,
    /// This stream has asked for it.
    asked: bool,
    /// It has asked for everything by naming nothing.
    legacy: bool,
    has: BTreeMap<String, Vec<u8>>,
}

impl DeltaClient {
    pub(crate) fn new(habits: Habits) -> Self {
        Self {
            habits,
            kinds: Default::default(),
            requests: VecDeque::new(),
            responses: VecDeque::new(),
            lost: BTreeSet::new(),
        }
    }

    fn request(&mut self, kind: usize, subscribe: Vec<String>, unsubscribe: Vec<String>) {
        let state = &mut self.kinds[kind];
        let first = !std::mem::replace(&mut state.asked, true);
        let has = state.has.iter().filter(|_| first);
        let request = DeltaDiscoveryRequest {
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: has
                .map(|(name, content)| (name.clone(), Version::of(content).to_string()))
                .collect(),
            ..self.about(kind)
        };
        self.requests.push_back((kind, request));
    }

    fn about(&self, kind: usize) -> DeltaDiscoveryRequest {
        let type_url = if self.habits.separate { String::new() } else { KINDS[kind].into() };
        DeltaDiscoveryRequest { type_url, ..DeltaDiscoveryRequest::default() }
    }

    fn apply(&mut self, kind: usize, response: &DeltaDiscoveryResponse) -> bool {
        let content = |at: usize| response.resources[at].resource.as_ref().expect("content").value.clone();
        let bad = (0..response.resources.len()).any(|at| is_bad(&content(at)));
        if bad && !self.habits.partial {
            return false;
        }
        let Kind { wanted, has, .. } = &mut self.kinds[kind];
        for (at, resource) in response.resources.iter().enumerate() {
            assert_eq!(resource.version, Version::of(&content(at)).to_string());
            if !is_bad(&content(at)) && wanted.wants(&resource.name) {
                has.insert(resource.name.clone(), content(at));
            }
        }
        for name in &response.removed_resources {
            if has.remove(name).is_some() && kind == CLUSTERS {
                self.lost.insert(name.clone());
            }
        }
        !bad
    }
}

impl Model for DeltaClient {
    fn variant(&self) -> Variant {
        Variant::Delta
    }

    fn habits(&self) -> Habits {
        self.habits
    }

    fn want(&mut self, kind: usize, wanted: Wanted) -> bool {
        let may_name_nothing = self.habits.legacy && is_full(kind);
        let state = &mut self.kinds[kind];
        let old = std::mem::replace(&mut state.wanted, wanted.clone());
        let mut subscribe: Vec<String> = wanted.names.difference(&old.names).cloned().collect();
        let mut unsubscribe: Vec<String> = old.names.difference(&wanted.names).cloned().collect();
        let begins = wanted.everything && !old.everything;
        let legacy = begins && may_name_nothing && !state.asked && wanted.names.is_empty();
        if begins && !legacy {
            subscribe.push("*".into());
        }
        if state.legacy && wanted.everything && !subscribe.is_empty() {
            // Names alone would be all that is wanted.
            subscribe.push("*".into());
        }
        let ends_by_names = state.legacy && !subscribe.is_empty();
        if old.everything && !wanted.everything && !ends_by_names {
            unsubscribe.push("*".into());
        }
        state.legacy = legacy || (state.legacy && wanted.everything && subscribe.is_empty());
        if legacy || !subscribe.is_empty() || !unsubscribe.is_empty() {
            state.has.retain(|name, _| wanted.wants(name));
            self.request(kind, subscribe, unsubscribe);
        }
        true
    }

    fn open(&mut self) {
        self.requests.clear();
        self.responses.clear();
        for kind in 0..KINDS.len() {
            let legacy = self.habits.legacy && is_full(kind);
            let state = &mut self.kinds[kind];
            state.asked = false;
            let Wanted { everything, names } = state.wanted.clone();
            state.legacy = legacy && everything && names.is_empty();
            let star = (everything && !state.legacy).then(|| "*".to_owned());
            if everything || !names.is_empty() {
                self.request(kind, names.into_iter().chain(star).collect(), Vec::new());
            }
        }
    }

    fn hear(&mut self, hub: &mut Hub, streams: &[StreamId; 4]) -> bool {
        let Some((kind, request)) = self.requests.pop_front() else { return false };
        hub.delta(streams[kind], request, true).expect("a good request");
        true
    }

    fn send(&mut self, hub: &mut Hub, streams: &[StreamId; 4]) -> bool {
        let Some(response) = streams.iter().find_map(|stream| hub.poll(*stream)) else { return false };
        let mut bytes = BytesMut::new();
        response.into_pieces().for_each(|piece| bytes.extend_from_slice(&piece));
        self.responses.push_back(DeltaDiscoveryResponse::decode(bytes.freeze()).expect("a response"));
        true
    }

    fn read(&mut self) -> bool {
        self.lost.clear();
        let Some(response) = self.responses.pop_front() else { return false };
        let kind = kind_of(&response.type_url);
        let good = self.apply(kind, &response);
        let answer = DeltaDiscoveryRequest {
            response_nonce: response.nonce,
            error_detail: (!good).then(Status::default),
            ..self.about(kind)
        };
        self.requests.push_back((kind, answer));
        true
    }

    fn is_quiet(&self) -> bool {
        self.requests.is_empty() && self.responses.is_empty()
    }

    fn holds(&self, kind: usize) -> &BTreeMap<String, Vec<u8>> {
        &self.kinds[kind].has
    }

    fn lost(&self) -> &BTreeSet<String> {
        &self.lost
    }
}
