//! The keeper's own life: one thread, no runtime, nothing that could fail late.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::descendants;

/// Between two rounds of signals: a process that forks while it is being ended leaves children for the next round.
const ROUND: Duration = Duration::from_millis(20);
/// What survives SIGKILL for so long hangs in the kernel; nobody can end it.
const KILL_TIME: Duration = Duration::from_secs(10);

/// The keeper cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The kernel refused something.
    #[error("keeper: {0}")]
    Kernel(#[from] Errno),
    /// The command's first step could not be started.
    #[error("keeper: start the command: {0}")]
    Start(#[from] io::Error),
}

/// Runs a command until it ends or standard input closes, and returns its exit status when no descendant is left.
/// `starter` and its arguments make this program call [`super::start`] with the keeper's process id and the command.
pub fn keep(starter: &[OsString], grace: Duration, argv: &[OsString]) -> Result<u8, KeepError> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    prctl::set_child_subreaper(true)?;
    let command = Command::new("/proc/self/exe")
        .args(starter)
        .arg(std::process::id().to_string())
        .arg("--")
        .args(argv)
        .stdin(Stdio::null())
        .spawn()?;
    let lifeline = PipeReader::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut kept = Keep { signals, command: pid(command.id()), status: None };
    let asked = kept.run(&lifeline.into())?;
    if asked {
        kept.end_gently(grace)?;
    }
    kept.kill()?;
    Ok(kept.status.unwrap_or(128 + 9))
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("Linux process ids are below 2^22"))
}

struct Keep {
    signals: SignalFd,
    command: Pid,
    status: Option<u8>,
}

impl Keep {
    /// Until the command has ended (false), or its end is asked for (true).
    fn run(&mut self, lifeline: &OwnedFd) -> Result<bool, Errno> {
        loop {
            let mut fds = [
                PollFd::new(lifeline.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            // No deadline: the pipe closes when zenvoy ends, however it ends.
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            let closed = fds[0].any().unwrap_or(true);
            let told = self.told_to_end()?;
            self.reap()?;
            if closed || told {
                return Ok(true);
            }
            if self.status.is_some() {
                return Ok(false);
            }
        }
    }

    /// Takes the signals that have arrived; whether one asks for the end.
    fn told_to_end(&mut self) -> Result<bool, Errno> {
        let mut told = false;
        while let Some(signal) = self.signals.read_signal()? {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            told |= [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].iter().any(|s| *s as i32 == number);
        }
        Ok(told)
    }

    /// Takes the ends of children; whether some are left.
    fn reap(&mut self) -> Result<bool, Errno> {
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.command => {
                    self.status = Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.command => {
                    self.status = Some(128 + u8::try_from(signal as i32).unwrap_or(0));
                }
                Ok(WaitStatus::StillAlive) => return Ok(true),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// SIGTERM to all, then until none is left or the grace is over. What was forked meanwhile is told when it has lost its
    /// parent; while it has one, it may be what the parent's own way to end needs.
    fn end_gently(&mut self, grace: Duration) -> Result<(), Errno> {
        let deadline = Instant::now() + grace;
        let mut told = descendants::of(Pid::this());
        signal_each(&told, Signal::SIGTERM);
        while self.reap()? && Instant::now() < deadline {
            self.wait(ROUND.min(deadline.saturating_duration_since(Instant::now())))?;
            let orphans: BTreeSet<Pid> =
                descendants::children_of(Pid::this()).difference(&told).copied().collect();
            signal_each(&orphans, Signal::SIGTERM);
            told.extend(orphans);
        }
        Ok(())
    }

    /// SIGKILL to all, until the kernel says that no child is left: then no descendant is, since orphans come here.
    fn kill(&mut self) -> Result<(), Errno> {
        let deadline = Instant::now() + KILL_TIME;
        while self.reap()? && Instant::now() < deadline {
            signal_each(&descendants::of(Pid::this()), Signal::SIGKILL);
            self.wait(ROUND)?;
        }
        Ok(())
    }

    /// Until a signal arrives, at most so long.
    fn wait(&mut self, at_most: Duration) -> Result<(), Errno> {
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(at_most + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => self.told_to_end().map(drop),
            Err(error) => Err(error),
        }
    }
}

fn signal_each(pids: &BTreeSet<Pid>, signal: Signal) {
    for pid in pids {
        // It may have ended meanwhile.
        let _ = kill(*pid, signal);
    }
}
