//! The table of the live view: one row an upstream, fit to the terminal. Where that is narrow, reasons of failures go below
//! their rows first, then columns give way. Pure.

use std::collections::BTreeMap;

use zenvoy_controller::model::{Phase, Problem};
use zenvoy_controller::report::Status;
use zenvoy_shared::id::UpstreamId;

use super::words;
use super::wrap::{cut, length, wrapped};

const HEADINGS: [&str; COLUMNS] =
    ["UPSTREAM", "PHASE", "REACHED AT", "ACTIVATOR", "HELD", "LAST WAKE", "IDLE"];
const COLUMNS: usize = 7;
/// The column that says phase or failure.
const PHASE: usize = 1;
/// Which columns give way, the least needed first; upstream and phase stay.
const GIVE_WAY: [usize; COLUMNS - 2] = [3, 5, 6, 4, 2];
/// Between two columns.
const GAP: usize = 2;
/// In front of what stands below a row, where there is room for it.
const INDENT: usize = 4;
/// A reason takes no more lines than this...
const REASON_LINES: usize = 3;
/// ...and its sentence no more than this, where more stands below it.
const SENTENCE_LINES: usize = 2;

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

/// How much room there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// In letters.
    pub(super) width: usize,
    /// In lines, the headings included; at least two are used.
    pub(super) height: usize,
}

/// The lines of the table, none before there is an upstream; beyond the room, the last says how many more upstreams there are.
pub(super) fn lines(view: &View<'_>, room: Room, colour: Colour) -> Vec<String> {
    if view.rows.is_empty() {
        return Vec::new();
    }
    let most = room.height.saturating_sub(1).max(1);
    let rows: Vec<Row> = view.rows.iter().take(most).map(|(id, status)| Row::of(view, id, status)).collect();
    let layout = Layout::fit(&rows, room.width);
    let mut lines = vec![layout.headings()];
    let mut shown = 0;
    for row in &rows {
        let block = layout.row(row, colour);
        let is_last = shown + 1 == view.rows.len();
        // The line that counts the rest needs room too, and one row is always shown.
        if shown > 0 && lines.len() + block.len() + usize::from(!is_last) > room.height {
            break;
        }
        lines.extend(block);
        shown += 1;
    }
    let more = view.rows.len() - shown;
    if more > 0 {
        lines.push(cut(&format!("... and {more} more"), room.width));
    }
    lines
}

/// What is known of one upstream, as text.
struct Row<'a> {
    status: &'a Status,
    cells: [String; COLUMNS],
    failure: Option<&'a Problem>,
}

impl<'a> Row<'a> {
    fn of(view: &View<'_>, id: &UpstreamId, status: &'a Status) -> Self {
        let dash = || "-".to_owned();
        let ago = |since: Option<u64>| since.map_or_else(dash, |since| words::ago(since, view.now_unix_ms));
        let failure = failure(status);
        let cells = [
            id.to_string(),
            failure.map_or_else(|| words::phase(status.phase).to_owned(), |problem| problem.reason.clone()),
            view.reached.get(id).cloned().unwrap_or_else(dash),
            status.address.map_or_else(dash, |address| address.to_string()),
            view.held.get(id).map_or_else(dash, ToString::to_string),
            ago(status.last_wake_unix_ms),
            ago(status.idle_since_unix_ms),
        ];
        Self { status, cells, failure }
    }
}

/// Where a failure's reason stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reasons {
    InPlaceOfThePhase,
    BelowTheRow,
}

/// Which columns are shown, how wide, and where reasons stand.
struct Layout {
    widths: Vec<(usize, usize)>,
    reasons: Reasons,
    width: usize,
}

