//! The order in which a proxy ends. In: that it is told to; out: when it accepts no more, when what it holds is failed and what
//! it relays is cut, and what the controllers are told at last.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};
use tracing::{info, warn};

use crate::admin::View;
use crate::node::{Farewell, Node};
use crate::options::{Goodbye, ProxyOptions};

/// The local side, admin and the session may take this long to end.
pub(crate) const ENDING: Duration = Duration::from_secs(3);

/// An Envoy that is gone for this long does not just connect again.
const ENVOY_GONE: Duration = Duration::from_secs(2);

/// How often it is looked whether Envoy is gone.
const LOOK: Duration = Duration::from_millis(100);

/// For what is open when connections are no longer accepted: Envoy tries to connect for about as long.
const LAST: Duration = Duration::from_secs(2);

/// When what must have happened, once a proxy is told to end.
#[derive(Debug)]
pub(crate) struct Ending {
    accept_until: Instant,
    held_until: Instant,
    relayed_until: Instant,
    goodbye: Goodbye,
    /// By then an Envoy that goes with its proxy has gone.
    envoy_until: Instant,
}

impl Ending {
    /// How long it takes at most: what is relayed, or Envoy, is waited for, and then what is left has to end.
    pub(crate) fn takes(relay_grace: Duration, goodbye: Goodbye) -> Duration {
        (relay_grace + ENDING).max(patience(goodbye)) + ENDING
    }

    /// Now.
    pub(crate) fn begins(options: &ProxyOptions) -> Self {
        let (now, goodbye) = (Instant::now(), options.goodbye);
        let relayed_until = now + options.relay_grace;
        Self {
            accept_until: relayed_until - LAST.min(options.relay_grace / 4),
            held_until: now + options.held_grace.min(options.relay_grace),
            relayed_until,
            goodbye,
            envoy_until: now + patience(goodbye),
        }
    }

    /// An Envoy that lives goes on sending connections for what sleeps, and nobody else could take them. So it is served until it
    /// is gone; or, when it stays, until nothing is open here, or there is just time left for what is.
    pub(crate) async fn serve_on(&self, view: &View) {
        loop {
            let now = Instant::now();
            let is_idle = view.node.waiting() == 0 && view.node.relaying() == 0;
            if !has_envoy(&view.node) || now >= self.accept_until || (is_idle && now >= self.envoy_until) {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Waits for the connections, as long as they are given. No more are accepted.
    pub(crate) async fn drain(&self, view: &View) {
        info!(held = view.node.waiting(), relayed = view.node.relaying(), "no more connections are accepted");
        if timeout_at(self.held_until.into(), view.holder.ended()).await.is_ok() {
            return;
        }
        view.holder.give_up_held();
        if timeout_at(self.relayed_until.into(), view.holder.ended()).await.is_ok() {
            return;
        }
        view.holder.cut_relays();
        if timeout_at((self.relayed_until + ENDING).into(), view.holder.ended()).await.is_err() {
            warn!("some connections did not end in time");
        }
    }

    /// What is said at the end; see [`Goodbye`].
    pub(crate) async fn farewell(&self, node: &Node) -> Farewell {
        match self.goodbye {
            Goodbye::Always => return Farewell::Forget,
            Goodbye::Never => return Farewell::Return,
            Goodbye::WhenEnvoyGone { .. } => {}
        }
        if !node.had_envoy() {
            // There is no end of it to wait for; and one that runs may not have found its way here yet, so the node counts on.
            return Farewell::Return;
        }
        while has_envoy(node) {
            if Instant::now() >= self.envoy_until {
                return Farewell::Return;
            }
            sleep(LOOK).await;
        }
        Farewell::Forget
    }
}

/// How long Envoy's end is waited for.
fn patience(goodbye: Goodbye) -> Duration {
    match goodbye {
        Goodbye::WhenEnvoyGone { within } => within,
        Goodbye::Always | Goodbye::Never => Duration::ZERO,
    }
}

fn has_envoy(node: &Node) -> bool {
    node.had_envoy() && node.without_envoy_since().is_none_or(|since| since.elapsed() < ENVOY_GONE)
}
