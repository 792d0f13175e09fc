//! The client's side of incremental ADS. In: responses; out: requests, and calls to a handler. What it holds survives
//! its streams, so that a new stream brings only what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::{TypeUrl, Version};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource,
};
use envoy_types::pb::google::rpc;

/// gRPC's code for it.
const INVALID_ARGUMENT: i32 = 3;
/// So many refused resources are named to the server; the rest is counted.
const REASONS: usize = 20;

/// Takes resources in.
pub trait Handler {
    /// A resource is new or has changed. An error is the reason for its refusal: what was there before must then stay.
    ///
    /// # Errors
    /// One sentence that says what is wrong; the server is told.
    fn set(&mut self, type_url: &TypeUrl, name: &str, content: &[u8]) -> Result<(), String>;

    /// A resource is gone, or does not exist.
    fn remove(&mut self, type_url: &TypeUrl, name: &str);

    /// All of a response was handed over and is about to be acknowledged.
    fn done(&mut self, _type_url: &TypeUrl) {}
}

/// Which resources of a type are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Every one.
    All,
    /// Those named.
    Only(BTreeSet<Arc<str>>),
}

/// What a client wants and has, over any number of streams.
#[derive(Debug)]
pub struct ClientState {
    node: Node,
    types: BTreeMap<TypeUrl, Watch>,
    /// The node was named on this stream; only its first request does that.
    introduced: bool,
}

#[derive(Debug)]
struct Watch {
    names: Names,
    held: BTreeMap<Arc<str>, Version>,
    synced: bool,
}

impl Watch {
    fn new(names: Names) -> Self {
        Self { names, held: BTreeMap::new(), synced: false }
    }

    fn wants(&self, name: &str) -> bool {
        match &self.names {
            Names::All => true,
            Names::Only(names) => names.contains(name),
        }
    }
}

impl ClientState {
    /// A client that wants nothing yet.
    pub fn new(node: Node) -> Self {
        Self { node, types: BTreeMap::new(), introduced: false }
    }

    /// Wants resources of a type, from the next stream on.
    #[must_use]
    pub fn watch(mut self, type_url: impl Into<TypeUrl>, names: Names) -> Self {
        self.types.insert(type_url.into(), Watch::new(names));
        self
    }

    /// Whether a stream would have nothing to ask for: a server ends one on which no request comes.
    pub fn wants_nothing(&self) -> bool {
        let nothing = |watch: &Watch| matches!(&watch.names, Names::Only(names) if names.is_empty());
        self.types.values().all(nothing)
    }

    /// There is no stream any more.
    pub fn close(&mut self) {
        self.introduced = false;
        self.types.values_mut().for_each(|watch| watch.synced = false);
    }

    /// The first requests of a new stream. What was on its way on the last one is forgotten.
    pub fn open(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.close();
        let types: Vec<TypeUrl> = self.types.keys().cloned().collect();
        types.iter().filter_map(|type_url| self.first(type_url)).collect()
    }

    fn first(&mut self, type_url: &TypeUrl) -> Option<DeltaDiscoveryRequest> {
        let watch = self.types.get(type_url)?;
        let names = match &watch.names {
            Names::All => vec!["*".to_owned()],
            // Nothing named is nothing wanted, but an empty first request would mean everything.
            Names::Only(names) if names.is_empty() => return None,
            Names::Only(names) => names.iter().map(ToString::to_string).collect(),
        };
        let held = watch.held.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect();
        let mut request = self.request(type_url);
        request.resource_names_subscribe = names;
        request.initial_resource_versions = held;
        Some(request)
    }

    fn request(&mut self, type_url: &TypeUrl) -> DeltaDiscoveryRequest {
        let node = (!self.introduced).then(|| self.node.clone());
        self.introduced = true;
        DeltaDiscoveryRequest { node, type_url: type_url.to_string(), ..DeltaDiscoveryRequest::default() }
    }

