//! A client of the incremental variant.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::rpc::Status;
use zenvoy_xds::core::{Hub, StreamId, Variant, Version};

use crate::resources::{CLUSTERS, ENDPOINTS, KINDS, ROUTES, is_bad, is_full, kind_of, names, used_by};
use crate::wires::{self, Wires};
use crate::world::{Habits, Model, Wanted};

pub(crate) struct DeltaClient {
    habits: Habits,
    kinds: [Kind; 4],
    wires: Wires<DeltaDiscoveryRequest, Sent>,
    lost: BTreeSet<String>,
    lacking: BTreeSet<String>,
    warming: BTreeSet<String>,
    /// Clusters that it has refused, and has not taken since.
    refused: BTreeSet<String>,
}

/// A response on its way.
struct Sent {
    response: DeltaDiscoveryResponse,
    /// Clusters of which the server could not know, when it sent this, whether the client wants them when it reads it.
    unsure: BTreeSet<String>,
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
            wires: Wires::default(),
            lost: BTreeSet::new(),
            lacking: BTreeSet::new(),
            warming: BTreeSet::new(),
            refused: BTreeSet::new(),
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
        self.wires.requests.push_back((kind, request));
    }

    fn about(&self, kind: usize) -> DeltaDiscoveryRequest {
        let type_url = if self.habits.separate { String::new() } else { KINDS[kind].into() };
        DeltaDiscoveryRequest { type_url, ..DeltaDiscoveryRequest::default() }
    }

    fn apply(&mut self, kind: usize, response: &DeltaDiscoveryResponse) -> bool {
        let content = |at: usize| response.resources[at].resource.as_ref().expect("content").value.clone();
        let bad = (0..response.resources.len()).any(|at| is_bad(&content(at)));
        if bad && kind == CLUSTERS {
            self.refused.extend(response.resources.iter().map(|resource| resource.name.clone()));
        }
        if bad && !self.habits.partial {
            return false;
        }
        let Kind { wanted, has, .. } = &mut self.kinds[kind];
        for (at, resource) in response.resources.iter().enumerate() {
            assert_eq!(resource.version, Version::of(&content(at)).to_string());
            if !is_bad(&content(at)) && wanted.wants(&resource.name) {
                let old = has.insert(resource.name.clone(), content(at));
                match kind {
                    CLUSTERS => {
                        self.refused.remove(&resource.name);
                        if old != Some(content(at)) {
                            self.warming.insert(resource.name.clone());
                        }
                    }
                    ENDPOINTS => drop(self.warming.remove(&resource.name)),
                    _ => {}
                }
            }
        }
        for name in &response.removed_resources {
            if has.remove(name).is_some() && kind == CLUSTERS {
                self.lost.insert(name.clone());
            }
        }
        !bad
    }

    /// The clusters that the routes of a response use, and that the client wants and lacks.
    fn used_by(&self, response: &DeltaDiscoveryResponse) -> BTreeSet<String> {
        let routes =
            response.resources.iter().filter_map(|resource| self.kinds[ROUTES].has.get(&resource.name));
        let Kind { wanted, has, .. } = &self.kinds[CLUSTERS];
        let used = routes.filter_map(|route| used_by(route));
        used.filter(|cluster| wanted.wants(cluster) && !has.contains_key(cluster)).collect()
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
        if kind == CLUSTERS {
            for sent in &mut self.wires.responses {
                sent.unsure.extend(names().filter(|name| old.wants(name) != wanted.wants(name)));
            }
        }
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
        self.wires = Wires::default();
        // A client cannot say what it waits for, only what it has.
        self.warming.clear();
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
        let Some((kind, request)) = self.wires.requests.pop_front() else { return false };
        hub.delta(streams[kind], request, true).expect("a good request");
        true
    }

    fn send(&mut self, hub: &mut Hub, streams: &[StreamId; 4]) -> bool {
        let Some(response) = wires::poll(hub, streams) else { return false };
        let informed = self.wires.unheard(CLUSTERS) == 0;
        let unsure = if informed { BTreeSet::new() } else { names().collect() };
        self.wires.responses.push_back(Sent { response, unsure });
        true
    }

    fn read(&mut self) -> bool {
        self.lost.clear();
        self.lacking.clear();
        let Some(Sent { response, unsure }) = self.wires.responses.pop_front() else { return false };
        let kind = kind_of(&response.type_url);
        let good = self.apply(kind, &response);
        if good && kind == ROUTES {
            self.lacking = self.used_by(&response);
            self.lacking.retain(|cluster| !unsure.contains(cluster) && !self.refused.contains(cluster));
        }
        let answer = DeltaDiscoveryRequest {
            response_nonce: response.nonce,
            error_detail: (!good).then(Status::default),
            ..self.about(kind)
        };
        self.wires.requests.push_back((kind, answer));
        true
    }

    fn is_quiet(&self) -> bool {
        self.wires.is_quiet()
    }

    fn holds(&self, kind: usize) -> &BTreeMap<String, Vec<u8>> {
        &self.kinds[kind].has
    }

    fn lost(&self) -> &BTreeSet<String> {
        &self.lost
    }

    fn warming(&self) -> &BTreeSet<String> {
        &self.warming
    }

    fn lacking(&self) -> Option<&BTreeSet<String>> {
        Some(&self.lacking)
    }
}
