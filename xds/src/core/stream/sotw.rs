//! State-of-the-world xDS. Source of the rules: Envoy's xDS protocol, "Basic protocol overview" onwards.

use std::collections::{HashMap, HashSet};

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::{Around, Stream, answer, control_plane, note_moved, words};
use crate::core::event::{Answer, RequestError};
use crate::core::order::{self, Rank};
use crate::core::resource::Version;
use crate::core::subscription::{Manner, Subscription, Taken, Wildcard};
use crate::core::table::{SlotId, StreamKey, Table};
use crate::core::wire::Response;

impl Stream {
    /// Takes in a request; says what it answered, if anything.
    pub(in crate::core) fn sotw(
        &mut self,
        request: DiscoveryRequest,
        around: &mut Around<'_>,
        list: bool,
    ) -> Result<Option<Answer>, RequestError> {
        let type_url = self.type_of(&request.type_url, around.limits)?;
        let held = self.subscription(&type_url).map_or(0, Subscription::names);
        self.check(&type_url, request.resource_names.len().saturating_sub(held), around.limits)?;
        let names = request.resource_names.iter().map(|name| around.limits.name(name));
        let names: HashSet<&str> = names.collect::<Result<_, _>>()?;
        let first = self.subscribe(around.tables, &type_url);
        let (key, seq) = (self.key, around.seq);
        let (Some(table), Some(subscription)) = (
            around.tables.get_mut(&type_url),
            self.subscription_mut(&(Rank::of(&type_url), type_url.clone())),
        ) else {
            return Ok(None);
        };
        // A stale nonce answers nothing. While the newest response is unanswered, its client has not read that yet, and what it
        // asks for counts all the same: it may give something up, drop it, and want it again before it answers the newest.
        let nonce = request.response_nonce.parse().unwrap_or(0);
        let is_stale = !first && !request.response_nonce.is_empty() && nonce != subscription.nonce();
        if is_stale && subscription.is_answered() {
            return Ok(None);
        }
        let refusal = request.error_detail.map(|error| words(&error));
        let full = subscription.is_wildcard() || order::is_full_state(&type_url);
        let answered = match &refusal {
            None => subscription.ack(table, nonce, list),
            Some(message) => subscription.nack(table, nonce, message, !full),
        };
        ask(subscription, table, Asked { key, seq, first, names });
        subscription.set_full(subscription.is_wildcard() || order::is_full_state(&type_url));
        let served = table.version_of(subscription.sum(table));
        if first && !request.version_info.is_empty() && *served.0 == *request.version_info {
            subscription.settle_all(table);
        }
        note_moved(subscription, &type_url, around.moved);
        self.answered |= answered.is_some();
        if first {
            self.endpoints_asked(&type_url, !request.version_info.is_empty(), around.tables);
        }
        Ok(answered.map(|answered| answer(&type_url, nonce, answered, refusal)))
    }
}

/// What a request of a stream asks for.
struct Asked<'a> {
    key: StreamKey,
    /// The group's count of changes.
    seq: u64,
    /// It is the stream's first of this type.
    first: bool,
    names: HashSet<&'a str>,
}

/// The client wants exactly the names of the request.
fn ask(subscription: &mut Subscription, table: &mut Table, request: Asked<'_>) {
    let Asked { key, seq, first, names } = request;
    let asked = names.contains("*");
    let everything = subscription.is_wildcard();
    let legacy = names.is_empty() && (first || subscription.wildcard == Wildcard::Legacy);
    let legacy = legacy && order::has_legacy_wildcard(&table.type_url);
    if asked || legacy {
        subscription.unanswered |= !subscription.is_wildcard();
        let wildcard = if asked { Wildcard::Asked } else { Wildcard::Legacy };
        subscription.want_all(table, key, wildcard, &HashMap::new(), seq);
    }
    let gone: Vec<SlotId> =
        subscription.named().filter(|slot| !names.contains(&*table.slot(*slot).name)).collect();
    if subscription.is_new() {
        subscription.want_first(table, key, names.iter().copied(), seq);
    }
    for name in names.iter().filter(|name| **name != "*") {
        let known = table.find(name).is_some_and(|slot| subscription.is_named(slot));
        if !known {
            subscription.want(table, key, name, None, seq);
        }
    }
    let full = order::is_full_state(&table.type_url);
    subscription.unanswered |= first && full;
    for slot in gone {
        subscription.unwant(table, key, slot, false);
        // The client's version must not stand for what it has dropped: it could ask for it again on another stream.
        subscription.unanswered |= !subscription.is_wildcard();
    }
    if !asked && !legacy {
        subscription.unwant_all(table, key);
        if everything {
            subscription.unanswered = true;
            subscription.unpark();
        }
    }
}

/// Also the hash of the set that a full state leaves the client with.
pub(super) fn response(
    subscription: &Subscription,
    table: &Table,
    taken: &Taken,
    manner: Manner,
    nonce: u64,
    identifier: &str,
) -> (Response, Option<u128>) {
    let kept = || taken.kept.iter().filter_map(|slot| table.slot(*slot).lingering.as_ref());
    let wanted = subscription.sum(table);
    let sum = match manner {
        Manner::Full => kept().fold(wanted, |sum, kept| sum.wrapping_add(kept.mark)),
        // The version stands for what the client then has: of what it refused, or is sent in parts, it may lack the rest.
        Manner::Delta | Manner::Partial => wanted.wrapping_sub(subscription.lacking(table, &taken.told)),
    };
    // What the caller calls the whole is no name for anything else.
    let version = if sum == wanted { table.version_of(sum) } else { Version::hash(sum) };
    let field = |slot: SlotId| Some(table.slot(slot).resource.as_ref()?.encoded.clone());
    let resources: Vec<_> = match manner {
        Manner::Full => {
            let all: Box<dyn Iterator<Item = SlotId>> = if subscription.is_wildcard() {
                Box::new(table.served().map(|(slot, _)| slot))
            } else {
                Box::new(subscription.named())
            };
            all.filter_map(field).chain(kept().map(|kept| kept.encoded.clone())).collect()
        }
        Manner::Delta | Manner::Partial => taken.told.iter().copied().filter_map(field).collect(),
    };
    let head = DiscoveryResponse {
        version_info: version.to_string(),
        type_url: table.type_url.to_string(),
        control_plane: control_plane(identifier),
        ..DiscoveryResponse::default()
    };
    (Response::sotw(nonce, head, resources), (manner == Manner::Full).then_some(sum))
}
