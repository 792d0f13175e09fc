//! What is printed on standard output. A reader that has closed it has seen enough: that is no fault.

use std::io::{self, ErrorKind, Write};

/// Prints `text` as it is.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
