//! Why a workload's pods do not become ready. In: conditions of the workload, and its pods; out: a problem with a stable
//! reason, or none. Pure. Nobody is failed while one pod may still become ready.

use std::time::Duration;

use zenvoy_shared::duration::Span;

use super::objects::{PartialCondition, PodObject};
use crate::model::Problem;

/// From the conditions of a Deployment or ReplicaSet: its pods cannot even be created.
pub(super) fn of_conditions(conditions: &[PartialCondition]) -> Option<Problem> {
    let failure = conditions
        .iter()
        .find(|condition| condition.kind == "ReplicaFailure" && condition.status == "True")?;
    Some(refusal(&failure.message))
}

/// From what the API server said to whoever wanted to create pods.
pub(super) fn refusal(message: &str) -> Problem {
    let reason = if message.contains("exceeded quota") { "QuotaExceeded" } else { "PodsRefused" };
    Problem { reason: reason.into(), message: format!("pods cannot be created: {}", cut(message)) }
}

/// From the pods of a workload that has been starting for `starting`. A pod without a node is a problem only after
/// `unschedulable_after`: a cluster that grows needs time.
pub(super) fn of_pods(
    pods: &[PodObject],
    starting: Duration,
    unschedulable_after: Duration,
) -> Option<Problem> {
    let mut first = None;
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && !pod.is_over()) {
        let problem = of_pod(pod, starting >= unschedulable_after)?;
        first.get_or_insert(problem);
    }
    first
}

fn of_pod(pod: &PodObject, patience_is_over: bool) -> Option<Problem> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
    let waiting = containers.into_iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = match waiting.reason.as_str() {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable" => "ImagePullFailed",
            "CrashLoopBackOff" => "CrashLoop",
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError" => {
                "ContainerFailed"
            }
            _ => return None,
        };
        let exit =
            container.last_exit_code().map(|code| format!(", last exit code {code}")).unwrap_or_default();
        let message = format!(
            "pod {name}, container {}: {}{exit}: {}",
            container.name,
            waiting.reason,
            cut(&waiting.message)
        );
        Some(Problem { reason: reason.into(), message })
    });
    let unschedulable = || {
        let condition = status.conditions.iter().find(|condition| {
            condition.kind == "PodScheduled"
                && condition.status == "False"
                && condition.reason == "Unschedulable"
        })?;
        patience_is_over.then(|| Problem {
            reason: "Unschedulable".into(),
            message: format!("pod {name} finds no node: {}", cut(&condition.message)),
        })
    };
    waiting.or_else(unschedulable)
}

/// How long the kubelet waits before the next start of a container: it says so only in its message.
pub(super) fn back_off(problem: &Problem) -> Option<Duration> {
    let (_, from) = problem.message.split_once("back-off ")?;
    let Span(wait) = from.split_whitespace().next()?.parse().ok()?;
    Some(wait)
}

