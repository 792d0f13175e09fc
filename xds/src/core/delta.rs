//! One incremental aggregated stream. Source of the rules: Envoy's xDS protocol, "Incremental xDS".

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource,
};
use envoy_types::pb::google::protobuf::Any;

use super::resource::rank;
use super::{Catalog, TypeUrl, Version};

/// What a client said of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It applied these; `None` is a removal.
    Acked {
        /// The type.
        type_url: TypeUrl,
        /// The names, each with its version.
        resources: Vec<(Arc<str>, Option<Version>)>,
    },
    /// It refused the response; the named versions are not sent again.
    Nacked {
        /// The type.
        type_url: TypeUrl,
        /// The names, each with its version.
        resources: Vec<(Arc<str>, Option<Version>)>,
        /// The client's own words.
        message: String,
    },
}

/// The state of one client's stream. Bounded by what the client subscribes to.
#[derive(Debug, Default)]
pub struct DeltaStream {
    types: BTreeMap<(u8, TypeUrl), Subscription>,
    nonces: u64,
}

#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// What the client has, as far as sent: `None` is "told that it does not exist".
    has: HashMap<Arc<str>, Option<Version>>,
    acked: HashMap<Arc<str>, Option<Version>>,
    /// What must be looked at before the next response.
    dirty: BTreeSet<Arc<str>>,
    /// Sent even when the client has that version.
    forced: BTreeSet<Arc<str>>,
    rejected: HashMap<Arc<str>, Rejection>,
    outstanding: Option<Outstanding>,
    /// Nothing was answered yet: the first answer goes out even when empty.
    unanswered: bool,
}

/// A version that the client has refused, and its words.
#[derive(Debug)]
struct Rejection {
    version: Option<Version>,
    message: Arc<str>,
}

#[derive(Debug)]
struct Outstanding {
    nonce: String,
    resources: Vec<(Arc<str>, Option<Version>)>,
}

impl Subscription {
    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn force(&mut self, name: Arc<str>) {
        self.dirty.insert(name.clone());
        self.forced.insert(name);
    }
}

impl DeltaStream {
    /// Takes in a request. `type_url` must not be empty: the caller has refused that.
    pub fn on_request(&mut self, request: DeltaDiscoveryRequest, catalog: &Catalog) -> Option<Event> {
        let type_url = TypeUrl::from(request.type_url.as_str());
        let key = (rank(&type_url), type_url.clone());
        let first = !self.types.contains_key(&key);
        let state = self.types.entry(key).or_default();
        if first {
            state.unanswered = true;
            let versions = request.initial_resource_versions;
            state.has = versions
                .into_iter()
                .map(|(name, version)| (name.into(), Some(Version(version.into()))))
                .collect();
            state.dirty.extend(state.has.keys().cloned());
        }
        let event = state.on_answer(&type_url, &request.response_nonce, request.error_detail);
        state.subscribe(first, request.resource_names_subscribe, &type_url, catalog);
        state.unsubscribe(request.resource_names_unsubscribe);
        event
    }

    /// A resource was set or removed.
    pub fn on_change(&mut self, type_url: &TypeUrl, name: &Arc<str>) {
        if let Some(state) = self.types.get_mut(&(rank(type_url), type_url.clone()))
            && state.wants(name)
        {
            state.dirty.insert(name.clone());
        }
    }

    /// The next response, if there is something to say and the client has answered the last one of that type.
    /// Removals of clusters and endpoints wait until nothing else is on its way (make before break).
    pub fn poll(&mut self, catalog: &Catalog) -> Option<DeltaDiscoveryResponse> {
        let routes_settled = self
            .types
            .iter()
            .all(|((rank, _), state)| *rank <= 2 || (state.outstanding.is_none() && state.dirty.is_empty()));
        let ready = self.types.iter_mut().find_map(|((rank, type_url), state)| {
            let removals = *rank > 1 || routes_settled;
            let response = state.next(type_url, catalog, removals)?;
            Some((*rank, response))
        });
        let (rank_sent, mut response) = ready?;
        self.nonces += 1;
        response.nonce = self.nonces.to_string();
        if let Some(state) = self.types.get_mut(&(rank_sent, response.type_url.as_str().into()))
            && let Some(outstanding) = &mut state.outstanding
        {
            outstanding.nonce.clone_from(&response.nonce);
        }
        if rank_sent == 0 {
            self.resend_endpoints(&response);
        }
        Some(response)
    }

    /// A cluster that Envoy gets anew warms until its endpoints come, though Envoy had them (go-control-plane #1035).
    fn resend_endpoints(&mut self, clusters: &DeltaDiscoveryResponse) {
        for ((rank, _), state) in &mut self.types {
            if *rank == 1 {
                for cluster in &clusters.resources {
                    if state.wants(&cluster.name) {
                        state.force(cluster.name.as_str().into());
                    }
                }
            }
        }
    }

    /// The version of a resource that the client has applied; `Some(None)`: it has applied the removal.
    pub fn acked(&self, type_url: &TypeUrl, name: &str) -> Option<&Option<Version>> {
        self.types.get(&(rank(type_url), type_url.clone()))?.acked.get(name)
    }

    /// Whether the client wants to know of this resource.
    pub fn subscribes(&self, type_url: &TypeUrl, name: &str) -> bool {
        self.types.get(&(rank(type_url), type_url.clone())).is_some_and(|state| state.wants(name))
    }

