//! A wake's phases as a small waterfall: when each ended, and how long it took beyond the one before. Pure.

use std::time::Duration;

use zenvoy_controller::report::WakeTimeline;

/// Cells of the drawing.
const WIDTH: usize = 40;

/// One line a phase. A phase that was not seen has no bar.
pub(super) fn lines(wake: &WakeTimeline) -> Vec<String> {
    let phases = [
        ("held", Some(Duration::ZERO)),
        ("intent", wake.intent),
        ("scale", wake.scaled),
        ("started", wake.started),
        ("ready", wake.ready),
        ("switched", wake.switched),
        ("first byte", wake.first_byte),
    ];
    let whole = phases.iter().filter_map(|(_, end)| *end).max().unwrap_or_default();
    let mut begin = Duration::ZERO;
    phases
        .into_iter()
        .map(|(name, end)| {
            let Some(end) = end else { return format!("{name:<10}  {:WIDTH$}        -", "") };
            let bar = bar(begin.min(end), end, whole);
            begin = begin.max(end);
            format!("{name:<10}  {bar:WIDTH$} {:>8.1} ms", end.as_secs_f64() * 1e3)
        })
        .collect()
}

/// From `begin` to `end`, at least one cell.
fn bar(begin: Duration, end: Duration, whole: Duration) -> String {
    let first = cell(begin, whole).min(WIDTH - 1);
    let last = cell(end, whole).max(first + 1);
    format!("{}{}", " ".repeat(first), "█".repeat(last - first))
}

fn cell(at: Duration, whole: Duration) -> usize {
    let width = u128::try_from(WIDTH).unwrap_or(u128::MAX);
    match at.as_nanos().saturating_mul(width).checked_div(whole.as_nanos()) {
        Some(cell) => usize::try_from(cell).unwrap_or(WIDTH),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Option<Duration> {
        Some(Duration::from_millis(millis))
    }

    #[test]
    fn each_phase_begins_where_the_last_ended() {
        let wake = WakeTimeline {
            episode: None,
            intent: ms(0),
            scaled: ms(20),
            started: ms(40),
            ready: ms(60),
            switched: ms(80),
            first_byte: ms(70),
        };
        let expected = [
            "held        █                                             0.0 ms",
            "intent      █                                             0.0 ms",
            "scale       ██████████                                   20.0 ms",
            "started               ██████████                         40.0 ms",
            "ready                           ██████████               60.0 ms",
            "switched                                  ██████████     80.0 ms",
            "first byte                                     █         70.0 ms",
        ];
        assert_eq!(lines(&wake), expected);
    }

    #[test]
    fn a_phase_that_was_not_seen_has_no_bar_and_nothing_divides_by_zero() {
        let lines = lines(&WakeTimeline::default());
        assert!(lines[0].ends_with("0.0 ms"));
        assert!(lines[1..].iter().all(|line| line.ends_with('-') && !line.contains('█')));
    }
}
