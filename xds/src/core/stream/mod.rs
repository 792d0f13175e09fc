//! One client's stream of either variant: requests in, responses out, one outstanding response for each type.

mod delta;
mod sotw;
mod turns;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::ControlPlane;
use envoy_types::pb::google::rpc;

use super::event::{Answer, Exceeded, RequestError};
use super::limits::Limits;
use super::order::{self, Rank};
use super::resource::TypeUrl;
use super::subscription::{Answered, Manner, Subscription};
use super::table::{StreamKey, Table};
use super::wire::{Response, Variant};

/// So much of a client's words is kept, in bytes.
const WORDS: usize = 4096;

pub(super) type Tables = HashMap<TypeUrl, Table>;

/// What a stream's state needs from around it for one step.
pub(super) struct Around<'a> {
    pub(super) tables: &'a mut Tables,
    pub(super) limits: &'a Limits,
    /// The group's count of changes.
    pub(super) seq: u64,
    /// Names itself in responses; may be empty.
    pub(super) identifier: &'a str,
    /// The types of which something was settled without an answer.
    pub(super) moved: &'a mut Vec<TypeUrl>,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) key: StreamKey,
    pub(super) node: Arc<str>,
    pub(super) variant: Variant,
    /// The type of a single-type service.
    service: Option<TypeUrl>,
    types: BTreeMap<(Rank, TypeUrl), Subscription>,
    /// The endpoints of the clusters of the first response, as long as none are subscribed to: a client that comes back with
    /// endpoints may ask for them after its clusters have changed.
    unfed: Vec<Arc<str>>,
    nonces: u64,
    /// The client has answered a response, so that it has asked for all types of which it had something when it came.
    answered: bool,
    /// It is to be polled; the caller has been told.
    pub(super) woken: bool,
}

impl Stream {
    pub(super) fn new(key: StreamKey, node: Arc<str>, variant: Variant, service: Option<TypeUrl>) -> Self {
        Self {
            key,
            node,
            variant,
            service,
            types: BTreeMap::new(),
            unfed: Vec::new(),
            nonces: 0,
            answered: false,
            woken: false,
        }
    }

    pub(super) fn subscription(&self, type_url: &TypeUrl) -> Option<&Subscription> {
        self.types.get(&(Rank::of(type_url), type_url.clone()))
    }

    pub(super) fn subscription_mut(&mut self, kind: &(Rank, TypeUrl)) -> Option<&mut Subscription> {
        self.types.get_mut(kind)
    }

    pub(super) fn subscriptions(&self) -> impl Iterator<Item = (&TypeUrl, &Subscription)> {
        self.types.iter().map(|((_, type_url), subscription)| (type_url, subscription))
    }

    /// The type that a request is about.
    fn type_of(&self, asked: &str, limits: &Limits) -> Result<TypeUrl, RequestError> {
        limits.short("a type URL", asked)?;
        match &self.service {
            Some(served) if asked.is_empty() || *served.0 == *asked => Ok(served.clone()),
            Some(served) => Err(RequestError::WrongType { served: served.clone(), asked: asked.to_owned() }),
            None if asked.is_empty() => Err(RequestError::NoType),
            None => Ok(asked.into()),
        }
    }

    /// Whether there is room for `more` names.
    fn check(&self, type_url: &TypeUrl, more: usize, limits: &Limits) -> Result<(), Exceeded> {
        if self.types.len() >= limits.types && self.subscription(type_url).is_none() {
            return Err(Exceeded::Types(limits.types));
        }
        let names: usize = self.types.values().map(Subscription::kept_names).sum();
        if names + more > limits.names {
            return Err(Exceeded::Names(limits.names));
        }
        Ok(())
    }

    /// The subscription to a type, and whether it is new.
    fn subscribe(&mut self, tables: &mut Tables, type_url: &TypeUrl) -> bool {
        let key = (Rank::of(type_url), type_url.clone());
        let first = !self.types.contains_key(&key);
        if first {
            self.types.insert(key, Subscription::default());
            let table = tables.entry(type_url.clone()).or_insert_with(|| Table::new(type_url.clone()));
            table.subscriptions += 1;
        }
        first
    }

