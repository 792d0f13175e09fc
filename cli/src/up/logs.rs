//! Logs of `zenvoy up`: above the live table when both are on the terminal, else on standard error.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::fmt::MakeWriter;
use zenvoy_shared::telemetry;

use super::board::Board;
use crate::exit::Failure;
use crate::logs::LogArgs;

/// Sets them up.
pub(super) fn init(args: &LogArgs, board: &Board) -> Result<(), Failure> {
    let (format, filter) = (args.log_format, args.filter("warn"));
    if io::stdout().is_terminal() && io::stderr().is_terminal() {
        telemetry::init_to(format, filter, ToBoard(board.clone()))
    } else {
        telemetry::init(format, filter)
    }
    .map_err(Failure::configuration)
}

struct ToBoard(Board);

/// One event's text.
struct Event {
    board: Board,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for ToBoard {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event { board: self.0.clone(), text: Vec::new() }
    }
}

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        String::from_utf8_lossy(&self.text).lines().for_each(|line| self.board.log(line.to_owned()));
    }
}
