//! One direction: socket -> pipe -> socket, without a copy to user space.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::pipe2;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::RelayError;

/// A pipe's default capacity on Linux.
const CHUNK: usize = 64 * 1024;

/// Which end of the direction broke.
pub(super) enum Broken {
    Pipe(io::Error),
    Source(io::Error),
    Sink(io::Error),
}

impl Broken {
    pub(super) fn of(
        self,
        source: impl FnOnce(io::Error) -> RelayError,
        sink: impl FnOnce(io::Error) -> RelayError,
    ) -> RelayError {
        match self {
            Self::Pipe(error) => RelayError::Pipe(error),
            Self::Source(error) => source(error),
            Self::Sink(error) => sink(error),
        }
    }
}

/// Moves everything from `source` to `sink`, then closes `sink` for writing.
pub(super) async fn all(source: &TcpStream, sink: &TcpStream, moved: impl Fn(u64)) -> Result<(), Broken> {
    let (out, into) =
        pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).map_err(|errno| Broken::Pipe(errno.into()))?;
    loop {
        let mut left = fill(source, &into).await.map_err(Broken::Source)?;
        if left == 0 {
            break;
        }
        while left > 0 {
            let drained = drain(&out, sink, left).await.map_err(Broken::Sink)?;
            left = left.saturating_sub(drained);
            moved(drained as u64);
        }
    }
    match shutdown(sink.as_raw_fd(), Shutdown::Write) {
        // The sink's peer may have gone already: nothing is left to tell it.
        Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
        Err(errno) => Err(Broken::Sink(errno.into())),
    }
}

/// The pipe is empty before each call, so "would block" is about the socket.
async fn fill(source: &TcpStream, into: &OwnedFd) -> io::Result<usize> {
    source.async_io(Interest::READABLE, || some(|| splice(source, None, into, None, CHUNK, flags()))).await
}

async fn drain(out: &OwnedFd, sink: &TcpStream, left: usize) -> io::Result<usize> {
    sink.async_io(Interest::WRITABLE, || some(|| splice(out, None, sink, None, left, flags()))).await
}

fn some(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done.map_err(io::Error::from),
        }
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}
