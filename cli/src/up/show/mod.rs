//! The view of `zenvoy up`: a live table on a terminal, plain lines elsewhere. In: the board; out: text on standard output.

mod plain;
mod table;
mod terminal;
mod waterfall;
mod words;
mod wrap;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use zenvoy_shared::id::UpstreamId;

use self::plain::Lines;
use self::table::{Colour, Room, View};
use self::terminal::Terminal;
use super::board::Board;
use crate::out;

/// A table is drawn at most this often, so that a storm of news does not flicker.
const FRAME: Duration = Duration::from_millis(50);
/// And at least this often: times pass.
const REFRESH: Duration = Duration::from_secs(1);
/// Width and height of a terminal whose size is not known.
const SIZE: (u16, u16) = (80, 24);
/// Lines that stay free for what scrolls above the table, and for the cursor.
const FREE: usize = 3;

/// Shows the board until `stop`. `reached` says where clients reach each upstream.
pub(super) async fn show(
    board: Board,
    reached: impl Fn() -> BTreeMap<UpstreamId, String>,
    held: impl Fn() -> BTreeMap<UpstreamId, u32>,
    stop: CancellationToken,
) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return lines(board, reached, stop).await;
    }
    let colour = if std::env::var_os("NO_COLOR").is_some() { Colour::None } else { Colour::Ansi };
    let mut terminal = Terminal::new(io::stdout());
    let mut words = Lines::default();
    loop {
        let ends = stop.is_cancelled();
        let (rows, reached, held) = (board.rows(), reached(), held());
        let news =
            board.take_news().into_iter().flat_map(|news| words.of(news, &reached)).collect::<Vec<_>>();
        let view = View { rows: &rows, held: &held, reached: &reached, now_unix_ms: now_unix_ms() };
        let size = terminal_size::terminal_size().map_or(SIZE, |(width, height)| (width.0, height.0));
        let room = Room { width: size.0.into(), height: usize::from(size.1).saturating_sub(FREE) };
        let table = table::lines(&view, room, colour);
        terminal.draw(&news, &table)?;
        if ends {
            return Ok(());
        }
        tokio::time::sleep(FRAME).await;
        tokio::select! {
            () = board.changed() => {}
            () = tokio::time::sleep(REFRESH) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn lines(
    board: Board,
    reached: impl Fn() -> BTreeMap<UpstreamId, String>,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut words = Lines::default();
    loop {
        let ends = stop.is_cancelled();
        let news =
            board.take_news().into_iter().flat_map(|news| words.of(news, &reached())).collect::<Vec<_>>();
        let text: String = news.iter().flat_map(|line| [line, "\n"]).collect();
        out::print(&text)?;
        if ends {
            return Ok(());
        }
        tokio::select! {
            () = board.changed() => {}
            () = stop.cancelled() => {}
        }
    }
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
