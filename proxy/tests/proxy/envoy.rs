//! A real Envoy with the bootstrap that `zenvoy bootstrap` prints.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use zenvoy_e2e::parts;
use zenvoy_proxy::bootstrap::{BootstrapOptions, yaml};
use zenvoy_proxy::local::LocalAddress;
use zenvoy_shared::id::NodeId;

/// How often it flushes in tests.
pub(crate) const FLUSH: Duration = Duration::from_millis(200);

/// A running Envoy.
pub(crate) struct Envoy {
    process: Child,
    folder: TempDir,
}

impl Envoy {
    /// Starts it as `node`, beside the proxy at `proxy`.
    pub(crate) fn start(node: &str, proxy: &LocalAddress) -> Self {
        let options = BootstrapOptions {
            stats_flush_interval: FLUSH,
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 9901))),
            ..BootstrapOptions::new(NodeId(node.into()), proxy.clone())
        };
        Self::with(&yaml(&options))
    }

    /// Starts it with a configuration.
    pub(crate) fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = File::create(folder.path().join("envoy.log")).expect("a log");
        let process = Command::new(parts::path("envoy"))
            .args(["--config-yaml", config, "--concurrency", "2"])
            .args(["--disable-hot-restart", "--log-level", "info"])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("start Envoy");
        Self { process, folder }
    }

    /// Kills it, and waits for its end.
    pub(crate) async fn kill(mut self) {
        let _ = self.process.kill().await;
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("envoy.log")).unwrap_or_default()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Envoy's log:\n{}", self.log());
        }
        let _ = self.process.start_kill();
    }
}
