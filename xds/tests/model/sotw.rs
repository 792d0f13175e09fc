//! A client of the state-of-the-world variant.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc::Status;
use zenvoy_xds::core::{Hub, StreamId, Variant};

use crate::resources::{
    CLUSTERS, ENDPOINTS, KINDS, ROUTES, is_bad, is_full, kind_of, name_of, names, used_by,
};
use crate::wires::{self, Wires};
use crate::world::{Habits, Model, Wanted};

pub(crate) struct SotwClient {
    habits: Habits,
    kinds: [Kind; 4],
    wires: Wires<DiscoveryRequest, Sent>,
    lost: BTreeSet<String>,
    warming: BTreeSet<String>,
    /// Clusters that it has given up itself though its routes use them, or those that may be on their way: the server does
    /// not keep what is gone for who has given it up, also when it is asked for again.
    given_up: BTreeSet<String>,
}

/// A response on its way.
struct Sent {
    response: DiscoveryResponse,
    /// The server knew of everything that the client had given up.
    informed: bool,
}

#[derive(Default)]
struct Kind {
    wanted: Wanted,
    /// This stream has asked for it.
    asked: bool,
    /// It asks for everything by naming nothing.
    legacy: bool,
    has: BTreeMap<String, Vec<u8>>,
    /// The last accepted version, as long as it stands for what it has: a client that has dropped something since the server
    /// made it, or has taken parts of a response that it refused, must not come back with it.
    version: String,
    /// Of the last response on this stream.
    nonce: String,
    /// So many requests the server has yet to hear, until it knows of everything that was given up.
    unheard: usize,
}

impl Kind {
    /// Takes in a response; whether it took all of it.
    fn apply(&mut self, full: bool, partial: bool, contents: Vec<Vec<u8>>, version: Option<String>) -> bool {
        let bad = contents.iter().any(|content| is_bad(content));
        if bad && !partial {
            return false;
        }
        let kept = contents.iter().all(|content| self.wanted.wants(&name_of(content)));
        let names: BTreeSet<String> = contents.iter().map(|content| name_of(content)).collect();
        self.has.retain(|name, _| !full || names.contains(name));
        for content in contents.into_iter().filter(|content| !is_bad(content)) {
            if self.wanted.wants(&name_of(&content)) {
                self.has.insert(name_of(&content), content);
            }
        }
        self.version = version.filter(|_| kept && !bad).unwrap_or_default();
        !bad
    }
}

impl SotwClient {
    pub(crate) fn new(habits: Habits) -> Self {
        Self {
            habits,
            kinds: Default::default(),
            wires: Wires::default(),
            lost: BTreeSet::new(),
            warming: BTreeSet::new(),
            given_up: BTreeSet::new(),
        }
    }

    fn request(&mut self, kind: usize, error_detail: Option<Status>) {
        let state = &mut self.kinds[kind];
        let may_name_nothing = self.habits.legacy && is_full(kind) && state.wanted.names.is_empty();
        let first = !std::mem::replace(&mut state.asked, true);
        state.legacy = state.wanted.everything && may_name_nothing && (first || state.legacy);
        let everything = (state.wanted.everything && !state.legacy).then(|| "*".to_owned());
        let request = DiscoveryRequest {
            type_url: if self.habits.separate { String::new() } else { KINDS[kind].into() },
            resource_names: state.wanted.names.iter().cloned().chain(everything).collect(),
            version_info: state.version.clone(),
            response_nonce: state.nonce.clone(),
            error_detail,
            ..DiscoveryRequest::default()
        };
        self.wires.requests.push_back((kind, request));
    }
}

impl Model for SotwClient {
    fn variant(&self) -> Variant {
        Variant::StateOfTheWorld
    }

    fn habits(&self) -> Habits {
        self.habits
    }

    fn want(&mut self, kind: usize, wanted: Wanted) -> bool {
        let state = &mut self.kinds[kind];
        if state.legacy && wanted == Wanted::default() {
            return false; // Naming nothing is what it does already.
        }
        let old = std::mem::replace(&mut state.wanted, wanted.clone());
        if old == wanted {
            return true;
        }
        let gives_up =
            old.everything && !wanted.everything || old.names.difference(&wanted.names).next().is_some();
        if gives_up {
            state.version.clear();
        }
        if kind == CLUSTERS {
            self.given_up.extend(names().filter(|name| old.wants(name) && !wanted.wants(name)));
        }
        state.has.retain(|name, _| wanted.wants(name));
        self.request(kind, None);
        if gives_up {
            self.kinds[kind].unheard = self.wires.unheard(kind);
        }
        true
    }

    fn open(&mut self) {
        self.wires = Wires::default();
        // A client cannot say what it waits for, only what it has.
        self.warming.clear();
        for kind in 0..KINDS.len() {
            let state = &mut self.kinds[kind];
            state.asked = false;
            state.legacy = false;
            state.nonce.clear();
            state.unheard = 0;
            if state.wanted != Wanted::default() {
                self.request(kind, None);
            }
        }
    }

    fn hear(&mut self, hub: &mut Hub, streams: &[StreamId; 4]) -> bool {
        let Some((kind, request)) = self.wires.requests.pop_front() else { return false };
        hub.sotw(streams[kind], request, true).expect("a good request");
        self.kinds[kind].unheard = self.kinds[kind].unheard.saturating_sub(1);
        true
    }

    fn send(&mut self, hub: &mut Hub, streams: &[StreamId; 4]) -> bool {
        let Some(response) = wires::poll::<DiscoveryResponse>(hub, streams) else { return false };
        let informed = self.kinds[kind_of(&response.type_url)].unheard == 0;
        self.wires.responses.push_back(Sent { response, informed });
        true
    }

    fn read(&mut self) -> bool {
        self.lost.clear();
        let Some(Sent { response, informed }) = self.wires.responses.pop_front() else { return false };
        let kind = kind_of(&response.type_url);
        let state = &mut self.kinds[kind];
        let before = state.has.clone();
        state.nonce = response.nonce;
        // Of the other kinds a response may be a part, whatever is asked for meanwhile: nothing is taken to be gone.
        let full = is_full(kind);
        let contents: Vec<Vec<u8>> = response.resources.into_iter().map(|any| any.value).collect();
        let sent: BTreeSet<String> = contents.iter().map(|content| name_of(content)).collect();
        let version = informed.then_some(response.version_info);
        let good = state.apply(full, self.habits.partial, contents, version);
        if kind == ENDPOINTS && (good || self.habits.partial) {
            self.warming.retain(|name| !sent.contains(name) || !state.has.contains_key(name));
        }
        if kind == CLUSTERS {
            let new = state.has.iter().filter(|(name, content)| before.get(*name) != Some(content));
            self.warming.extend(new.map(|(name, _)| name.clone()));
            self.lost = before.into_keys().filter(|name| !state.has.contains_key(name)).collect();
            self.lost.retain(|name| !self.given_up.contains(name));
        }
        if self.is_quiet() {
            let routes = self.kinds[ROUTES].has.values();
            let used: BTreeSet<String> = routes.filter_map(|route| used_by(route)).collect();
            self.given_up.retain(|name| used.contains(name));
        }
        self.request(kind, (!good).then(Status::default));
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
}
