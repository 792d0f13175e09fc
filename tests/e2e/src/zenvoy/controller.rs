//! A controller replica.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::PATIENCE;
use crate::clock::Clock;
use crate::folder::Folder;
use crate::http::get;
use crate::net::Place;
use crate::process::Process;
use crate::{parts, until};

/// How long a leader of the tests may be silent.
pub const LEASE_TTL: Duration = Duration::from_secs(5);

/// A running `zenvoy controller`.
#[derive(Debug)]
pub struct Controller {
    place: Place,
    process: Process,
    program: PathBuf,
    variables: Vec<(String, String)>,
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
        let place = Place::here();
        Self::start_in(&place, &parts::zenvoy(), folder, "zenvoy-controller", kubeconfig, etcd, further)
    }

    /// The same at another place, of a build of one's choice, under a name of its own; `etcd` may name several members.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_in(
        place: &Place,
        program: &Path,
        folder: &Folder,
        name: &str,
        kubeconfig: &Path,
        etcd: &str,
        further: &[&str],
    ) -> Self {
        let (address, admin) = (place.at(18_000), place.at(18_080));
        let mut flags = vec![
            "controller".into(),
            format!("--listen={address}"),
            format!("--admin={admin}"),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--etcd-endpoints={etcd}"),
            // A killed leader's successor waits this long.
            format!("--lease-ttl={}s", LEASE_TTL.as_secs()),
            super::log_flag("zenvoy_controller"),
        ];
        flags.extend(further.iter().map(|flag| (*flag).to_owned()));
        let log = folder.log(name);
        Self {
            process: Process::start_in(place, program, &flags, &[], &log),
            place: place.clone(),
            program: program.to_path_buf(),
            variables: Vec::new(),
            flags,
            log,
            address,
            admin,
        }
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
        self.process = Process::start_in(&self.place, &self.program, &self.flags, &self.variables, &self.log);
    }

    /// From its next start on it is this build.
    pub fn become_build(&mut self, program: &Path) {
        self.program = program.to_path_buf();
    }

    /// From its next start on it has a clock of its own.
    pub fn wear(&mut self, clock: &Clock) {
        self.variables = clock.variables();
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it ends, or does not within a minute.
    pub async fn until_ready(&mut self) {
        until::so("the controller is ready", async || {
            self.process.assert_running();
            self.is_ready().await
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
        self.try_status().await.expect("the controller's status")
    }

    /// Its status page, if it answers.
    ///
    /// # Panics
    /// When it answers something else.
    pub async fn try_status(&self) -> Option<Value> {
        let answer = timeout(PATIENCE, get(self.admin, "admin", "/status")).await.ok()?.ok()?;
        Some(serde_json::from_str(&answer.body).expect("the status is JSON"))
    }

    /// The id of this incarnation, if it answers.
    pub async fn id(&self) -> Option<String> {
        Some(self.try_status().await?["controller"].as_str()?.to_owned())
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = timeout(PATIENCE, get(self.admin, "admin", "/readyz")).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.status == 200))
    }

    /// Its metrics, as text.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics(&self) -> String {
        get(self.admin, "admin", "/metrics").await.expect("the controller's metrics").body
    }
}
