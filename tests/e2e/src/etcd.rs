//! A real etcd, ended with its test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::folder::Folder;
use crate::http::get;
use crate::process::Process;
use crate::{parts, until};

/// One member of a cluster of one.
#[derive(Debug)]
pub struct Etcd {
    name: String,
    client: SocketAddr,
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
        let client = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let (data, log) = (folder.path().join(name), folder.log(name));
        let process = run(name, client, &data, &log);
        Self { name: name.into(), client, data, log, process }
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
        self.process = run(&self.name, self.client, &self.data, &self.log);
        self.until_ready().await;
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

fn run(name: &str, client: SocketAddr, data: &Path, log: &Path) -> Process {
    let (endpoint, peer) =
        (format!("http://{client}"), format!("http://{}:{}", client.ip(), client.port() + 1));
    let arguments = [
        format!("--name={name}"),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={endpoint}"),
        format!("--advertise-client-urls={endpoint}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster={name}={peer}"),
        // No test pulls the plug of the machine, so none pays for disk flushes.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ];
    Process::start(&parts::path("etcd"), arguments, &[], log)
}
