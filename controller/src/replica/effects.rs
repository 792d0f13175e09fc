//! Carries out the core's effects. In: effects, in order; out: events, when what they started has ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;
use zenvoy_shared::id::NodeId;
use zenvoy_xds::server::{Outcome, Server};

use super::gate::{Gate, relayed};
use super::run::switched_types;
use super::{Effect, Event, Switch, ToNode};
use crate::execute::Executor;
use crate::report::Reporter;
use crate::session::SessionService;

/// A node that has not applied a switch by then, or has refused it, is not asked for proof; the offer ends at its own deadline.
const SWITCH_PATIENCE: Duration = Duration::from_secs(120);

/// What the core acts through.
pub(super) struct Hands {
    xds: Server,
    sessions: SessionService,
    gate: Arc<Gate>,
    reporter: Arc<dyn Reporter>,
    executor: Executor,
    events: mpsc::Sender<Event>,
    running: JoinSet<()>,
}

impl Hands {
    pub(super) fn new(
        xds: Server,
        sessions: SessionService,
        gate: Arc<Gate>,
        reporter: Arc<dyn Reporter>,
        executor: Executor,
        events: mpsc::Sender<Event>,
    ) -> Self {
        Self { xds, sessions, gate, reporter, executor, events, running: JoinSet::new() }
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Publish(changes) => {
                self.xds.apply(changes);
            }
            Effect::Relay(changes) => self.xds.snapshot(&relayed()).apply(changes),
            Effect::EndRelay => self.xds.remove(&relayed()),
            Effect::Tell(node, session, message) => {
                if let ToNode::Welcome(routes) = message {
                    self.gate.open(node.clone(), session, routes);
                }
                self.sessions.tell(&node, session, message);
            }
            Effect::Hang(node, session) => {
                self.gate.close(&node, session);
                self.sessions.hang(&node, session);
            }
            Effect::AwaitApplied(node, switch) => self.await_applied(node, switch),
            Effect::OfferAgain(resource) => self.xds.offer_again(&resource.type_url, &resource.name),
            Effect::Start(job) => {
                let (executor, events) = (self.executor.clone(), self.events.clone());
                self.running.spawn(async move {
                    let done = executor.run(job).await;
                    // Nobody listens only while the replica stops.
                    let _ = events.send(Event::Done(done)).await;
                });
            }
            Effect::Status(upstream, status) => self.reporter.status(&upstream, status),
            Effect::Gone(upstream) => self.reporter.gone(&upstream),
            Effect::Happened(occasion) => self.reporter.happened(occasion),
            Effect::Leading(leads) => self.reporter.leading(leads),
        }
    }

    fn await_applied(&mut self, node: NodeId, switch: Switch) {
        let (xds, events) = (self.xds.clone(), self.events.clone());
        self.running.spawn(async move {
            let applied = async {
                for upstream in &switch.upstreams {
                    for url in switched_types() {
                        let outcome = xds.until_acked(&node.0, &url, &upstream.to_string()).await;
                        if let Outcome::Refused { message, .. } = outcome {
                            return Some((upstream, url, message));
                        }
                    }
                }
                None
            };
            match tokio::time::timeout(SWITCH_PATIENCE, applied).await {
                Ok(None) => drop(events.send(Event::Applied(node, switch)).await),
                Ok(Some((upstream, type_url, refusal))) => {
                    let refusal = &*refusal;
                    warn!(%node, %upstream, %type_url, refusal, "refused a switch: not asked for proof");
                }
                Err(_) => {}
            }
        });
    }

    /// Ends only when something that was started died.
    pub(super) async fn died(&mut self) -> &'static str {
        loop {
            match self.running.join_next().await {
                Some(Err(error)) if error.is_panic() => return "a job",
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}
