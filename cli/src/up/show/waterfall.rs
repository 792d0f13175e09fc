//! A wake's phases as a small waterfall, in the order in which they ended: how long each took beyond the one before. Pure.

use std::time::Duration;

use zenvoy_controller::report::WakeTimeline;

/// Cells of the drawing.
const WIDTH: usize = 40;

/// One line a phase, each below what ended before it: Envoy may have switched before or after the first byte. A phase that was not
/// seen has no bar, and keeps its place.
pub(super) fn lines(wake: &WakeTimeline) -> Vec<String> {
    let phases = in_order([
        ("held", Some(Duration::ZERO)),
        ("intent", wake.intent),
        ("scale", wake.scaled),
        ("started", wake.started),
        ("ready", wake.ready),
        ("switched", wake.switched),
        ("first byte", wake.first_byte),
    ]);
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

type Phase = (&'static str, Option<Duration>);

/// The places of phases that were seen go to them in the order of their ends; of two at once, the one that is expected first.
fn in_order<const N: usize>(mut phases: [Phase; N]) -> [Phase; N] {
    let mut seen: Vec<Phase> = phases.iter().filter(|(_, end)| end.is_some()).copied().collect();
    seen.sort_by_key(|(_, end)| *end);
    for (place, phase) in phases.iter_mut().filter(|(_, end)| end.is_some()).zip(seen) {
        *place = phase;
    }
    phases
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

    fn wake() -> WakeTimeline {
        WakeTimeline {
            episode: None,
            intent: ms(0),
            scaled: ms(20),
            started: ms(40),
            ready: ms(60),
            switched: ms(80),
            first_byte: ms(70),
        }
    }

    #[test]
    fn each_phase_begins_where_the_last_ended_in_the_order_of_time() {
        let expected = [
            "held        █                                             0.0 ms",
            "intent      █                                             0.0 ms",
            "scale       ██████████                                   20.0 ms",
            "started               ██████████                         40.0 ms",
            "ready                           ██████████               60.0 ms",
            "first byte                                █████          70.0 ms",
            "switched                                       █████     80.0 ms",
        ];
        assert_eq!(lines(&wake()), expected);
    }

    #[test]
    fn a_first_byte_after_the_switch_comes_after_it_and_what_was_not_seen_keeps_its_place() {
        let names = |wake: &WakeTimeline| -> Vec<String> {
            lines(wake).iter().map(|line| line[..10].trim().to_owned()).collect()
        };
        let expected = ["held", "intent", "scale", "started", "ready", "switched", "first byte"];
        assert_eq!(names(&WakeTimeline { switched: ms(65), ..wake() }), expected);
        assert_eq!(names(&WakeTimeline { switched: ms(70), ..wake() }), expected, "both at once");
        let quick = WakeTimeline { scaled: None, started: ms(70), ready: ms(60), ..wake() };
        assert_eq!(names(&quick), ["held", "intent", "scale", "ready", "started", "first byte", "switched"]);
    }

    #[test]
    fn a_phase_that_was_not_seen_has_no_bar_and_nothing_divides_by_zero() {
        let lines = lines(&WakeTimeline::default());
        assert!(lines[0].ends_with("0.0 ms"));
        assert!(lines[1..].iter().all(|line| line.ends_with('-') && !line.contains('█')));
    }
}
