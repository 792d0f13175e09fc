//! How far etcd was seen to be. In: the headers of answers; out: an error when it went back (rule L3).

use std::sync::{Mutex, PoisonError};

use etcd_client::ResponseHeader;

use super::StoreError;
use crate::model::Revision;
use crate::store::History;

/// The farthest that any answer has shown. It never goes back, so once etcd did, every later call says so too.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<History>>);

impl Seen {
    /// What is known before a call.
    pub(super) fn now(&self) -> Option<History> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the answer to a linearisable call: it cannot be older than what was known when the call began. Calls
    /// that run beside it may well have seen more.
    pub(super) fn note(
        &self,
        before: Option<History>,
        header: Option<&ResponseHeader>,
    ) -> Result<(), StoreError> {
        let found = history(header);
        if let Some(seen) = before.filter(|seen| !found.continues(*seen)) {
            return Err(StoreError::Restored { seen, found });
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_none_or(|seen| found.continues(seen)) {
            *seen = Some(found);
        }
        Ok(())
    }
}

pub(super) fn history(header: Option<&ResponseHeader>) -> History {
    let cluster = header.map_or(0, ResponseHeader::cluster_id);
    History { cluster, revision: Revision(header.map_or(0, ResponseHeader::revision)) }
}
