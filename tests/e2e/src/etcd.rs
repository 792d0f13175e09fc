//! A real etcd, ended with its test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::folder::Folder;
use crate::http::get;
use crate::net::Place;
use crate::process::Process;
use crate::{parts, until};

/// One member of a cluster; mostly of one.
#[derive(Debug)]
pub struct Etcd {
    place: Place,
    client: SocketAddr,
    flags: Vec<String>,
    data: PathBuf,
    log: PathBuf,
    process: Process,
}

impl Etcd {
    /// Starts it at `127.0.0.1:port`; it talks to itself on the port after that.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(folder: &Folder, name: &str, port: u16) -> Self {
        Self::alone(folder, name, &Place::here(), port)
    }

    /// The same at another place.
    pub(crate) fn alone(folder: &Folder, name: &str, place: &Place, port: u16) -> Self {
        Self::member(folder, name, place, port, &[(name, place)])
    }

    /// Starts the member called `name` of a cluster of `members`, all of which have the same port at places of their own.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn member(folder: &Folder, name: &str, place: &Place, port: u16, members: &[(&str, &Place)]) -> Self {
        let members: Vec<String> =
            members.iter().map(|(name, place)| format!("{name}=http://{}", place.at(port + 1))).collect();
        let data = folder.path().join(name);
        let flags = flags(name, &data, place, port, &members.join(","));
        let log = folder.log(name);
        let process = run(place, &flags, &log);
        Self { place: place.clone(), client: place.at(port), flags, data, log, process }
    }

    /// Where clients reach it: `http://…`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.client)
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it ends, or does not within a minute.
    pub async fn until_ready(&mut self) {
        until::so("etcd is healthy", async || {
            self.process.assert_running();
            get(self.client, "etcd", "/health").await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// Its process, to stop, pause or kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again on the data it had.
    ///
    /// # Panics
    /// When it does not come back.
    pub async fn restart(&mut self) {
        self.process.kill().await;
        self.start_again();
        self.until_ready().await;
    }

    /// The same without waiting; the process that was must have ended.
    pub fn start_again(&mut self) {
        self.process = run(&self.place, &self.flags, &self.log);
    }
}

/// Data of etcd as it was.
#[derive(Debug)]
pub struct Backup(PathBuf);

impl Etcd {
    /// Copies its data, while it does not run, and starts it again.
    ///
    /// # Panics
    /// When the data cannot be copied, or it does not come back.
    pub async fn back_up(&mut self) -> Backup {
        self.process.kill().await;
        let backup = Backup(self.data.with_extension("backup"));
        copy(&self.data, &backup.0);
        self.restart().await;
        backup
    }

    /// Puts a backup in the place of its data, and starts it again.
    ///
    /// # Panics
    /// When the data cannot be copied, or it does not come back.
    pub async fn restore(&mut self, backup: &Backup) {
        self.process.kill().await;
        std::fs::remove_dir_all(&self.data).unwrap_or_else(|error| panic!("remove etcd's data: {error}"));
        copy(&backup.0, &self.data);
        self.restart().await;
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap_or_else(|error| panic!("make {}: {error}", to.display()));
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("read {}: {error}", from.display())) {
        let entry = entry.expect("read a folder of etcd");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap_or_else(|error| panic!("copy {}: {error}", to.display()));
        }
    }
}

fn flags(name: &str, data: &Path, place: &Place, port: u16, members: &str) -> Vec<String> {
    let (client, peer) = (format!("http://{}", place.at(port)), format!("http://{}", place.at(port + 1)));
    vec![
        format!("--name={name}"),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={members}"),
        // No test pulls the plug of the machine, so none pays for disk flushes.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn run(place: &Place, flags: &[String], log: &Path) -> Process {
    Process::start_in(place, &parts::path("etcd"), flags, &[], log)
}