    /// The next response; `None`: nothing is to be said now.
    pub(super) fn poll(&mut self, around: &mut Around<'_>) -> Option<Response> {
        let due = self.types.iter().filter(|(_, subscription)| subscription.is_due());
        let due: Vec<(Rank, TypeUrl)> = due.map(|(key, _)| key.clone()).collect();
        due.iter().find_map(|key| self.poll_type(key, around))
    }

    fn poll_type(&mut self, key: &(Rank, TypeUrl), around: &mut Around<'_>) -> Option<Response> {
        if self.must_wait(key, around.tables) {
            return None;
        }
        let removal = self.removal(key, around.tables, around.limits);
        let manner = self.manner(key);
        let has_endpoints = self.types.keys().any(|(rank, _)| *rank == Rank::Endpoints);
        let subscription = self.types.get_mut(key)?;
        let table = around.tables.get_mut(&key.1)?;
        let sum = subscription.sum(table);
        if manner == Manner::Full && subscription.has_refused_set(sum) {
            subscription.park();
            return None;
        }
        let taken = subscription.take(table, manner, removal);
        note_moved(subscription, &key.1, around.moved);
        let taken = taken?;
        self.nonces += 1;
        let (response, set) = match self.variant {
            Variant::Delta => {
                (delta::response(subscription, table, &taken, self.nonces, around.identifier), None)
            }
            Variant::StateOfTheWorld => {
                sotw::response(subscription, table, &taken, manner, self.nonces, around.identifier)
            }
        };
        let is_first = subscription.nonce() == 0;
        let changed = match key.0 {
            Rank::Clusters if has_endpoints || is_first => turns::endpoints_of(table, &taken.told),
            _ => Vec::new(),
        };
        subscription.sent(self.nonces, around.seq, set, taken.told);
        if has_endpoints {
            self.resend_endpoints(&changed, around.tables);
        } else if is_first && key.0 == Rank::Clusters {
            self.unfed = changed;
        }
        Some(response)
    }

    fn manner(&self, key: &(Rank, TypeUrl)) -> Manner {
        match self.variant {
            Variant::Delta => Manner::Delta,
            Variant::StateOfTheWorld => {
                let wildcard = self.types.get(key).is_some_and(Subscription::is_wildcard);
                if wildcard || order::is_full_state(&key.1) { Manner::Full } else { Manner::Partial }
            }
        }
    }

    /// The stream has ended. `moved` gets its types.
    pub(super) fn close(self, tables: &mut Tables, moved: &mut Vec<TypeUrl>) {
        for ((_, type_url), subscription) in self.types {
            moved.push(type_url.clone());
            if let Some(table) = tables.get_mut(&type_url) {
                subscription.close(table, self.key);
                table.subscriptions -= 1;
                if table.is_unused() {
                    tables.remove(&type_url);
                }
            }
        }
    }
}

/// Who waits for something of this type may have it.
fn note_moved(subscription: &mut Subscription, type_url: &TypeUrl, moved: &mut Vec<TypeUrl>) {
    if std::mem::take(&mut subscription.moved) {
        moved.push(type_url.clone());
    }
}

/// An answer as events and logs show it.
fn answer(type_url: &TypeUrl, nonce: u64, answered: Answered, refusal: Option<String>) -> Answer {
    let Answered { count, resources } = answered;
    Answer { type_url: type_url.clone(), nonce, count, resources, refusal }
}

/// What the client says of its refusal, cut: it may be as long as a request.
fn words(error: &rpc::Status) -> String {
    let message = &error.message;
    let cut = (0..=WORDS.min(message.len())).rev().find(|at| message.is_char_boundary(*at));
    message[..cut.unwrap_or(0)].to_owned()
}

pub(super) fn control_plane(identifier: &str) -> Option<ControlPlane> {
    (!identifier.is_empty()).then(|| ControlPlane { identifier: identifier.to_owned() })
}