impl Layout {
    /// The fullest that fits; if none does, what is left is cut.
    fn fit(rows: &[Row<'_>], width: usize) -> Self {
        let mut layout = Self::of(rows, &[], Reasons::InPlaceOfThePhase, width);
        for gone in 0..=GIVE_WAY.len() {
            if layout.fits() {
                return layout;
            }
            layout = Self::of(rows, &GIVE_WAY[..gone], Reasons::BelowTheRow, width);
        }
        layout
    }

    fn of(rows: &[Row<'_>], gone: &[usize], reasons: Reasons, width: usize) -> Self {
        let mut layout = Self { widths: Vec::new(), reasons, width };
        for column in (0..COLUMNS).filter(|column| !gone.contains(column)) {
            let cells = rows.iter().map(|row| length(layout.cell(row, column)));
            let widest = cells.chain([length(HEADINGS[column])]).max().unwrap_or(0);
            layout.widths.push((column, widest));
        }
        layout
    }

    fn fits(&self) -> bool {
        let gaps = GAP * self.widths.len().saturating_sub(1);
        self.widths.iter().map(|(_, width)| width).sum::<usize>() + gaps <= self.width
    }

    fn cell<'r>(&self, row: &'r Row<'_>, column: usize) -> &'r str {
        if column == PHASE && row.failure.is_some() && self.reasons == Reasons::BelowTheRow {
            "failing"
        } else {
            &row.cells[column]
        }
    }

    fn headings(&self) -> String {
        let cells =
            self.widths.iter().map(|(column, width)| (*column, format!("{:<width$}", HEADINGS[*column])));
        self.line(cells, |cell| cell)
    }

    /// The lines of one upstream.
    fn row(&self, row: &Row<'_>, colour: Colour) -> Vec<String> {
        let cells = self
            .widths
            .iter()
            .map(|(column, width)| (*column, format!("{:<width$}", self.cell(row, *column))));
        let first = self.line(cells, |phase| paint(&phase, row.status, colour));
        let Some(problem) = row.failure.filter(|_| self.reasons == Reasons::BelowTheRow) else {
            return vec![first];
        };
        let indent = INDENT.min(self.width / 4);
        let below =
            reason(problem, self.width - indent).into_iter().map(|line| format!("{:indent$}{line}", ""));
        std::iter::once(first).chain(below).collect()
    }

    /// Cells side by side, cut at the edge before colours are added.
    fn line(
        &self,
        cells: impl Iterator<Item = (usize, String)>,
        paint_phase: impl Fn(String) -> String,
    ) -> String {
        let (mut line, mut taken) = (String::new(), 0);
        for (column, cell) in cells {
            let gap = if taken > 0 { GAP.min(self.width.saturating_sub(taken)) } else { 0 };
            let cell = cut(&cell, self.width.saturating_sub(taken + gap));
            taken += gap + length(&cell);
            line.push_str(&" ".repeat(gap));
            line.push_str(&if column == PHASE { paint_phase(cell) } else { cell });
        }
        line.trim_end().to_owned()
    }
}

/// A problem's reason and sentence, and of what the command wrote as many of the last lines as there is room for.
fn reason(problem: &Problem, width: usize) -> Vec<String> {
    let (said, wrote) = problem.message.split_once('\n').unwrap_or((&problem.message, ""));
    let wrote: Vec<&str> = wrote.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut lines = wrapped(&format!("{}: {said}", problem.reason), width);
    let room = if wrote.is_empty() { REASON_LINES } else { SENTENCE_LINES };
    if lines.len() > room {
        lines.truncate(room);
        lines[room - 1] = cut(&format!("{} …", lines[room - 1]), width);
    }
    let rest = wrote.len().saturating_sub(REASON_LINES - lines.len());
    // What moves a terminal's cursor would break the table.
    let shown = |line: &&str| cut(line.replace(char::is_control, " ").trim_end(), width);
    lines.extend(wrote[rest..].iter().map(shown));
    lines
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

    fn shown(
        rows: &BTreeMap<UpstreamId, Status>,
        width: usize,
        height: usize,
        colour: Colour,
    ) -> Vec<String> {
        let held = BTreeMap::from([(id(80), 12)]);
        let reached = BTreeMap::from([(id(80), "http://web.localhost:10000".into())]);
        let view = View { rows, held: &held, reached: &reached, now_unix_ms: 100_000 };
        lines(&view, Room { width, height }, colour)
    }

    fn failed() -> Status {
        let message =
            "web exited with status 3, 4 times in a row; tried again in 2s. Its last lines:\nno".into();
        let problem = Problem { reason: "CrashLoop".into(), message };
        let conditions = vec![Condition { kind: "Ready", holds: false, problem }];
        Status { conditions, ..status(Phase::Waking) }
    }

    #[test]
    fn a_row_says_phase_addresses_held_and_times() {
        let rows = BTreeMap::from([(id(80), status(Phase::Waking))]);
        let expected = [
            "UPSTREAM      PHASE   REACHED AT                  ACTIVATOR        HELD  LAST WAKE  IDLE",
            "local/web:80  waking  http://web.localhost:10000  127.0.0.1:20000  12    1m         -",
        ];
        assert_eq!(shown(&rows, 200, 9, Colour::None), expected);
        assert!(shown(&rows, 200, 9, Colour::Ansi)[1].contains("\x1b[33mwaking\x1b[0m"));
    }

    #[test]
    fn without_upstreams_there_are_no_headings_either() {
        assert_eq!(shown(&BTreeMap::new(), 200, 9, Colour::None), Vec::<String>::new());
    }

    #[test]
    fn a_failure_stands_in_the_place_of_the_phase() {
        let lines = shown(&BTreeMap::from([(id(80), failed())]), 200, 9, Colour::None);
        assert!(lines.len() == 2 && lines[1].contains("CrashLoop  http"), "{lines:?}");
    }

    #[test]
    fn on_a_narrow_terminal_reasons_go_below_and_then_columns_give_way() {
        let rows = BTreeMap::from([(id(80), failed()), (id(81), status(Phase::Cold))]);
        let expected = [
            "UPSTREAM      PHASE    REACHED AT                  HELD  LAST WAKE  IDLE",
            "local/web:80  failing  http://web.localhost:10000  12    1m         -",
            "    CrashLoop: web exited with status 3, 4 times in a row; tried again in 2s. Its",
            "    last lines:",
            "    no",
            "local/web:81  cold     -                           -     1m         -",
        ];
        assert_eq!(shown(&rows, 85, 9, Colour::None), expected);
        let narrow = shown(&rows, 52, 9, Colour::None);
        assert_eq!(narrow[0], "UPSTREAM      PHASE    REACHED AT");
        assert_eq!(shown(&rows, 30, 9, Colour::None)[0], "UPSTREAM      PHASE");
        assert_eq!(shown(&rows, 10, 9, Colour::None)[1], "local/web…");
    }

    #[test]
    fn of_what_a_command_wrote_the_last_lines_are_shown() {
        let said = "web exited with status 1 before it was ready, 12 times in a row; tried again in 30s. Its last lines:";
        let message = format!("{said}\nTraceback:\n  File \"server.py\"\n\nKeyError: 'DATABASE'\n");
        let reason = |message: &str, width| {
            reason(&Problem { reason: "CrashLoop".into(), message: message.into() }, width)
        };
        let lines = reason(&message, 76);
        assert_eq!(lines[1..], ["tried again in 30s. Its last lines:", "KeyError: 'DATABASE'"]);
        assert_eq!(reason(&message, 200)[1..], ["  File \"server.py\"", "KeyError: 'DATABASE'"]);
        let lines = reason(&format!("{said}\n\x1b[31m{}", "x".repeat(100)), 30);
        assert_eq!(lines[1], "status 1 before it was ready,…");
        assert_eq!((lines.len(), length(&lines[2])), (3, 30), "{lines:?}");
        assert!(lines[2].starts_with(" [31mx") && lines[2].ends_with('…'), "{lines:?}");
    }

    #[test]
    fn no_line_is_wider_or_the_table_higher_than_the_terminal() {
        let rows: BTreeMap<_, _> = (78..=90).map(|n| (id(n), failed())).collect();
        for width in 1..150 {
            for height in 6..20 {
                let lines = shown(&rows, width, height, Colour::None);
                assert!(lines.len() <= height, "{width} x {height}: {lines:?}");
                assert!(lines.iter().all(|line| length(line) <= width), "{width}: {lines:?}");
            }
        }
    }

    #[test]
    fn a_colour_ends_where_its_cell_is_cut() {
        let rows = BTreeMap::from([(id(80), status(Phase::Waking))]);
        assert_eq!(shown(&rows, 18, 9, Colour::Ansi)[1], "local/web:80  \x1b[33mwak…\x1b[0m");
    }

    #[test]
    fn more_rows_than_fit_are_counted() {
        let rows = (1..=5).map(|n| (id(n), status(Phase::Cold))).collect();
        let lines = shown(&rows, 200, 4, Colour::None);
        assert_eq!((lines.len(), lines[3].as_str()), (4, "... and 3 more"));
        assert_eq!(shown(&rows, 200, 6, Colour::None).len(), 6, "all fit");
    }
}
