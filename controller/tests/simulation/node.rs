//! One node: an Envoy whose worker may be late, the proxy beside it, and the clients on it. Either may start anew.

use std::collections::BTreeMap;
use std::time::Duration;

use zenvoy_controller::replica::{Routes, Said, SessionId};
use zenvoy_controller::session::{Activity, Demand, Moment};
use zenvoy_shared::id::{DrainId, NodeEpoch};

use crate::api::{Pod, cart};
use crate::rules::Rules;

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum To {
    #[default]
    Nowhere,
    Pods(Vec<Pod>),
    Activator,
}

/// What the proxy does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Verdict {
    #[default]
    None,
    Hold(Option<DrainId>),
    Forward(Vec<Pod>),
    /// With this reason.
    Fail(String),
}

impl Verdict {
    pub(crate) fn holds(&self) -> bool {
        matches!(self, Self::Hold(_))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) session: Option<(usize, SessionId)>,
    /// The replica that its Envoy's ADS goes to; the session's, unless rule N1 is off.
    pub(crate) ads: usize,
    /// What it was welcomed to.
    pub(crate) welcomed: Option<Routes>,
    /// The replica that could not register it, when this one is asked for that reason.
    pub(crate) unregistered_at: Option<usize>,
    /// It said goodbye, and has not come back.
    pub(crate) gone: bool,
    epoch: u32,
    /// Rule N5 does not hold: each start of it has the same epoch.
    pub(crate) nameless: bool,
    pub(crate) main: To,
    pub(crate) worker: To,
    pub(crate) proxy: Verdict,
    pub(crate) held: u32,
    /// Connections through this node, by the pod that serves them.
    pub(crate) open: Vec<Pod>,
    pub(crate) asked: Option<DrainId>,
    /// What was said last, so that only changes are said.
    said_demand: bool,
    said_active: Option<bool>,
    /// What the session carries to its replica, in order.
    pub(crate) outbox: Vec<Said>,
    pub(crate) served: u32,
    /// Connections that were answered with a reason.
    pub(crate) failed: u32,
    /// Its Envoy's worker is stalled.
    pub(crate) stalled: bool,
}

impl Node {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { nameless: !rules.epochs, ..Self::default() }
    }

    pub(crate) fn epoch(&self) -> NodeEpoch {
        NodeEpoch(format!("epoch-{}", if self.nameless { 0 } else { self.epoch }))
    }

    fn demand(&self) -> BTreeMap<zenvoy_shared::id::UpstreamId, Demand> {
        let demand = || Demand { traceparent: String::new(), since_unix_nanos: 1 };
        (self.held > 0).then(|| (cart(), demand())).into_iter().collect()
    }

    fn is_active(&self) -> bool {
        self.held > 0 || !self.open.is_empty()
    }

    fn activity(&self) -> Activity {
        if self.is_active() { Activity::Active } else { Activity::idle_for(Duration::MAX, Moment::default()) }
    }

    pub(crate) fn opens(&mut self, replica: usize, session: SessionId) {
        self.session = Some((replica, session));
        self.ads = replica;
        self.gone = false;
        self.welcomed = None;
        self.asked = None;
        self.said_demand = self.held > 0;
        self.said_active = Some(self.is_active());
        self.outbox = vec![Said::Opened {
            epoch: self.epoch(),
            demand: self.demand(),
            activity: vec![(cart(), self.activity())],
            pod: None,
        }];
    }

    pub(crate) fn breaks(&mut self) {
        self.session = None;
        self.unregistered_at = None;
        self.welcomed = None;
        self.asked = None;
        self.outbox.clear();
    }

    /// Rule N5: another start of both; all connections through them are lost, and they know nothing.
    pub(crate) fn restarts(&mut self) {
        let epoch = self.epoch + 1;
        let (served, failed, nameless) = (self.served + self.held, self.failed, self.nameless);
        *self = Self { epoch, served, failed, nameless, ..Self::default() };
    }

    /// Another start of the proxy alone: what it held is lost. Envoy goes on with what it has, its worker late or not, and
    /// so do its connections to pods.
    pub(crate) fn proxy_restarts(&mut self) {
        self.breaks();
        self.epoch += 1;
        self.served += std::mem::take(&mut self.held);
        self.proxy = Verdict::None;
        self.said_active = None;
    }

    /// Rule N4: once nothing runs through it any more, Envoy ends and the proxy says goodbye.
    pub(crate) fn leaves(&mut self) -> bool {
        if self.session.is_none() || self.is_active() || self.gone {
            return false;
        }
        let session = self.session;
        self.restarts();
        self.session = session;
        self.gone = true;
        self.outbox.push(Said::Goodbye);
        true
    }

    /// Says what has changed, if somebody listens.
    pub(crate) fn say(&mut self) {
        if self.session.is_none() || self.gone {
            return;
        }
        let holds = self.held > 0;
        if holds != self.said_demand {
            self.said_demand = holds;
            self.outbox.push(Said::Demand(self.demand()));
        }
        let active = self.is_active();
        if self.said_active != Some(active) {
            self.said_active = Some(active);
            self.outbox.push(Said::Activity(vec![(cart(), self.activity())]));
        }
    }

    /// Rule D3: both have switched, the switch has passed the worker, and nothing is open or held.
    pub(crate) fn proves(&mut self, flush_barrier: bool) -> bool {
        let Some(drain) = self.asked.clone() else { return false };
        let switched = self.proxy == Verdict::Hold(Some(drain.clone())) && self.main == To::Activator;
        let passed = self.worker == self.main || !flush_barrier;
        let quiet = switched && passed && !self.is_active();
        if quiet {
            self.asked = None;
            self.outbox.push(Said::Quiet { drain, epoch: self.epoch() });
        }
        quiet
    }

    /// A client connects; returns the pod it reaches at once, if it does.
    pub(crate) fn connect(&mut self, pick: usize) -> Option<Pod> {
        let some = |pods: &[Pod]| pods[pick % pods.len()];
        match (&self.worker, &self.proxy) {
            (To::Pods(pods), _) => Some(some(pods)),
            (To::Activator, Verdict::Forward(pods)) => Some(some(pods)),
            (To::Activator, Verdict::Hold(_)) => {
                self.held += 1;
                None
            }
            (To::Activator, Verdict::Fail(_)) => {
                self.failed += 1;
                None
            }
            // No such cluster or listener yet: refused, and the client tries again.
            (To::Nowhere, _) | (To::Activator, Verdict::None) => None,
        }
    }

    /// Everything held is answered with the reason, if there is one.
    pub(crate) fn fails(&mut self) -> bool {
        let fails = matches!(&self.proxy, Verdict::Fail(reason) if !reason.is_empty()) && self.held > 0;
        if fails {
            self.failed += std::mem::take(&mut self.held);
        }
        fails
    }

    /// A held connection is released to a pod.
    pub(crate) fn release(&mut self, pick: usize) -> Option<Pod> {
        match &self.proxy {
            Verdict::Forward(pods) if self.held > 0 => {
                self.held -= 1;
                Some(pods[pick % pods.len()])
            }
            _ => None,
        }
    }
}
