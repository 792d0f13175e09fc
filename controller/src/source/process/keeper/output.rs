//! The last lines that a command wrote, kept to be shown when it fails. In: bytes; out: lines. Bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// So many lines are kept.
const LINES: usize = 20;
/// Of each line so many bytes.
const LINE: usize = 500;

/// What a command has written last, while it runs and afterwards. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Output {
    tail: Arc<Mutex<Tail>>,
}

impl Output {
    /// The last lines until now, oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.tail().lines()
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until the output closes or fails.
    pub(super) async fn collect(self, mut output: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 8192];
        while let Ok(read @ 1..) = output.read(&mut buffer).await {
            self.tail().push(&buffer[..read]);
        }
    }
}

/// The end of an output.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl Tail {
    /// Takes bytes as they come.
    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (line, ends) = match part.strip_suffix(b"\n") {
                Some(line) => (line, true),
                None => (part, false),
            };
            let room = LINE.saturating_sub(self.open.len()).min(line.len());
            self.open.extend_from_slice(&line[..room]);
            if ends {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let line = text(&std::mem::take(&mut self.open));
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The lines, the last one even when it did not end; none of them empty at the end.
    fn lines(&self) -> Vec<String> {
        let open = (!self.open.is_empty()).then(|| text(&self.open));
        let mut lines: Vec<String> = self.lines.iter().cloned().chain(open).collect();
        lines.drain(..lines.len().saturating_sub(LINES));
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }
}

/// Control characters could rewrite the terminal on which this is shown.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_pieces() {
        let mut tail = Tail::default();
        for piece in ["a", "b\nc", "\n", "d\n\n"] {
            tail.push(piece.as_bytes());
        }
        assert_eq!(tail.lines(), ["ab", "c", "d"]);
    }

    #[test]
    fn an_endless_output_costs_a_bounded_amount() {
        let mut tail = Tail::default();
        for _ in 0..10_000 {
            tail.push(&[b'x'; 1000]);
        }
        assert_eq!(tail.open.len(), LINE);
        for number in 0..10_000 {
            tail.push(format!("\n{number}").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (LINES, Some("9999")));
    }

    #[test]
    fn what_could_rewrite_a_terminal_is_blanked() {
        let mut tail = Tail::default();
        tail.push(b"\x1b[2Jgone\r\n");
        assert_eq!(tail.lines(), [" [2Jgone"]);
    }
}
