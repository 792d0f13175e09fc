//! What the source has to say about users' objects, for the reporter to write on them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as KubeCondition;
use serde_json::Value;
use zenvoy_shared::id::Uid;

use super::keep::Key;
use crate::model::{Condition, Problem};

/// The configuration is valid and counts.
pub(super) const ACCEPTED: &str = "Accepted";
/// Exactly one workload is behind it.
pub(super) const TARGET_RESOLVED: &str = "TargetResolved";

/// An object that configures upstreams.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectId {
    pub(super) kind: ObjectKind,
    pub(super) key: Key,
}

/// The kinds of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ObjectKind {
    /// By its annotations.
    Service,
    /// By its spec.
    Upstream,
}

impl ObjectId {
    pub(super) fn service(key: Key) -> Self {
        Self { kind: ObjectKind::Service, key }
    }

    pub(super) fn upstream(key: Key) -> Self {
        Self { kind: ObjectKind::Upstream, key }
    }
}

/// What should stand on an object, and what does.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    pub(super) uid: Uid,
    pub(super) generation: i64,
    /// Empty: the object does not configure anything.
    pub(super) conditions: Vec<Condition>,
    /// What is in effect although the object does not say so.
    pub(super) last_good: Option<String>,
    pub(super) shown: Shown,
}

/// What stands on an object now.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    Service { condition: Option<KubeCondition>, last_good: Option<String> },
    Upstream { status: Value },
}

impl Notice {
    /// The first thing that is wrong.
    pub(super) fn problem(&self) -> Option<&Problem> {
        self.conditions.iter().find(|condition| !condition.holds).map(|condition| &condition.problem)
    }

    /// Nothing is to be said and nothing stands there.
    pub(super) fn is_void(&self) -> bool {
        let bare = matches!(&self.shown, Shown::Service { condition: None, last_good: None });
        self.conditions.is_empty() && self.last_good.is_none() && bare
    }
}
