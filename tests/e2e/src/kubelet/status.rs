//! A pod's status as the API shows it. Pure.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::Addresses;

/// Where a pod's container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not been started, or not again yet.
    Waiting { reason: &'static str, message: String },
    /// It runs.
    Running { ready: bool },
}

/// What all statuses of one pod share.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) container: String,
    pub(super) image: String,
    pub(super) addresses: Addresses,
    pub(super) since: String,
    pub(super) restarts: u32,
}

pub(super) fn now() -> String {
    Timestamp::now().to_string()
}

/// The status of a pod that no node takes.
pub(super) fn unschedulable() -> Value {
    json!({ "phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu.", "lastTransitionTime": now(),
    }]})
}

impl Shown {
    pub(super) fn status(&self, stage: &Stage) -> Value {
        let (phase, ready, started) = match stage {
            Stage::Waiting { .. } if self.restarts == 0 => ("Pending", false, false),
            Stage::Waiting { .. } => ("Running", false, false),
            Stage::Running { ready } => ("Running", *ready, true),
        };
        let state = match stage {
            Stage::Waiting { reason, message } => {
                json!({ "waiting": { "reason": reason, "message": message } })
            }
            Stage::Running { .. } => json!({ "running": { "startedAt": self.since } }),
        };
        let last = match self.restarts {
            0 => json!({}),
            _ => json!({ "terminated": { "exitCode": 1, "reason": "Error", "finishedAt": now() } }),
        };
        let condition = |kind: &str, holds: bool| json!({ "type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": now() });
        json!({
            "phase": phase,
            "startTime": self.since,
            "hostIP": "10.42.255.255",
            "hostIPs": [{ "ip": "10.42.255.255" }],
            "podIP": self.addresses.v4,
            "podIPs": [{ "ip": self.addresses.v4 }, { "ip": self.addresses.v6 }],
            "conditions": [
                condition("PodScheduled", true),
                condition("Initialized", true),
                condition("ContainersReady", ready),
                condition("Ready", ready),
            ],
            "containerStatuses": [{
                "name": self.container, "image": self.image, "imageID": "", "ready": ready, "started": started,
                "restartCount": self.restarts, "state": state, "lastState": last,
            }],
        })
    }
}