/// Messages of others may be long.
fn cut(message: &str) -> &str {
    const LONGEST: usize = 300;
    let end = message.char_indices().map(|(at, _)| at).nth(LONGEST).unwrap_or(message.len());
    &message[..end]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[allow(clippy::needless_pass_by_value)] // JSON in place
    fn pod(status: Value) -> PodObject {
        let pod = json!({ "metadata": { "name": "cart-1" }, "status": status });
        serde_json::from_value(pod).expect("a pod")
    }

    fn waiting(reason: &str) -> PodObject {
        pod(json!({ "phase": "Pending", "containerStatuses": [{
            "name": "main", "state": { "waiting": { "reason": reason, "message": "because" } },
            "lastState": { "terminated": { "exitCode": 3 } },
        }] }))
    }

    fn reason(pods: &[PodObject], starting: Duration) -> Option<String> {
        of_pods(pods, starting, PATIENCE).map(|problem| problem.reason)
    }

    #[test]
    fn what_keeps_a_container_from_running_has_a_stable_reason() {
        for (word, expected) in [
            ("ImagePullBackOff", Some("ImagePullFailed")),
            ("ErrImagePull", Some("ImagePullFailed")),
            ("CrashLoopBackOff", Some("CrashLoop")),
            ("CreateContainerConfigError", Some("ContainerFailed")),
            ("ContainerCreating", None),
            ("PodInitializing", None),
        ] {
            assert_eq!(reason(&[waiting(word)], Duration::ZERO).as_deref(), expected, "{word}");
        }
    }

    #[test]
    fn the_message_names_pod_container_exit_code_and_cause() {
        let problem = of_pods(&[waiting("CrashLoopBackOff")], Duration::ZERO, PATIENCE).expect("a problem");
        for part in ["cart-1", "main", "3", "because"] {
            assert!(problem.message.contains(part), "{}", problem.message);
        }
    }

    #[test]
    fn a_crash_loops_back_off_is_the_kubelets() {
        let looping = |message: &str| {
            let pod = pod(json!({ "containerStatuses": [{ "name": "main", "state": { "waiting": {
                "reason": "CrashLoopBackOff", "message": message } } }] }));
            back_off(&of_pods(&[pod], Duration::ZERO, PATIENCE).expect("a problem"))
        };
        for (said, seconds) in [("10s", 10), ("1m20s", 80), ("5m0s", 300)] {
            let message = format!("back-off {said} restarting failed container=main pod=cart-1_shop(1)");
            assert_eq!(looping(&message), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(looping("back-off soon"), None);
        assert_eq!(looping("because"), None);
    }

    #[test]
    fn an_init_container_counts_too() {
        let pod = pod(json!({ "initContainerStatuses": [{
            "name": "setup", "state": { "waiting": { "reason": "CrashLoopBackOff" } } }] }));
        assert_eq!(reason(&[pod], Duration::ZERO).as_deref(), Some("CrashLoop"));
    }

    #[test]
    fn nobody_is_failed_while_one_pod_may_still_become_ready() {
        let starting = pod(json!({ "phase": "Running" }));
        assert_eq!(reason(&[waiting("ImagePullBackOff"), starting], Duration::ZERO), None);
        assert_eq!(reason(&[], Duration::ZERO), None);
    }

    #[test]
    fn a_pod_that_leaves_or_is_over_says_nothing() {
        let mut leaving = waiting("ImagePullBackOff");
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2024-01-01T00:00:00Z")).ok();
        assert_eq!(reason(&[leaving], Duration::ZERO), None);
        let evicted = pod(json!({ "phase": "Failed" }));
        assert_eq!(
            reason(&[evicted, waiting("ErrImagePull")], Duration::ZERO).as_deref(),
            Some("ImagePullFailed")
        );
    }

    #[test]
    fn a_pod_without_a_node_is_a_problem_only_after_the_patience() {
        let pod = pod(json!({ "phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes" }] }));
        let pods = [pod];
        assert_eq!(reason(&pods, Duration::from_secs(29)), None);
        assert_eq!(reason(&pods, PATIENCE).as_deref(), Some("Unschedulable"));
    }

    #[test]
    fn a_quota_refusal_is_told_from_other_refusals() {
        let failure = |message: &str, status: &str| PartialCondition {
            kind: "ReplicaFailure".into(),
            status: status.into(),
            reason: "FailedCreate".into(),
            message: message.into(),
        };
        let quota = failure("pods \"x\" is forbidden: exceeded quota: small", "True");
        assert_eq!(of_conditions(&[quota]).map(|problem| problem.reason).as_deref(), Some("QuotaExceeded"));
        let webhook = failure("admission webhook denied", "True");
        assert_eq!(of_conditions(&[webhook]).map(|problem| problem.reason).as_deref(), Some("PodsRefused"));
        assert_eq!(of_conditions(&[failure("exceeded quota", "False")]), None);
    }
}
