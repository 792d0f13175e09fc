//! A node: a proxy, and the Envoy beside it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tokio::time::timeout;

use super::PATIENCE;
use crate::folder::Folder;
use crate::http::get;
use crate::manifest::Backend;
use crate::net::Place;
use crate::process::Process;
use crate::{parts, until};

/// How often Envoy tells its proxy what it counts: the grain of idleness. Short, for tests that wait for idleness.
const FLUSH: &str = "250ms";

/// An Envoy that is not followed by another.
const ALONE: [&str; 1] = ["--disable-hot-restart"];

/// How a proxy accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By rules in the kernel.
    Tproxy,
    /// On a socket for each upstream.
    Listen,
}

/// A running `zenvoy proxy` and a real Envoy, started with what `zenvoy bootstrap` prints.
#[derive(Debug)]
pub struct Node {
    name: String,
    place: Place,
    program: PathBuf,
    /// Envoy's bootstrap, as the program printed it.
    bootstrap: PathBuf,
    /// Where Envoy finds its proxy.
    beside: SocketAddr,
    envoy: Process,
    proxy: Process,
    proxy_flags: Vec<String>,
    proxy_log: PathBuf,
    envoy_flags: Vec<String>,
    envoy_log: PathBuf,
    proxy_admin: SocketAddr,
    envoy_admin: SocketAddr,
    /// After the processes: dropped last.
    shared: Option<SharedMemory>,
}

impl Node {
    /// Starts both.
    ///
    /// # Panics
    /// When one cannot be started.
    pub fn start(folder: &Folder, mode: Mode, controller: SocketAddr) -> Self {
        Self::start_with(folder, mode, &format!("http://{controller}"), &[])
    }

    /// The same, with the controller's URL and further flags for the proxy.
    ///
    /// # Panics
    /// When one cannot be started.
    pub fn start_with(folder: &Folder, mode: Mode, controller: &str, further: &[String]) -> Self {
        Self::start_in(&Place::here(), &parts::zenvoy(), folder, "", mode, controller, further)
    }

    /// The same at another place, of a build of one's choice, with `suffix` after the names of what belongs to it; `controllers` may name several.
    ///
    /// # Panics
    /// When one cannot be started.
    pub fn start_in(
        place: &Place,
        program: &Path,
        folder: &Folder,
        suffix: &str,
        mode: Mode,
        controllers: &str,
        further: &[String],
    ) -> Self {
        let (beside, proxy_admin, envoy_admin) = (Place::here().at(18_001), place.at(18_081), place.at(9901));
        let name = format!("node{}", if suffix.is_empty() { "-1" } else { suffix });
        let mode = match mode {
            Mode::Tproxy => "tproxy",
            Mode::Listen => "listen",
        };
        let mut proxy_flags = vec![
            "proxy".into(),
            format!("--node={name}"),
            format!("--controllers={controllers}"),
            format!("--mode={mode}"),
            format!("--envoy-listen={beside}"),
            format!("--admin={proxy_admin}"),
            format!("--stats-flush-interval={FLUSH}"),
            super::log_flag("zenvoy_proxy"),
        ];
        proxy_flags.extend_from_slice(further);
        let bootstrap = folder.path().join(format!("envoy{suffix}.yaml"));
        let envoy_flags = ["--config-path", &bootstrap.display().to_string(), "--concurrency", "2"];
        let envoy_flags: Vec<String> = envoy_flags.into_iter().map(ToOwned::to_owned).collect();
        let proxy_log = folder.log(&format!("zenvoy-proxy{suffix}"));
        let envoy_log = folder.log(&format!("envoy{suffix}"));
        write_bootstrap(program, &bootstrap, &name, beside, envoy_admin);
        Self {
            proxy: Process::start_in(place, program, &proxy_flags, &[], &proxy_log),
            envoy: envoy(place, &flags(&envoy_flags, &ALONE), &envoy_log),
            name,
            place: place.clone(),
            program: program.to_path_buf(),
            bootstrap,
            beside,
            proxy_flags,
            proxy_log,
            envoy_flags,
            envoy_log,
            proxy_admin,
            envoy_admin,
            shared: None,
        }
    }

