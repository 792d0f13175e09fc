//! The table of the live view: one row an upstream. Pure.

use std::collections::BTreeMap;

use zenvoy_controller::model::{Phase, Problem};
use zenvoy_controller::report::Status;
use zenvoy_shared::id::UpstreamId;

use super::words;

const HEADINGS: [&str; 7] = ["UPSTREAM", "PHASE", "REACHED AT", "ACTIVATOR", "HELD", "LAST WAKE", "IDLE"];

/// Whether escape sequences for colours are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// They are.
    Ansi,
    /// They are not, or not wanted.
    None,
}

/// What is shown.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// How upstreams stand.
    pub(super) rows: &'a BTreeMap<UpstreamId, Status>,
    /// Held connections, where known.
    pub(super) held: &'a BTreeMap<UpstreamId, u32>,
    /// Where clients reach them.
    pub(super) reached: &'a BTreeMap<UpstreamId, String>,
    /// Milliseconds since the Unix epoch.
    pub(super) now_unix_ms: u64,
}

/// The lines of the table; beyond `most` rows, the last says how many more there are.
pub(super) fn lines(view: &View<'_>, most: usize, colour: Colour) -> Vec<String> {
    let mut cells: Vec<[String; 7]> = vec![HEADINGS.map(str::to_owned)];
    let rows: Vec<_> = view.rows.iter().take(most).collect();
    cells.extend(rows.iter().map(|(id, status)| row(view, id, status)));
    let widths: Vec<usize> =
        (0..7).map(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut lines: Vec<String> = cells
        .iter()
        .enumerate()
        .map(|(number, row)| {
            let status = number.checked_sub(1).and_then(|at| rows.get(at)).map(|(_, status)| *status);
            let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                let cell = format!("{cell:<width$}");
                match status {
                    Some(status) if column == 1 => paint(&cell, status, colour),
                    _ => cell,
                }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect();
    let more = view.rows.len() - rows.len();
    if more > 0 {
        lines.push(format!("... and {more} more"));
    }
    lines
}

fn row(view: &View<'_>, id: &UpstreamId, status: &Status) -> [String; 7] {
    let dash = || "-".to_owned();
    let ago = |since: Option<u64>| since.map_or_else(dash, |since| words::ago(since, view.now_unix_ms));
    let phase = match failure(status) {
        Some(problem) => problem.reason.clone(),
        None => words::phase(status.phase).to_owned(),
    };
    [
        id.to_string(),
        phase,
        view.reached.get(id).cloned().unwrap_or_else(dash),
        status.address.map_or_else(dash, |address| address.to_string()),
        view.held.get(id).map_or_else(dash, ToString::to_string),
        ago(status.last_wake_unix_ms),
        ago(status.idle_since_unix_ms),
    ]
}

/// Why connections are not served, if they are not.
pub(super) fn failure(status: &Status) -> Option<&Problem> {
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready")?;
    (!ready.holds).then_some(&ready.problem)
}

fn paint(text: &str, status: &Status, colour: Colour) -> String {
    let code = match (colour, failure(status), status.phase) {
        (Colour::None, ..) => return text.to_owned(),
        (Colour::Ansi, Some(_), _) => "31",
        (Colour::Ansi, None, Phase::Cold) => "34",
        (Colour::Ansi, None, Phase::Active) => "32",
        (Colour::Ansi, None, Phase::Waking | Phase::Draining) => "33",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use zenvoy_controller::model::Condition;

    use super::*;

    fn status(phase: Phase) -> Status {
        Status {
            phase,
            workload: None,
            address: Some("127.0.0.1:20000".parse().expect("an address")),
            conditions: Vec::new(),
            last_wake_unix_ms: Some(40_000),
            idle_since_unix_ms: None,
        }
    }

    fn id(n: u16) -> UpstreamId {
        UpstreamId::new("local", "web", n)
    }

    fn shown(rows: &BTreeMap<UpstreamId, Status>, most: usize, colour: Colour) -> Vec<String> {
        let held = BTreeMap::from([(id(80), 12)]);
        let reached = BTreeMap::from([(id(80), "http://web.localhost:10000".into())]);
        lines(&View { rows, held: &held, reached: &reached, now_unix_ms: 100_000 }, most, colour)
    }

    #[test]
    fn a_row_says_phase_addresses_held_and_times() {
        let rows = BTreeMap::from([(id(80), status(Phase::Waking))]);
        let expected = [
            "UPSTREAM      PHASE   REACHED AT                  ACTIVATOR        HELD  LAST WAKE  IDLE",
            "local/web:80  waking  http://web.localhost:10000  127.0.0.1:20000  12    1m         -",
        ];
        assert_eq!(shown(&rows, 9, Colour::None), expected);
        assert!(shown(&rows, 9, Colour::Ansi)[1].contains("\x1b[33mwaking\x1b[0m"));
    }

    #[test]
    fn a_failure_stands_in_the_place_of_the_phase() {
        let problem = Problem { reason: "CrashLoop".into(), message: String::new() };
        let failed = Status {
            conditions: vec![Condition { kind: "Ready", holds: false, problem }],
            ..status(Phase::Waking)
        };
        assert!(shown(&BTreeMap::from([(id(80), failed)]), 9, Colour::None)[1].contains("CrashLoop"));
    }

    #[test]
    fn more_rows_than_fit_are_counted() {
        let rows = (1..=5).map(|n| (id(n), status(Phase::Cold))).collect();
        let lines = shown(&rows, 2, Colour::None);
        assert_eq!((lines.len(), lines[3].as_str()), (4, "... and 3 more"));
    }
}
