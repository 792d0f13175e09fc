//! Incremental xDS. Source of the rules: Envoy's xDS protocol, "Incremental xDS".

use std::collections::HashMap;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use super::{Around, Stream, answer, control_plane, note_moved, words};
use crate::core::event::{Answer, RequestError};
use crate::core::order::{self, Rank};
use crate::core::resource::Version;
use crate::core::subscription::{Subscription, Taken, Wildcard};
use crate::core::table::Table;
use crate::core::wire::Response;

impl Stream {
    /// Takes in a request; says what it answered, if anything.
    pub(in crate::core) fn delta(
        &mut self,
        request: DeltaDiscoveryRequest,
        around: &mut Around<'_>,
        list: bool,
    ) -> Result<Option<Answer>, RequestError> {
        let type_url = self.type_of(&request.type_url, around.limits)?;
        let (subscribe, known) = (request.resource_names_subscribe, request.initial_resource_versions);
        self.check(&type_url, subscribe.len() + known.len(), around.limits)?;
        for name in subscribe.iter().chain(known.keys()) {
            around.limits.name(name)?;
        }
        let first = self.subscribe(around.tables, &type_url);
        let known = if first { known } else { HashMap::new() };
        let (key, seq) = (self.key, around.seq);
        let kind = (Rank::of(&type_url), type_url.clone());
        let (Some(table), Some(subscription)) =
            (around.tables.get_mut(&type_url), self.subscription_mut(&kind))
        else {
            return Ok(None);
        };
        let nonce = request.response_nonce.parse().unwrap_or(0);
        let refusal = request.error_detail.map(|error| words(&error));
        let answered = match &refusal {
            None => subscription.ack(table, nonce, list),
            Some(message) => subscription.nack(table, nonce, message, true),
        };
        let legacy = first && subscribe.is_empty() && order::has_legacy_wildcard(&type_url);
        let everything = subscribe.iter().any(|name| name == "*");
        if everything || legacy {
            subscription.unanswered |= !subscription.is_wildcard();
            let wildcard = if everything { Wildcard::Asked } else { Wildcard::Legacy };
            subscription.want_all(table, key, wildcard, &known, seq);
        }
        if subscription.is_new() && known.is_empty() {
            subscription.want_first(table, key, subscribe.iter().map(String::as_str), seq);
        } else {
            for name in subscribe.iter().filter(|name| *name != "*") {
                subscription.want(table, key, name, known.get(name).map(String::as_str), seq);
            }
        }
        if !subscribe.is_empty() && subscription.wildcard == Wildcard::Legacy {
            subscription.unwant_all(table, key);
        }
        unsubscribe(subscription, table, key, &request.resource_names_unsubscribe);
        note_moved(subscription, &type_url, around.moved);
        self.answered |= answered.is_some();
        if first {
            self.endpoints_asked(&type_url, !known.is_empty(), around.tables);
        }
        Ok(answered.map(|answered| answer(&type_url, nonce, answered, refusal)))
    }
}

fn unsubscribe(subscription: &mut Subscription, table: &mut Table, key: u32, names: &[String]) {
    for name in names {
        if name == "*" {
            subscription.unwant_all(table, key);
        } else if let Some(slot) = table.find(name) {
            subscription.unwant(table, key, slot, true);
        }
    }
}

pub(super) fn response(
    subscription: &Subscription,
    table: &Table,
    taken: &Taken,
    nonce: u64,
    identifier: &str,
) -> Response {
    let slots = || taken.told.iter().map(|slot| table.slot(*slot));
    let resources = slots().filter_map(|slot| Some(slot.resource.as_ref()?.encoded.clone())).collect();
    let removed = slots().filter(|slot| slot.resource.is_none()).map(|slot| slot.name.to_string());
    let head = DeltaDiscoveryResponse {
        system_version_info: system_version(subscription, table, taken).to_string(),
        type_url: table.type_url.to_string(),
        removed_resources: removed.collect(),
        control_plane: control_plane(identifier),
        ..DeltaDiscoveryResponse::default()
    };
    Response::delta(nonce, head, resources)
}

/// Envoy shows a hash of this as the `version` gauge: of an assignment sent alone its own version, else a hash of all
/// that is served to the client.
fn system_version(subscription: &Subscription, table: &Table, taken: &Taken) -> Version {
    if table.rank == Rank::Endpoints
        && let [slot] = taken.told[..]
        && let Some(version) = table.slot(slot).version()
    {
        return version.clone();
    }
    table.version_of(subscription.sum(table))
}
