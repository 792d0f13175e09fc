//! Spans of a wake: one for the whole, and in it one for each phase, open from where the phase before it ended. In: what the
//! timelines see; out: spans. A phase that was not seen (another replica made the scale write) ends without its time.

use std::time::Duration;

use tracing::{Span, field, info_span};
use zenvoy_shared::id::WorkloadId;

use crate::model::WakeRecord;

/// A phase of a wake, by what ends it; in the order in which they are expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The intent lay in the store.
    Intent,
    /// The scale write was answered.
    Scaled,
    /// The first pod began to run.
    Started,
    /// The first ready endpoint was seen.
    Ready,
    /// Envoy had applied the switch to the pods.
    Switched,
    /// The held connection's first byte of an answer.
    FirstByte,
}

impl Phase {
    /// What begins when it ends.
    fn then(self) -> &'static [Self] {
        match self {
            Self::Intent => &[Self::Scaled],
            Self::Scaled => &[Self::Started],
            Self::Started => &[Self::Ready],
            Self::Ready => &[Self::Switched, Self::FirstByte],
            Self::Switched | Self::FirstByte => &[],
        }
    }
}

/// The spans of one wake; what is open closes with this.
#[derive(Debug)]
pub(super) struct WakeSpans {
    whole: Span,
    open: Vec<(Phase, Span)>,
    /// The latest phase that has ended.
    reached: Option<Phase>,
}

impl WakeSpans {
    /// A wake is about to be opened.
    pub(super) fn begin(workload: &WorkloadId, wake: &WakeRecord) -> Self {
        let WakeRecord { upstream, episode, traceparent, .. } = wake;
        let whole = info_span!(parent: None, "wake", %workload, %upstream, %episode, %traceparent);
        let mut spans = Self { whole, open: Vec::new(), reached: None };
        spans.open(Phase::Intent);
        spans
    }

    /// A phase has ended, so long after the first connection was held.
    pub(super) fn end(&mut self, phase: Phase, since_held: Duration) {
        if !self.open.iter().any(|(open, _)| *open == phase) {
            // It came before what was expected first, or after what was expected later.
            self.open(phase);
        }
        let is_over = |open: Phase| open == phase || (open < phase && open != Phase::Switched);
        let (over, open) = std::mem::take(&mut self.open).into_iter().partition(|(open, _)| is_over(*open));
        self.open = open;
        let over: Vec<(Phase, Span)> = over;
        if let Some((_, span)) = over.iter().find(|(open, _)| *open == phase) {
            span.record("since_held_ms", since_held.as_secs_f64() * 1e3);
        }
        if self.reached.is_none_or(|reached| reached < phase) {
            self.reached = Some(phase);
            phase.then().iter().for_each(|next| self.open(*next));
        }
    }

    fn open(&mut self, phase: Phase) {
        let whole = &self.whole;
        let span = match phase {
            Phase::Intent => info_span!(parent: whole, "wake.intent", since_held_ms = field::Empty),
            Phase::Scaled => info_span!(parent: whole, "wake.scaled", since_held_ms = field::Empty),
            Phase::Started => info_span!(parent: whole, "wake.started", since_held_ms = field::Empty),
            Phase::Ready => info_span!(parent: whole, "wake.ready", since_held_ms = field::Empty),
            Phase::Switched => info_span!(parent: whole, "wake.switched", since_held_ms = field::Empty),
            Phase::FirstByte => info_span!(parent: whole, "wake.first_byte", since_held_ms = field::Empty),
        };
        self.open.push((phase, span));
    }
}
