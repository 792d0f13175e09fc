//! How things are said to people: times, phases, and where clients reach an upstream. Pure.

use std::time::Duration;

use zenvoy_controller::model::Phase;
use zenvoy_shared::duration::Span;

/// In capitals nowhere else: the word of the design.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Cold => "cold",
        Phase::Waking => "waking",
        Phase::Active => "active",
        Phase::Draining => "draining",
    }
}

/// How long ago, in one unit: `now`, `5s`, `3m`, `2h`.
pub(super) fn ago(since_unix_ms: u64, now_unix_ms: u64) -> String {
    let seconds = now_unix_ms.saturating_sub(since_unix_ms) / 1000;
    let rounded = match seconds {
        0 => return "now".into(),
        1..60 => seconds,
        60..3600 => seconds / 60 * 60,
        3600..86_400 => seconds / 3600 * 3600,
        _ => seconds / 86_400 * 86_400,
    };
    Span(Duration::from_secs(rounded)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_ago_have_one_unit() {
        let ago = |seconds: u64| ago(1_000_000, 1_000_000 + seconds * 1000);
        assert_eq!([ago(0), ago(59), ago(119), ago(7_300), ago(200_000)], ["now", "59s", "1m", "2h", "2d"]);
    }
}
