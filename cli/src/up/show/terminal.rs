//! A table that is redrawn in place at the end of a terminal, with lines that scroll above it.

use std::io::{self, Write};

/// Lines that stay at the bottom.
#[derive(Debug)]
pub(super) struct Terminal<W: Write> {
    to: W,
    drawn: usize,
}

impl<W: Write> Terminal<W> {
    /// Nothing is drawn yet.
    pub(super) fn new(to: W) -> Self {
        Self { to, drawn: 0 }
    }

    /// Prints `above` where they stay, and `table` below in the place of the last one.
    pub(super) fn draw(&mut self, above: &[String], table: &[String]) -> io::Result<()> {
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to the first line of the last table, and nothing below it.
            text.push_str(&format!("\x1b[{}F", self.drawn));
        }
        text.push_str("\x1b[J");
        for line in above {
            text.push_str(line);
            text.push('\n');
        }
        // A line that wrapped would take two: cut at the edge instead.
        text.push_str("\x1b[?7l");
        for line in table {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("\x1b[?7h");
        self.drawn = table.len();
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_table_takes_the_place_of_the_first() {
        let mut bytes = Vec::new();
        let mut terminal = Terminal::new(&mut bytes);
        terminal.draw(&[], &["a".into(), "b".into()]).expect("written");
        terminal.draw(&["news".into()], &["c".into()]).expect("written");
        let text = String::from_utf8(bytes).expect("text");
        assert_eq!(text, "\x1b[J\x1b[?7la\nb\n\x1b[?7h\x1b[2F\x1b[Jnews\n\x1b[?7lc\n\x1b[?7h");
    }
}
