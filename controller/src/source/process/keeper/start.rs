//! The last step before a command: becomes it, tied to the life of its keeper.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid};

/// The command was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The keeper is gone already.
    #[error("the keeper has ended")]
    Orphan,
    /// The kernel refused the tie.
    #[error("cannot tie the command to its keeper: {0}")]
    Tie(#[from] nix::Error),
    /// There is nothing to run, or it cannot be run.
    #[error("cannot run {program:?}: {source}")]
    Run {
        /// As given.
        program: OsString,
        /// Why.
        source: io::Error,
    },
}

impl StartError {
    /// The exit status that shells give: 127 for what does not exist, 126 for what cannot be run.
    pub fn status(&self) -> u8 {
        match self {
            Self::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Run { .. } => 126,
            Self::Orphan | Self::Tie(_) => 125,
        }
    }
}

/// Becomes the command `argv`; returns only when that fails. `keeper` is the process id of the parent: if that dies, the
/// kernel kills the command, which `exec` does not undo.
pub fn start(keeper: i32, argv: &[OsString]) -> StartError {
    // The keeper takes its signals from a descriptor; what it blocked for that would stay blocked in the command.
    let tied = prctl::set_pdeathsig(Signal::SIGKILL).and_then(|()| SigSet::all().thread_unblock());
    if let Err(error) = tied {
        return error.into();
    }
    if getppid() != Pid::from_raw(keeper) {
        return StartError::Orphan;
    }
    let (program, arguments) = argv.split_first().map_or((OsString::new(), &[][..]), |(p, a)| (p.clone(), a));
    let source = Command::new(&program).args(arguments).exec();
    StartError::Run { program, source }
}
