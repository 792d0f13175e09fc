//! Which type's turn it is on an aggregated stream: make before break.

use std::sync::Arc;

use super::{Stream, Tables};
use crate::core::limits::Limits;
use crate::core::order::Rank;
use crate::core::resource::TypeUrl;
use crate::core::subscription::{Removal, Subscription};
use crate::core::table::{SlotId, Table};

impl Stream {
    /// What refers to clusters waits for those of the same change, or an older one.
    pub(super) fn must_wait(&self, key: &(Rank, TypeUrl), tables: &Tables) -> bool {
        let newest = || self.types.get(key)?.newest(tables.get(&key.1)?);
        key.0.follows_clusters()
            && newest().is_some_and(|newest| {
                self.each(tables).any(|(rank, subscription, table)| {
                    rank.removed_last() && subscription.is_behind(table, newest)
                })
            })
    }

    /// What is referred to is removed when the client has answered what referred to it, or when too much is kept for it. One
    /// that came back with something that has vanished may not have said yet that it also has what refers to that.
    pub(super) fn removal(&self, key: &(Rank, TypeUrl), tables: &Tables, limits: &Limits) -> Removal {
        let followers = || self.types.iter().filter(|((rank, _), _)| rank.follows_clusters());
        let told_of_all = self.answered || self.service.is_some();
        let up_to_date = || followers().all(|(_, follower)| follower.is_up_to_date());
        if !key.0.removed_last() || (told_of_all && up_to_date()) {
            return Removal::Now;
        }
        let removals = || self.types.get(key)?.removals(tables.get(&key.1)?);
        match removals() {
            Some(removals) if removals.kept > limits.removals => Removal::Now,
            Some(_) if !told_of_all => Removal::Asking,
            Some(removals) if followers().any(|(_, one)| one.may_have_from_before(removals.newest)) => {
                Removal::Later
            }
            Some(_) | None => Removal::Now,
        }
    }

    fn each<'a>(&'a self, tables: &'a Tables) -> impl Iterator<Item = (Rank, &'a Subscription, &'a Table)> {
        self.types
            .iter()
            .filter_map(|((rank, type_url), subscription)| Some((*rank, subscription, tables.get(type_url)?)))
    }

    /// A cluster that Envoy gets anew warms until its endpoints come, though Envoy had them (go-control-plane #1035).
    pub(super) fn resend_endpoints(&mut self, endpoints: &[Arc<str>], tables: &mut Tables) {
        for ((rank, type_url), subscription) in &mut self.types {
            let Some(table) = tables.get_mut(type_url).filter(|_| *rank == Rank::Endpoints) else { continue };
            for name in endpoints {
                if let Some(slot) = table.find(name).filter(|slot| subscription.wants(*slot)) {
                    subscription.force(table, slot);
                }
            }
        }
    }

    /// The first request for endpoints was taken in; the client says that it has some already, or nothing of that.
    pub(super) fn endpoints_asked(&mut self, type_url: &TypeUrl, has_some: bool, tables: &mut Tables) {
        if Rank::of(type_url) == Rank::Endpoints {
            let unfed = std::mem::take(&mut self.unfed);
            if has_some {
                self.resend_endpoints(&unfed, tables);
            }
        }
    }
}

/// The names of the endpoints of those clusters that exist.
pub(super) fn endpoints_of(clusters: &Table, slots: &[SlotId]) -> Vec<Arc<str>> {
    let slots = slots.iter().map(|slot| clusters.slot(*slot));
    slots.filter_map(|slot| Some(slot.resource.as_ref()?.endpoints(&slot.name).clone())).collect()
}