    /// Its name, as controllers know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until both serve.
    ///
    /// # Panics
    /// When one ends, or is not ready within a minute.
    pub async fn until_ready(&mut self) {
        until::so("the proxy is ready", async || {
            self.proxy.assert_running();
            get(self.proxy_admin, "admin", "/readyz").await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        until::so("Envoy is ready", async || {
            self.envoy.assert_running();
            get(self.envoy_admin, "admin", "/ready").await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// The proxy's process, to stop, pause or kill.
    pub fn proxy(&mut self) -> &mut Process {
        &mut self.proxy
    }

    /// Envoy's process, to stop, pause or kill.
    pub fn envoy(&mut self) -> &mut Process {
        &mut self.envoy
    }

    /// Starts the proxy again; the process that was must have ended.
    pub fn start_proxy_again(&mut self) {
        self.proxy = Process::start_in(&self.place, &self.program, &self.proxy_flags, &[], &self.proxy_log);
    }

    /// From the next start of its proxy on it is this build; and Envoy, from its own, has what this one prints.
    ///
    /// # Panics
    /// When it prints nothing.
    pub fn become_build(&mut self, program: &Path) {
        self.program = program.to_path_buf();
        write_bootstrap(program, &self.bootstrap, &self.name, self.beside, self.envoy_admin);
    }

    /// Starts Envoy again; the process that was must have ended.
    pub fn start_envoy_again(&mut self) {
        self.envoy = envoy(&self.place, &flags(&self.envoy_flags, &ALONE), &self.envoy_log);
    }

    /// Starts Envoy as the first or a later epoch of a hot restart: a later one takes the listeners over from the process
    /// that this returns, which drains for a second and ends after three.
    pub fn start_envoy_epoch(&mut self, epoch: u32) -> Process {
        let base = self.shared.get_or_insert_default().base();
        let of_epoch = [
            ("--base-id", base),
            ("--restart-epoch", epoch),
            ("--drain-time-s", 1),
            ("--parent-shutdown-time-s", 3),
        ];
        let of_epoch: Vec<String> =
            of_epoch.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.to_string()]).collect();
        let started = envoy(&self.place, &flags(&self.envoy_flags, &of_epoch), &self.envoy_log);
        std::mem::replace(&mut self.envoy, started)
    }

    /// Envoy's HTTP listener.
    pub fn http(&self) -> SocketAddr {
        self.place.at(10_000)
    }

    /// Envoy's listener for the upstream with this `listen-port`.
    pub fn listener(&self, port: u16) -> SocketAddr {
        self.place.at(port)
    }

    /// The proxy's status page.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn status(&self) -> Value {
        self.try_status().await.expect("the proxy's status")
    }

    /// The proxy's status page, if it answers.
    ///
    /// # Panics
    /// When it answers something else.
    pub async fn try_status(&self) -> Option<Value> {
        let answer = timeout(PATIENCE, get(self.proxy_admin, "admin", "/status")).await.ok()?.ok()?;
        Some(serde_json::from_str(&answer.body).expect("the status is JSON"))
    }

    /// What the proxy says of the upstream of a backend.
    pub async fn upstream(&self, backend: &Backend) -> Option<Value> {
        let status = self.try_status().await?;
        let upstreams = status["upstreams"].as_array()?;
        upstreams.iter().find(|upstream| upstream["upstream"] == backend.upstream().as_str()).cloned()
    }

    /// The activator address of a backend.
    ///
    /// # Panics
    /// When the proxy does not know it.
    pub async fn activator(&self, backend: &Backend) -> SocketAddr {
        let upstream = self.upstream(backend).await.expect("the proxy knows the upstream");
        let address = upstream["activator"].as_str().expect("an address");
        address.parse().expect("an address")
    }

    /// The bytes that the proxy has relayed for a backend so far, both ways.
    ///
    /// # Panics
    /// When the proxy does not know it.
    pub async fn relayed_bytes(&self, backend: &Backend) -> u64 {
        let upstream = self.upstream(backend).await.expect("the proxy knows the upstream");
        let connections = &upstream["connections"];
        let count = |name: &str| connections[name].as_u64().expect("counts are numbers");
        count("bytes_to_server") + count("bytes_to_client")
    }

    /// The connections of a backend that the proxy relays now.
    ///
    /// # Panics
    /// When the proxy does not know it.
    pub async fn relayed_now(&self, backend: &Backend) -> u64 {
        let upstream = self.upstream(backend).await.expect("the proxy knows the upstream");
        upstream["connections"]["relayed_now"].as_u64().expect("counts are numbers")
    }

    /// Whether proxy and Envoy know a backend: a connection is served from now on.
    pub async fn knows(&self, backend: &Backend) -> bool {
        self.knows_all(std::slice::from_ref(backend)).await
    }

    /// Whether they know all of these.
    pub async fn knows_all(&self, backends: &[Backend]) -> bool {
        let Some(status) = self.try_status().await else { return false };
        let upstreams = status["upstreams"].as_array().map_or(&[][..], Vec::as_slice);
        let known: BTreeSet<&str> =
            upstreams.iter().filter_map(|upstream| upstream["upstream"].as_str()).collect();
        if !backends.iter().all(|backend| known.contains(backend.upstream().as_str())) {
            return false;
        }
        let says = async |path| self.envoy_says(path).await.unwrap_or_default();
        let clusters = says("/clusters").await;
        let clusters: BTreeSet<&str> = clusters.lines().filter_map(endpoint_of).collect();
        let (listeners, routes) =
            (says("/listeners").await, says("/config_dump?resource=dynamic_route_configs").await);
        backends.iter().all(|backend| {
            let is_reached = match backend.listen_port() {
                Some(port) => listeners.contains(&format!(":{port}\n")),
                None => routes.contains(&format!("\"{}\"", backend.host())),
            };
            is_reached && clusters.contains(backend.upstream().as_str())
        })
    }

    /// Where Envoy sends the connections of a backend.
    pub async fn envoy_endpoints(&self, backend: &Backend) -> Vec<SocketAddr> {
        let (text, cluster) = (self.envoy_says("/clusters").await.unwrap_or_default(), backend.upstream());
        let lines = text.lines().filter_map(|line| line.strip_prefix(&cluster)?.strip_prefix("::"));
        let mut endpoints: Vec<SocketAddr> =
            lines.filter_map(|line| line.split("::").next()?.parse().ok()).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        endpoints
    }

    /// One of Envoy's statistics; zero while it has none of that name.
    pub async fn stat(&self, name: &str) -> u64 {
        let stats = self
            .envoy_says(&format!("/stats?filter=^{}$", name.replace('.', "\\.")))
            .await
            .unwrap_or_default();
        let found = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok());
        found.unwrap_or(0)
    }

    /// Checks that Envoy has refused nothing that it was sent.
    ///
    /// # Panics
    /// When it has.
    pub async fn assert_nothing_refused(&self) {
        for name in [
            "cluster_manager.cds.update_rejected",
            "listener_manager.lds.update_rejected",
            "listener_manager.listener_create_failure",
        ] {
            assert_eq!(self.stat(name).await, 0, "{name}");
        }
    }

    /// What Envoy's admin interface says, if it does.
    pub async fn envoy_says(&self, path: &str) -> Option<String> {
        let answer = get(self.envoy_admin, "admin", path).await.ok()?;
        (answer.status == 200).then_some(answer.body)
    }
}

/// What the epochs of a hot restart share. It has no namespace: its name is of this thread alone, and it is removed here.
#[derive(Debug)]
struct SharedMemory(u32);

impl SharedMemory {
    fn base(&self) -> u32 {
        self.0
    }
}

impl Default for SharedMemory {
    fn default() -> Self {
        Self(nix::unistd::gettid().as_raw().unsigned_abs())
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // Envoy leaves it to the next epoch.
        let _ = std::fs::remove_file(format!("/dev/shm/envoy_shared_memory_{}", self.0 * 10));
    }
}

/// The cluster whose endpoint a line of `/clusters` is about, if it is about one.
fn endpoint_of(line: &str) -> Option<&str> {
    let (cluster, rest) = line.split_once("::")?;
    rest.split("::").next()?.parse::<SocketAddr>().is_ok().then_some(cluster)
}

fn flags(first: &[String], further: &[impl ToString]) -> Vec<String> {
    first.iter().cloned().chain(further.iter().map(ToString::to_string)).collect()
}

fn write_bootstrap(program: &Path, to: &Path, name: &str, proxy: SocketAddr, admin: SocketAddr) {
    let printed = Command::new(program)
        .arg("bootstrap")
        .args([format!("--node={name}"), format!("--proxy={proxy}"), format!("--admin={admin}")])
        .arg(format!("--stats-flush-interval={FLUSH}"))
        .output()
        .expect("run zenvoy bootstrap");
    assert!(printed.status.success(), "zenvoy bootstrap: {}", String::from_utf8_lossy(&printed.stderr));
    std::fs::write(to, printed.stdout).expect("write a bootstrap");
}

fn envoy(place: &Place, flags: &[String], log: &Path) -> Process {
    Process::start_in(place, &parts::path("envoy"), flags, &[], log)
}
