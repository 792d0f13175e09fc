//! One connection's way from accept to relay or refusal. In: the verdict of the moment, what the client and the dials
//! did, and `now`; out: the next thing to do. Pure.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use zenvoy_shared::duration::Span;

use crate::table::{Held, Verdict};

/// The pause after the first failed dial; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Clients of a connection that waited in vain may try again after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Reasons the proxy itself gives; those of the controller come with its verdict.
pub mod reason {
    /// The connection was held until its deadline.
    pub const WAKE_DEADLINE: &str = "WakeDeadline";
    /// Too many connections are held already.
    pub const TOO_MANY_HELD: &str = "TooManyHeld";
    /// The upstream was removed while the connection was held.
    pub const UPSTREAM_REMOVED: &str = "UpstreamRemoved";
    /// The proxy ends.
    pub const PROXY_STOPPING: &str = "ProxyStopping";
}

/// Why a connection is not relayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// A new attempt is worth it after this.
    pub retry_after: Duration,
}

impl Failure {
    /// A failure that the proxy itself finds.
    pub fn own(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), retry_after: RETRY_AFTER }
    }
}

/// How long a connection may take for things other than the wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For its first byte, where the client speaks first.
    pub first_byte: Duration,
    /// For one endpoint to accept.
    pub dial: Duration,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Wait for the client's first byte; it is no demand yet.
    AwaitByte {
        /// Then ask again.
        until: Instant,
    },
    /// Hold it; a wake is demanded.
    Hold {
        /// Then ask again.
        until: Instant,
    },
    /// Nothing before this moment, but a new verdict.
    Pause {
        /// Then ask again.
        until: Instant,
    },
    /// Dial one of these.
    Dial {
        /// Never empty.
        endpoints: Vec<SocketAddr>,
        /// The connection fails then.
        deadline: Instant,
    },
    /// Answer with the reason.
    Fail(Failure),
    /// Close it without a word: it never was demand.
    Close,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Machine {
    patience: Patience,
    arrived: Instant,
    spoke: bool,
    held_since: Option<Instant>,
    dials_failed: u32,
    dial_again: Option<Instant>,
    last_dial: Option<String>,
}

impl Machine {
    /// A connection that was accepted at `now`.
    pub fn new(patience: Patience, now: Instant) -> Self {
        Self {
            patience,
            arrived: now,
            spoke: false,
            held_since: None,
            dials_failed: 0,
            dial_again: None,
            last_dial: None,
        }
    }

    /// The client has sent something.
    pub fn spoke(&mut self) {
        self.spoke = true;
    }

    /// A dial failed: the endpoint is ready but does not accept yet, or it is gone.
    pub fn dial_failed(&mut self, error: String, now: Instant) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.dials_failed.min(10)).min(LONGEST_PAUSE);
        self.dials_failed = self.dials_failed.saturating_add(1);
        self.dial_again = Some(now + pause);
        self.last_dial = Some(error);
    }

    /// Whether it was ever held.
    pub fn was_held(&self) -> bool {
        self.held_since.is_some()
    }

    /// What to do next. `held` is what the table says now; `None`: nothing, any more.
    pub fn next(&mut self, held: Option<&Held>, now: Instant) -> Step {
        let Some(held) = held else {
            let removed =
                || Failure::own(reason::UPSTREAM_REMOVED, "the upstream was removed while this was held");
            return if self.was_held() { Step::Fail(removed()) } else { Step::Close };
        };
        match held.verdict_at(now) {
            Verdict::Hold { .. } => self.hold(held, now),
            Verdict::Forward(endpoints) => self.forward(held, endpoints, now),
            Verdict::Fail { reason, message, retry_after } => {
                let byte_until = self.arrived + self.patience.first_byte;
                // An answer that comes before the request is no answer to it.
                if held.protocol.is_http() && !self.spoke && now < byte_until {
                    return Step::AwaitByte { until: byte_until };
                }
                Step::Fail(Failure {
                    reason: reason.clone(),
                    message: message.clone(),
                    retry_after: *retry_after,
                })
            }
        }
    }

    fn hold(&mut self, held: &Held, now: Instant) -> Step {
        if held.protocol.client_speaks_first() && !self.spoke {
            let until = self.arrived + self.patience.first_byte;
            return if now < until { Step::AwaitByte { until } } else { Step::Close };
        }
        self.held_since.get_or_insert(now);
        let until = self.deadline(held);
        if now < until { Step::Hold { until } } else { Step::Fail(self.late(held)) }
    }

    fn forward(&self, held: &Held, endpoints: &[SocketAddr], now: Instant) -> Step {
        let deadline = self.deadline(held);
        if now >= deadline {
            return Step::Fail(self.late(held));
        }
        match self.dial_again {
            Some(again) if now < again => Step::Pause { until: again.min(deadline) },
            _ => Step::Dial { endpoints: endpoints.to_vec(), deadline },
        }
    }

    fn deadline(&self, held: &Held) -> Instant {
        self.held_since.unwrap_or(self.arrived) + held.wake_timeout
    }

    fn late(&self, held: &Held) -> Failure {
        let (upstream, within) = (&held.upstream, Span(held.wake_timeout));
        let message = match &self.last_dial {
            None => {
                let lacks = held.lacks.as_ref().map_or_else(String::new, |lacks| format!(": {lacks}"));
                format!("{upstream} did not become ready within its wake timeout of {within}{lacks}")
            }
            Some(error) => format!(
                "{upstream} became ready, but did not accept within its wake timeout of {within}; last attempt: {error}"
            ),
        };
        Failure::own(reason::WAKE_DEADLINE, message)
    }
}

#[cfg(test)]
mod tests;
