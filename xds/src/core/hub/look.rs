//! What a hub can be asked: who has applied what, and how each stream fares. Nothing here changes anything.

use std::sync::Arc;

use bytes::Bytes;

use super::{Hub, StreamId};
use crate::core::resource::{TypeUrl, Version};
use crate::core::stream::Stream;
use crate::core::subscription::Subscription;
use crate::core::table::Table;
use crate::core::wire::Variant;

/// One type on a stream, for status pages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypeStatus {
    /// The type.
    pub type_url: TypeUrl,
    /// Subscribed to all resources.
    pub wildcard: bool,
    /// Names subscribed to.
    pub names: usize,
    /// Resources that wait to be sent or acknowledged.
    pub unsettled: usize,
    /// What the client has refused and is not sent again until it changes.
    pub rejected: Vec<RejectedStatus>,
}

/// A refused resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The refused version; `None` is a removal.
    pub version: Option<Version>,
    /// The client's own words, cut at 4 KiB.
    pub message: Arc<str>,
}

impl Hub {
    /// When a resource last changed, in the group's count of changes.
    pub fn changed_at(&self, type_url: &TypeUrl, name: &str) -> u64 {
        let find = || {
            let table = self.tables.get(type_url)?;
            Some(table.slot(table.find(name)?).seq)
        };
        // What does not exist was last changed now, as far as anyone can tell.
        find().unwrap_or(self.seq)
    }

    /// Whether every stream of the node that subscribes to this resource has applied what was served of it at `since`,
    /// or something later; false when there is no such stream. A removal counts as applied when its client said so.
    pub fn is_acked(&self, node: &str, type_url: &TypeUrl, name: &str, since: u64) -> bool {
        let slot = self.tables.get(type_url).and_then(|table| table.find(name));
        let exists = self.exists(type_url, name);
        let keys = self.by_node.get(node).into_iter().flatten();
        let subscriptions = keys.filter_map(|key| self.streams[*key as usize].subscription(type_url));
        let mut any = false;
        for subscription in subscriptions {
            match slot {
                Some(slot) if !subscription.wants(slot) => continue,
                Some(slot) if !subscription.has_applied(slot, since) => return false,
                // There is no slot: nobody asks for the name, and nobody has yet to be told that it is gone.
                None if !subscription.is_wildcard() => continue,
                _ if !exists && subscription.may_have_unsaid() => return false,
                _ => any = true,
            }
        }
        any
    }

    /// Whether all streams that subscribe to this resource have applied what was served of it at `since`, or something
    /// later. One look, unless it has changed since then and not all have applied that.
    pub fn is_acked_by_all(&self, type_url: &TypeUrl, name: &str, since: u64) -> bool {
        if !self.exists(type_url, name) && self.may_have_unsaid(type_url, name) {
            return false;
        }
        let Some((slot, entry)) = self.tables.get(type_url).and_then(|table| {
            let slot = table.find(name)?;
            Some((slot, table.slot(slot)))
        }) else {
            return true;
        };
        if entry.unsettled == 0 || entry.seq <= since {
            return entry.unsettled == 0;
        }
        let subscriptions = self.streams.iter().filter_map(|(_, stream)| stream.subscription(type_url));
        subscriptions
            .filter(|subscription| subscription.wants(slot))
            .all(|subscription| subscription.has_applied(slot, since))
    }

    fn exists(&self, type_url: &TypeUrl, name: &str) -> bool {
        let table = self.tables.get(type_url);
        table.is_some_and(|table| table.find(name).is_some_and(|slot| table.slot(slot).resource.is_some()))
    }

    /// Whether any client that is to have it if it exists may have it though it does not, and has yet to be told.
    fn may_have_unsaid(&self, type_url: &TypeUrl, name: &str) -> bool {
        let Some(table) = self.tables.get(type_url) else { return false };
        let slot = table.find(name);
        let wants = |one: &Subscription| slot.map_or(one.is_wildcard(), |slot| one.wants(slot));
        let subscriptions = self.streams.iter().filter_map(|(_, stream)| stream.subscription(type_url));
        subscriptions.into_iter().any(|one| one.may_have_unsaid() && wants(one))
    }