    /// The subscribed types: wildcard or not, how many names, how many resources wait for an answer.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&TypeUrl, bool, usize, usize)> {
        self.types.iter().map(|((_, type_url), state)| {
            let sent = state.outstanding.as_ref().map_or(0, |outstanding| outstanding.resources.len());
            (type_url, state.wildcard, state.names.len(), state.dirty.len() + sent)
        })
    }

    /// What the client refused of a type: name, version and its words.
    pub fn rejections(
        &self,
        type_url: &TypeUrl,
    ) -> impl Iterator<Item = (&Arc<str>, &Option<Version>, &Arc<str>)> {
        let state = self.types.get(&(rank(type_url), type_url.clone()));
        let rejected = state.into_iter().flat_map(|state| &state.rejected);
        rejected.map(|(name, rejection)| (name, &rejection.version, &rejection.message))
    }
}

impl Subscription {
    /// Envoy shows a hash of this as the `version` gauge: of an assignment sent alone its own version, else a hash of
    /// all that the client then has of the type.
    fn version_after(&self, type_url: &TypeUrl, told: &[(Arc<str>, Option<Version>)]) -> String {
        if let ([(_, Some(version))], 1) = (told, rank(type_url)) {
            return version.to_string();
        }
        let mut all: Vec<_> =
            self.has.iter().filter_map(|(name, version)| Some((name, version.as_ref()?))).collect();
        all.sort_unstable();
        let text: String = all.iter().map(|(name, version)| format!("{name}\0{version}\0")).collect();
        Version::of(text.as_bytes()).to_string()
    }

    fn on_answer(
        &mut self,
        type_url: &TypeUrl,
        nonce: &str,
        error: Option<envoy_types::pb::google::rpc::Status>,
    ) -> Option<Event> {
        let outstanding = self.outstanding.take_if(|outstanding| outstanding.nonce == nonce)?;
        let (type_url, resources) = (type_url.clone(), outstanding.resources);
        match error {
            None => {
                self.acked.extend(resources.iter().cloned());
                Some(Event::Acked { type_url, resources })
            }
            Some(error) => {
                let message: Arc<str> = error.message.as_str().into();
                for (name, version) in &resources {
                    let rejection = Rejection { version: version.clone(), message: message.clone() };
                    // It may have applied the resource all the same, so a removal must still be told.
                    self.rejected.insert(name.clone(), rejection);
                }
                Some(Event::Nacked { type_url, resources, message: error.message })
            }
        }
    }

    fn subscribe(&mut self, first: bool, names: Vec<String>, type_url: &TypeUrl, catalog: &Catalog) {
        // Legacy: a first request without names means everything.
        let wildcard = (first && names.is_empty()) || names.iter().any(|name| name == "*");
        if wildcard && !self.wildcard {
            self.wildcard = true;
            self.dirty.extend(catalog.names(type_url).cloned());
        }
        for name in names.into_iter().filter(|name| name != "*") {
            let name: Arc<str> = name.into();
            if first && self.has.contains_key(&name) {
                self.dirty.insert(name.clone());
            } else {
                self.force(name.clone());
            }
            self.names.insert(name);
        }
    }

    fn unsubscribe(&mut self, names: Vec<String>) {
        for name in names {
            if name == "*" {
                self.wildcard = false;
                let names = &self.names;
                self.has.retain(|name, _| names.contains(name));
                self.acked.retain(|name, _| names.contains(name));
                self.rejected.retain(|name, _| names.contains(name));
                self.dirty.retain(|name| names.contains(name));
            } else if self.names.remove(name.as_str()) {
                let name: Arc<str> = name.into();
                if self.wildcard {
                    self.force(name);
                } else {
                    self.has.remove(&name);
                    self.acked.remove(&name);
                    self.rejected.remove(&name);
                    self.dirty.remove(&name);
                    self.forced.remove(&name);
                }
            }
        }
    }

    fn next(
        &mut self,
        type_url: &TypeUrl,
        catalog: &Catalog,
        removals: bool,
    ) -> Option<DeltaDiscoveryResponse> {
        if self.outstanding.is_some() || (self.dirty.is_empty() && !self.unanswered) {
            return None;
        }
        let mut response = DeltaDiscoveryResponse { type_url: type_url.to_string(), ..Default::default() };
        let mut told = Vec::new();
        for name in std::mem::take(&mut self.dirty) {
            let found = catalog.get(type_url, &name);
            let version = found.map(|resource| resource.version.clone());
            if found.is_none() && !removals && matches!(self.has.get(&name), Some(Some(_))) {
                self.dirty.insert(name);
                continue;
            }
            let forced = self.forced.remove(&name);
            if self.rejected.get(&name).is_some_and(|rejection| rejection.version == version) {
                continue;
            }
            self.rejected.remove(&name);
            let known = self.has.get(&name);
            let told_already = known == Some(&version) || (known.is_none() && version.is_none());
            if told_already && !forced {
                self.acked.insert(name, version);
                continue;
            }
            match found {
                Some(resource) => response.resources.push(WireResource {
                    name: name.to_string(),
                    version: resource.version.to_string(),
                    resource: Some(Any { type_url: type_url.to_string(), value: resource.content.to_vec() }),
                    ..Default::default()
                }),
                None => response.removed_resources.push(name.to_string()),
            }
            self.has.insert(name.clone(), version.clone());
            told.push((name, version));
        }
        if told.is_empty() && !self.unanswered {
            return None;
        }
        self.unanswered = false;
        response.system_version_info = self.version_after(type_url, &told);
        self.outstanding = Some(Outstanding { nonce: String::new(), resources: told });
        Some(response)
    }
}

#[cfg(test)]
mod tests;
