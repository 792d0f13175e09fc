//! What a test looks at.

use std::time::Duration;

use zenvoy_controller::model::{Condition, Phase};
use zenvoy_controller::replica::ToNode;
use zenvoy_controller::report::Happening;
use zenvoy_shared::id::UpstreamId;
use zenvoy_shared::proto::held_upstream::Verdict;

use super::{World, cart};

impl World {
    pub(crate) fn told(&self, node: &str) -> Vec<ToNode> {
        self.told.iter().filter(|(to, _)| to.0 == node).map(|(_, message)| message.clone()).collect()
    }

    /// The nodes whose session was ended, and the pods that nodes without direct routes were given.
    pub(crate) fn hung(&self) -> Vec<String> {
        self.hung.iter().map(|node| node.0.clone()).collect()
    }

    pub(crate) fn relayed_directly(&self) -> &[String] {
        &self.relayed
    }

    pub(crate) fn writes(&self) -> Vec<u32> {
        self.api.0.lock().expect("not poisoned").writes.clone()
    }

    pub(crate) fn tried(&self) -> usize {
        self.api.0.lock().expect("not poisoned").tried
    }

    pub(crate) fn phase(&self) -> Phase {
        self.statuses[&cart()].phase
    }

    /// Why connections to the service are served, or are not.
    pub(crate) fn ready_reason(&self) -> String {
        self.ready("cart").problem.reason.clone()
    }

    /// Whether connections to a service are served.
    pub(crate) fn ready(&self, service: &str) -> &Condition {
        let status = &self.statuses[&UpstreamId::new("shop", service, 80)];
        status.conditions.iter().find(|condition| condition.kind == "Ready").expect("always said")
    }

    /// What was offered to nodes again, until now.
    pub(crate) fn offered(&self) -> &[String] {
        &self.offered
    }

    /// Why drains are paused, if they are.
    pub(crate) fn drains_paused(&self) -> Option<String> {
        let conditions = &self.statuses.get(&cart())?.conditions;
        let paused = conditions.iter().find(|condition| condition.kind == "DrainsPaused")?;
        Some(paused.problem.reason.clone())
    }

    /// What clients are asked to wait.
    pub(crate) fn retry_after(&self) -> Duration {
        match self.held[&cart().to_string()].verdict.as_ref().expect("a verdict") {
            Verdict::Fail(fail) => Duration::from_millis(fail.retry_after_ms),
            verdict => panic!("not failed: {verdict:?}"),
        }
    }

    pub(crate) fn happened(&self, what: impl Fn(&Happening) -> bool) -> usize {
        self.occasions.iter().filter(|occasion| what(&occasion.what)).count()
    }

    /// Whether Envoys are to say in JSON why there is nobody to send a request to.
    pub(crate) fn envoys_answer_in_json(&self) -> bool {
        let word = b"NotServed";
        self.http_listener.windows(word.len()).any(|part| part == word)
    }

    pub(crate) fn address(&self) -> String {
        self.address_of("cart")
    }

    pub(crate) fn address_of(&self, service: &str) -> String {
        self.held[&UpstreamId::new("shop", service, 80).to_string()].activator_address.clone()
    }

    /// What clients are told who are held in vain.
    pub(crate) fn held_lack(&self) -> &str {
        match self.held[&cart().to_string()].verdict.as_ref().expect("a verdict") {
            Verdict::Hold(hold) => &hold.lacks,
            verdict => panic!("not held: {verdict:?}"),
        }
    }

    pub(crate) fn verdict(&self) -> String {
        match self.held[&cart().to_string()].verdict.as_ref().expect("a verdict") {
            Verdict::Hold(hold) if hold.drain_id.is_empty() => "hold".into(),
            Verdict::Hold(_) => "hold for a drain".into(),
            Verdict::Forward(forward) => format!("forward {}", forward.endpoints.join(" ")),
            Verdict::Fail(fail) => format!("fail {}", fail.reason),
        }
    }
}