    /// The types of which the last request, poll or end of a stream settled something otherwise than by an answer: who waits
    /// for [`Self::is_acked`] or [`Self::is_acked_by_all`] looks again after this, and after an [`Answer`](crate::core::Answer)
    /// about the resource.
    pub fn moved(&self) -> &[TypeUrl] {
        &self.moved
    }

    /// The resources that the last change set, or removed, as a client has refused them before: they are not sent to it, and
    /// there will be no [`Answer`](crate::core::Answer). Who waits for [`Self::refusal`] looks again after this, and after a
    /// refusal of the resource.
    pub fn returned(&self) -> &[(TypeUrl, Arc<str>)] {
        &self.returned
    }

    /// A client that has refused the resource as it is served now, so that it is not sent it again: its node, of `node` alone
    /// if that is given, and its words.
    pub fn refusal(
        &self,
        node: Option<&str>,
        type_url: &TypeUrl,
        name: &str,
    ) -> Option<(Arc<str>, Arc<str>)> {
        let table = self.tables.get(type_url)?;
        let slot = table.find(name)?;
        let served = table.slot(slot).version();
        let refused = |stream: &Stream| {
            let refused = stream.subscription(type_url)?.refusal(slot)?;
            (refused.version.as_ref() == served).then(|| (stream.node.clone(), refused.message.clone()))
        };
        match node {
            Some(node) => {
                let keys = self.by_node.get(node).into_iter().flatten();
                keys.into_iter().find_map(|key| refused(&self.streams[*key as usize]))
            }
            None => self.streams.iter().find_map(|(_, stream)| refused(stream)),
        }
    }

    /// The nodes of all streams, each with the version of the resource it has applied; `None`: nothing, or not known.
    pub fn acked(&self, type_url: &TypeUrl, name: &str) -> Vec<(Arc<str>, Option<Version>)> {
        let found = || {
            let table = self.tables.get(type_url)?;
            let slot = table.find(name)?;
            Some((slot, table.slot(slot).version()))
        };
        let found = found();
        let applied = |stream: &Stream| {
            let (slot, served) = found?;
            let subscription =
                stream.subscription(type_url).filter(|subscription| subscription.wants(slot))?;
            subscription.applied(slot, served)
        };
        self.streams.iter().map(|(_, stream)| (stream.node.clone(), applied(stream))).collect()
    }

    /// What is served of a resource: its version and its encoded message.
    pub fn get(&self, type_url: &TypeUrl, name: &str) -> Option<(Version, Bytes)> {
        let table = self.tables.get(type_url)?;
        let resource = table.slot(table.find(name)?).resource.as_ref()?;
        Some((resource.version.clone(), resource.content()))
    }

    /// How many resources of a type are served.
    pub fn len(&self, type_url: &TypeUrl) -> usize {
        self.tables.get(type_url).map_or(0, Table::len)
    }

    /// Nothing is served, asked for, or kept.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.streams.is_empty() && self.by_node.is_empty()
    }

    /// How many times a resource was encoded.
    pub fn encoded(&self) -> u64 {
        self.encoded
    }

    /// The open streams: id, node, variant.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, &Arc<str>, Variant)> {
        self.streams.iter().map(|(_, stream)| (StreamId(stream.key), &stream.node, stream.variant))
    }

    /// What a stream subscribes to and how far it has come.
    pub fn types(&self, id: StreamId) -> Vec<TypeStatus> {
        let stream = self.streams.get(id.0 as usize);
        let subscriptions = stream.into_iter().flat_map(Stream::subscriptions);
        let status = subscriptions.filter_map(|(type_url, subscription)| {
            let table = self.tables.get(type_url)?;
            let rejected = subscription.refused().map(|(slot, refused)| RejectedStatus {
                name: table.slot(slot).name.clone(),
                version: refused.version.clone(),
                message: refused.message.clone(),
            });
            Some(TypeStatus {
                type_url: type_url.clone(),
                wildcard: subscription.is_wildcard(),
                names: subscription.names(),
                unsettled: subscription.unsettled(),
                rejected: rejected.collect(),
            })
        });
        status.collect()
    }
}
