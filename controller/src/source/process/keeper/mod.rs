//! Keeping a command so that nothing of it outlives zenvoy, SIGKILL of zenvoy included.
//!
//! zenvoy starts each command through itself, by hidden subcommands: a guard, below it a keeper, below that the command.
//! The keeper is the subreaper of all descendants and holds the reading end of a pipe; when zenvoy closes it, or dies, the
//! keeper sends SIGTERM to every descendant, waits for the grace, sends SIGKILL, and ends when the kernel says that no
//! child is left. Should the keeper itself be killed, its descendants, daemons among them, come to the guard, which is a
//! subreaper too and kills them; should the guard be killed, the keeper learns it by its parent-death signal and does so.
//! Only who kills both at one blow leaves a daemon behind: the command itself has a parent-death signal as well.

mod descendants;
mod keep;
mod output;
mod start;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::task::AbortOnDropHandle;

use keep::AT_ONCE;
pub use keep::{KeepError, guard, keep};
pub use output::Output;
pub use start::{StartError, start};

/// The output closes with the last descendant; it is not waited for longer than this.
const OUTPUT_TIME: Duration = Duration::from_secs(1);
/// Beyond the grace: how long the keeper may take to kill and to end.
const LAST_RESORT: Duration = Duration::from_secs(15);

/// How zenvoy starts itself as a guard: `program` and `arguments`, then the grace in milliseconds, then the command.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// The executable; `/proc/self/exe` is right even when the file was replaced meanwhile.
    pub program: PathBuf,
    /// What makes it call [`guard()`].
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
    /// Its guard.
    keeper: Child,
    lifeline: Option<ChildStdin>,
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
        let output = Output::default();
        let reading = output.clone().collect(pipe::Receiver::from_owned_fd(reader.into())?);
        let reading = AbortOnDropHandle::new(tokio::spawn(reading));
        // Out of the child's hands: waiting for it would close the pipe that keeps the command running.
        let lifeline = keeper.stdin.take();
        Ok(Running { keeper, lifeline, grace: command.grace, output, reading })
    }
}

impl Running {
    /// Waits for the end of the command and all its descendants. The status is the command's: above 128 it is 128 and
    /// the number of the signal that killed it.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.keeper.wait().await
    }

    /// Ends the command: SIGTERM, the grace, SIGKILL. Returns when all its descendants are gone.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        drop(self.lifeline.take());
        match tokio::time::timeout(self.grace + LAST_RESORT, self.keeper.wait()).await {
            Ok(status) => status,
            Err(_) => self.kill().await,
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

    /// The keeper hangs: its guard kills it with all that is below.
    async fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(id) = self.keeper.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(id), AT_ONCE);
        }
        match tokio::time::timeout(LAST_RESORT, self.keeper.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.keeper.kill().await?;
                self.keeper.wait().await
            }
        }
    }
}
