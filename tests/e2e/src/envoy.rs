//! A real Envoy, ended with its test.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::http::get;
use crate::parts;

/// Where its admin interface is.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    process: Child,
    folder: TempDir,
}

impl Envoy {
    /// Starts it as `node`, which takes everything by incremental ADS from `ads`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(node: &str, ads: SocketAddr) -> Self {
        Self::with(&bootstrap(node, ads))
    }

    /// Starts it with a configuration, YAML, whose admin interface is at [`ADMIN`].
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn with(config: &str) -> Self {
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
    pub async fn kill(mut self) {
        let _ = self.process.kill().await;
    }

    /// One of its statistics, or `None` while it has none of that name.
    pub async fn stat(&self, name: &str) -> Option<u64> {
        let path = format!("/stats?filter=^{}$", name.replace('.', "\\."));
        let answer = get(ADMIN, "admin", &path).await.ok()?;
        answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
    }

    /// What it wrote.
    pub fn log(&self) -> String {
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

fn bootstrap(node: &str, ads: SocketAddr) -> String {
    format!(
        "
node: {{ id: {node}, cluster: test }}
admin: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{{ envoy_grpc: {{ cluster_name: ads }} }}]
  cds_config: {{ ads: {{}}, resource_api_version: V3 }}
  lds_config: {{ ads: {{}}, resource_api_version: V3 }}
static_resources:
  clusters:
  - name: ads
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: ads
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }} }}] }}]
",
        ADMIN.ip(),
        ADMIN.port(),
        ads.ip(),
        ads.port()
    )
}