    /// Wants more or fewer names of a type from now on, which may be one that nothing was wanted of. The request is for the
    /// stream that is open, if one is; `None` when nothing changes or everything of the type is wanted anyway. Drops what
    /// is held of names no longer wanted, without telling the handler.
    pub fn change(
        &mut self,
        type_url: &TypeUrl,
        more: &[Arc<str>],
        fewer: &[Arc<str>],
    ) -> Option<DeltaDiscoveryRequest> {
        if !more.is_empty() && !self.types.contains_key(type_url) {
            self.types.insert(type_url.clone(), Watch::new(Names::Only(BTreeSet::new())));
        }
        let watch = self.types.get_mut(type_url)?;
        let Names::Only(names) = &mut watch.names else { return None };
        let added: Vec<String> =
            more.iter().filter(|name| names.insert((*name).clone())).map(ToString::to_string).collect();
        let gone: Vec<&Arc<str>> = fewer.iter().filter(|name| names.remove(*name)).collect();
        let removed: Vec<String> = gone.iter().map(ToString::to_string).collect();
        gone.iter().for_each(|name| drop(watch.held.remove(*name)));
        if added.is_empty() && removed.is_empty() {
            return None;
        }
        let mut request = self.request(type_url);
        request.resource_names_subscribe = added;
        request.resource_names_unsubscribe = removed;
        Some(request)
    }

    /// Hands a response to the handler, and answers it: an ACK, or a NACK that names each refused resource and says
    /// why. Those that were not refused are applied all the same.
    pub fn on_response(
        &mut self,
        response: DeltaDiscoveryResponse,
        handler: &mut dyn Handler,
    ) -> DeltaDiscoveryRequest {
        let type_url = TypeUrl::from(response.type_url.as_str());
        let mut answer = self.request(&type_url);
        answer.response_nonce = response.nonce;
        let Some(watch) = self.types.get_mut(&type_url) else {
            answer.error_detail = refusal(&[format!("not subscribed to type {type_url}")]);
            return answer;
        };
        let mut refused = Vec::new();
        for resource in response.resources {
            if !watch.wants(&resource.name) {
                continue;
            }
            match taken(&type_url, &resource, handler) {
                Ok(()) => {
                    watch.held.insert(resource.name.into(), Version(resource.version.into()));
                }
                Err(reason) => refused.push(format!("{}: {reason}", resource.name)),
            }
        }
        for name in response.removed_resources {
            if watch.wants(&name) {
                watch.held.remove(name.as_str());
                handler.remove(&type_url, &name);
            }
        }
        watch.synced = true;
        handler.done(&type_url);
        answer.error_detail = refusal(&refused);
        answer
    }

    /// What was applied of a type: names and versions.
    pub fn held(&self, type_url: &TypeUrl) -> impl Iterator<Item = (&Arc<str>, &Version)> {
        self.types.get(type_url).into_iter().flat_map(|watch| &watch.held)
    }

    /// Whether a resource was applied, in any version.
    pub fn holds(&self, type_url: &TypeUrl, name: &str) -> bool {
        self.types.get(type_url).is_some_and(|watch| watch.held.contains_key(name))
    }

    /// Whether the open stream, or the last one, has brought any answer.
    pub fn answered(&self) -> bool {
        self.types.values().any(|watch| watch.synced)
    }

    /// Whether the open stream, or the last one, has brought an answer for this type.
    pub fn synced(&self, type_url: &TypeUrl) -> bool {
        self.types.get(type_url).is_some_and(|watch| watch.synced)
    }
}

fn taken(type_url: &TypeUrl, resource: &WireResource, handler: &mut dyn Handler) -> Result<(), String> {
    let Some(any) = &resource.resource else { return Err("has no content".to_owned()) };
    if *any.type_url != *type_url.0 {
        return Err(format!("is of type {}, not of {type_url}", any.type_url));
    }
    handler.set(type_url, &resource.name, &any.value)
}

/// `None` when there is no reason for one.
fn refusal(reasons: &[String]) -> Option<rpc::Status> {
    let mut message = reasons.iter().take(REASONS).map(String::as_str).collect::<Vec<_>>().join("; ");
    if reasons.len() > REASONS {
        let _ = write!(message, "; and {} more", reasons.len() - REASONS);
    }
    (!reasons.is_empty()).then(|| rpc::Status { code: INVALID_ARGUMENT, message, details: Vec::new() })
}

#[cfg(test)]
mod tests;
