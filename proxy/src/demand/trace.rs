//! The trace context of a wake. Source: W3C Trace Context, level 1, "traceparent".

use std::fmt;

/// A sampled trace's id and the id of the span that opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
}

impl TraceContext {
    /// A new trace. Neither of its ids is zero: zero means "none".
    pub fn fresh() -> Self {
        Self { trace: rand::random_range(1..=u128::MAX), span: rand::random_range(1..=u64::MAX) }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_has_the_form_of_a_traceparent_header() {
        let text = TraceContext { trace: 0xabc, span: 1 }.to_string();
        assert_eq!(text, "00-00000000000000000000000000000abc-0000000000000001-01");
    }
}
