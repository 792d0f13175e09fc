//! A real part as a process: started on a leash, logged to a file, ended by its pid with the test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::folder::open_log;
use crate::net::Place;
use crate::{parts, until};

/// A running process. It ends when this is dropped, and when the test's thread ends in any other way.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; what it writes is appended to `log`. It sees only the given variables and `PATH`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        variables: &[(String, String)],
        log: &Path,
    ) -> Self {
        Self::start_in(&Place::here(), program, arguments, variables, log)
    }

    /// The same, in the namespace of `place`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_in<A: AsRef<OsStr>>(
        place: &Place,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        variables: &[(String, String)],
        log: &Path,
    ) -> Self {
        let name = program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let file = open_log(log);
        let child = Command::new(parts::own("leash"))
            .arg(std::process::id().to_string())
            .arg(place.door().unwrap_or_default())
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("share a log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { name, child, log: log.to_path_buf() }
    }

    /// The name of its program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("the kernel's pids fit"))
    }

    /// Sends a signal; one that has ended already gets none.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill(self.pid(), signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
        }
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the kernel does not know it.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("ask for a child")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub async fn end(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        until::some(&what, async || self.ended()).await
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// When it does not go within a minute.
    pub async fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.end().await
    }

    /// SIGTERM, and waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.end().await
    }

    /// What it and its predecessors of the same name wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails the test if it has ended by itself: waiting for what a dead process should do takes a minute and says less.
    ///
    /// # Panics
    /// When it has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} has ended: {status}; its log:\n{}", self.name, self.log());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
