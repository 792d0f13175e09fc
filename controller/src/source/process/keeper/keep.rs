//! The lives of a guard and of a keeper: one thread, no runtime, nothing that could fail late.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};

use super::descendants;

/// Between two rounds of signals: a process that forks while it is being ended leaves children for the next round.
const ROUND: Duration = Duration::from_millis(20);
/// What survives SIGKILL for so long hangs in the kernel; nobody can end it.
const KILL_TIME: Duration = Duration::from_secs(10);

/// These ask for the end, with the grace...
const GENTLY: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
/// ...and this asks for it without.
pub(super) const AT_ONCE: Signal = Signal::SIGUSR1;

/// The keeper cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The kernel refused something.
    #[error("keeper: {0}")]
    Kernel(#[from] Errno),
    /// Its guard is gone already.
    #[error("keeper: its guard has ended")]
    Orphan,
    /// What comes below could not be started.
    #[error("keeper: start what comes below: {0}")]
    Start(#[from] io::Error),
}

/// Runs a keeper below this process, and returns its exit status when no descendant is left. Should the keeper be killed,
/// its orphans come here and are killed. `below` and its arguments make this program call [`keep`].
pub fn guard(below: &[OsString], grace: Duration, argv: &[OsString]) -> Result<u8, KeepError> {
    let signals = signals()?;
    prctl::set_child_subreaper(true)?;
    let keeper = Command::new("/proc/self/exe")
        .args(below)
        .arg(std::process::id().to_string())
        .arg(grace.as_millis().to_string())
        .arg("--")
        .args(argv)
        // A signal to the group of this process must leave one that ends what is below.
        .process_group(0)
        .spawn()?;
    let mut kept = Keep { signals, child: pid(keeper.id()), status: None };
    while kept.status.is_none() {
        kept.wait(PollTimeout::NONE)?;
        match kept.asked()? {
            Asked::Nothing => {}
            Asked::EndGently => signal_each(&BTreeSet::from([kept.child]), Signal::SIGTERM),
            Asked::EndAtOnce => break,
        }
        kept.reap()?;
    }
    kept.kill()?;
    Ok(kept.status.unwrap_or(128 + 9))
}

/// Runs a command until it ends or standard input closes, and returns its exit status when no descendant is left.
/// `starter` and its arguments make this program call [`super::start()`] with the keeper's process id and the command.
/// `guard` is the process id of the parent, which called [`guard()`]: if that dies, all is killed.
pub fn keep(guard: i32, starter: &[OsString], grace: Duration, argv: &[OsString]) -> Result<u8, KeepError> {
    let signals = signals()?;
    prctl::set_child_subreaper(true)?;
    prctl::set_pdeathsig(AT_ONCE)?;
    if getppid() != Pid::from_raw(guard) {
        return Err(KeepError::Orphan);
    }
    let command = Command::new("/proc/self/exe")
        .args(starter)
        .arg(std::process::id().to_string())
        .arg("--")
        .args(argv)
        .stdin(Stdio::null())
        .spawn()?;
    let lifeline = PipeReader::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut kept = Keep { signals, child: pid(command.id()), status: None };
    if kept.run(&lifeline.into())? == Asked::EndGently {
        kept.end_gently(grace)?;
    }
    kept.kill()?;
    Ok(kept.status.unwrap_or(128 + 9))
}

/// The signals that are taken from a descriptor: those that ask for something, and the ends of children.
fn signals() -> Result<SignalFd, Errno> {
    let mut taken = SigSet::empty();
    for signal in GENTLY.into_iter().chain([AT_ONCE, Signal::SIGCHLD, Signal::SIGPIPE]) {
        taken.add(signal);
    }
    taken.thread_block()?;
    SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("Linux process ids are below 2^22"))
}

/// What signals ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Nothing,
    EndGently,
    EndAtOnce,
}

struct Keep {
    signals: SignalFd,
    /// What was started.
    child: Pid,
    /// How that ended.
    status: Option<u8>,
}

impl Keep {
    /// Until the command has ended, or its end is asked for.
    fn run(&mut self, lifeline: &OwnedFd) -> Result<Asked, Errno> {
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
            let asked = self.asked()?.max(if closed { Asked::EndGently } else { Asked::Nothing });
            self.reap()?;
            if asked != Asked::Nothing || self.status.is_some() {
                return Ok(asked);
            }
        }
    }

    /// Takes the signals that have arrived; the most urgent thing that one asks for.
    fn asked(&mut self) -> Result<Asked, Errno> {
        let mut asked = Asked::Nothing;
        while let Some(signal) = self.signals.read_signal()? {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            if number == AT_ONCE as i32 {
                asked = Asked::EndAtOnce;
            } else if GENTLY.iter().any(|signal| *signal as i32 == number) {
                asked = asked.max(Asked::EndGently);
            }
        }
        Ok(asked)
    }

    /// Takes the ends of children; whether some are left.
    fn reap(&mut self) -> Result<bool, Errno> {
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.child => {
                    self.status = Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.child => {
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
            self.wait(timeout(ROUND.min(deadline.saturating_duration_since(Instant::now()))))?;
            if self.asked()? == Asked::EndAtOnce {
                break;
            }
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
            self.wait(timeout(ROUND))?;
            self.asked()?;
        }
        Ok(())
    }

    /// Until a signal arrives, at most so long.
    fn wait(&mut self, at_most: PollTimeout) -> Result<(), Errno> {
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, at_most) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A millisecond more, so that what was waited for is over.
fn timeout(at_most: Duration) -> PollTimeout {
    PollTimeout::try_from(at_most + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
}

fn signal_each(pids: &BTreeSet<Pid>, signal: Signal) {
    for pid in pids {
        // It may have ended meanwhile.
        let _ = kill(*pid, signal);
    }
}
