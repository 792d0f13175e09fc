//! A controller replica.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::local;
use crate::folder::Folder;
use crate::http::get;
use crate::process::Process;
use crate::{parts, until};

/// A running `zenvoy controller`.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    flags: Vec<String>,
    log: PathBuf,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Controller {
    /// Starts it on a cluster and an etcd.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(folder: &Folder, kubeconfig: &Path, etcd: &str, further: &[&str]) -> Self {
        let (address, admin) = (local(18_000), local(18_080));
        let mut flags = vec![
            "controller".into(),
            format!("--listen={address}"),
            format!("--admin={admin}"),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--etcd-endpoints={etcd}"),
            // A killed leader's successor waits this long.
            "--lease-ttl=5s".into(),
            "--log=info,zenvoy_controller=debug".into(),
        ];
        flags.extend(further.iter().map(|flag| (*flag).to_owned()));
        let log = folder.log("zenvoy-controller");
        Self { process: run(&flags, &log), flags, log, address, admin }
    }

    /// Where proxies reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, to stop, pause or kill.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again, as it was started; the process that was must have ended.
    pub fn start_again(&mut self) {
        self.process = run(&self.flags, &self.log);
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it ends, or does not within a minute.
    pub async fn until_ready(&mut self) {
        until::so("the controller is ready", async || {
            self.process.assert_running();
            get(self.admin, "admin", "/readyz").await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// Waits until it says that it is not ready.
    ///
    /// # Panics
    /// When it ends, or stays ready for a minute.
    pub async fn until_not_ready(&mut self) {
        until::so("the controller is not ready", async || {
            self.process.assert_running();
            get(self.admin, "admin", "/readyz").await.is_ok_and(|answer| answer.status == 503)
        })
        .await;
    }

    /// Its status page.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn status(&self) -> Value {
        let answer = get(self.admin, "admin", "/status").await.expect("the controller's status");
        serde_json::from_str(&answer.body).expect("the status is JSON")
    }

    /// Its metrics, as text.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics(&self) -> String {
        get(self.admin, "admin", "/metrics").await.expect("the controller's metrics").body
    }
}

fn run(flags: &[String], log: &Path) -> Process {
    Process::start(&parts::zenvoy(), flags, &[], log)
}
