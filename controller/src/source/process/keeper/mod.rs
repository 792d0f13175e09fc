//! Keeping a command so that nothing of it outlives zenvoy, SIGKILL of zenvoy included.
//!
//! zenvoy starts each command through a keeper: itself, by a hidden subcommand, in a process group of its own. The
//! keeper is the subreaper of all descendants and holds the reading end of a pipe; when zenvoy closes it, or dies, the
//! keeper sends SIGTERM to every descendant, waits for the grace, sends SIGKILL, and ends when the kernel says that no
//! child is left. Should the keeper itself be killed, the command gets SIGKILL by its parent-death signal.

mod descendants;
mod keep;
mod output;
mod start;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::task::AbortOnDropHandle;

pub use keep::{KeepError, keep};
pub use output::Output;
pub use start::{StartError, start};


/// The output closes with the last descendant; it is not waited for longer than this.
const OUTPUT_TIME: Duration = Duration::from_secs(1);
/// Beyond the grace: how long the keeper may take to kill and to end.
const LAST_RESORT: Duration = Duration::from_secs(15);

/// How zenvoy starts itself as a keeper: `program` and `arguments`, then the grace in milliseconds, then the command.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// The executable; `/proc/self/exe` is right even when the file was replaced meanwhile.
    pub program: PathBuf,
    /// What makes it call [`keep`].
    pub arguments: Vec<OsString>,
}

/// A command to keep.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Beside the environment of zenvoy.
    pub env: Vec<(OsString, OsString)>,
    /// Where it runs.
    pub directory: PathBuf,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
}

/// A command that runs below its keeper. When this is dropped, the keeper ends the command.
#[derive(Debug)]
pub struct Running {
    keeper: Child,
    lifeline: Option<ChildStdin>,
    group: Option<Pid>,
    grace: Duration,
    output: Output,
    /// Fills the output.
    reading: AbortOnDropHandle<()>,
}

impl Keeper {
    /// Starts a command. It has no input; of what it writes, to either stream, the last lines are kept.
    pub fn run(&self, command: Kept) -> io::Result<Running> {
        if !command.directory.is_dir() {
            let message = format!("its working directory {} does not exist", command.directory.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        let (reader, writer) = io::pipe()?;
        let mut keeper = Command::new(&self.program)
            .args(&self.arguments)
            .arg(command.grace.as_millis().to_string())
            .arg("--")
            .args(command.argv)
            .envs(command.env)
            .current_dir(command.directory)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .spawn()?;
        let group = keeper.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let output = Output::default();
        let reading = output.clone().collect(pipe::Receiver::from_owned_fd(reader.into())?);
        let reading = AbortOnDropHandle::new(tokio::spawn(reading));
        // Out of the child's hands: waiting for it would close the pipe that keeps the command running.
        let lifeline = keeper.stdin.take();
        Ok(Running { keeper, lifeline, group, grace: command.grace, output, reading })
    }
}

impl Running {
    /// Waits for the end of the command and all its descendants. The status is the command's: above 128 it is 128 and
    /// the number of the signal that killed it.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.keeper.wait().await?;
        if status.code().is_none() {
            self.kill_group();
        }
        Ok(status)
    }

    /// Ends the command: SIGTERM, the grace, SIGKILL. Returns when all its descendants are gone.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        drop(self.lifeline.take());
        match tokio::time::timeout(self.grace + LAST_RESORT, self.keeper.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.kill_group();
                self.keeper.kill().await?;
                self.keeper.wait().await
            }
        }
    }

    /// What the command writes, while it runs.
    pub fn output(&self) -> Output {
        self.output.clone()
    }

    /// What the command wrote last, oldest first; after its end.
    pub async fn last_lines(self) -> Vec<String> {
        // A reader that does not end in time has what was there.
        let _ = tokio::time::timeout(OUTPUT_TIME, self.reading).await;
        self.output.lines()
    }

    /// The keeper was killed: what stayed in its group must not live on.
    fn kill_group(&self) {
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}
