//! A real Envoy, ended with its test.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command as Script, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::mode::Mode;
use crate::until;

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

pub(crate) struct Envoy {
    process: Child,
    folder: TempDir,
}

/// Where the binary is; the script gets it when it is not there yet.
fn binary() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/parts");
    let output =
        Script::new(script).arg("envoy").stderr(Stdio::inherit()).output().expect("run scripts/parts");
    assert!(output.status.success(), "scripts/parts envoy failed");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

impl Envoy {
    /// Starts it with `servers`, any of which may be its management server.
    pub(crate) fn start(mode: Mode, node: &str, servers: &[SocketAddr]) -> Self {
        Self::start_with(mode, node, servers, "")
    }

    /// As [`Self::start`], with more fields in its bootstrap.
    pub(crate) fn start_with(mode: Mode, node: &str, servers: &[SocketAddr], more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = File::create(folder.path().join("envoy.log")).expect("a log");
        let process = Command::new(binary())
            .args(["--config-yaml", &(bootstrap(mode, node, servers) + more), "--concurrency", "2"])
            .args(["--disable-hot-restart", "--log-level", "info"])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("start Envoy");
        Self { process, folder }
    }

    /// One of its statistics, or `None` while it has none of that name.
    pub(crate) async fn stat(&self, name: &str) -> Option<u64> {
        let path = format!("/stats?filter=^{}$", name.replace('.', "\\."));
        let answer = get(ADMIN, &path).await?;
        answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
    }

    /// Waits until a statistic has a value.
    pub(crate) async fn until(&self, name: &str, value: u64) {
        let what = format!("{name} = {value}");
        until::some(&what, async || (self.stat(name).await == Some(value)).then_some(())).await;
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("envoy.log")).unwrap_or_default();
            let told = log.lines().filter(|line| !line.contains("[main]")).collect::<Vec<_>>().join("\n");
            eprintln!("Envoy's log:\n{told}");
        }
        let _ = self.process.start_kill();
    }
}

/// The answer to one HTTP/1.1 request, or `None` if there was none with status 200.
pub(crate) async fn get(to: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(to).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    until::done("an answer", stream.read_to_string(&mut answer)).await.ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

fn bootstrap(mode: Mode, node: &str, servers: &[SocketAddr]) -> String {
    let host = |at: &SocketAddr| {
        format!(
            "{{ endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }} }}",
            at.ip(),
            at.port()
        )
    };
    let hosts: Vec<String> = servers.iter().map(host).collect();
    format!(
        "
node: {{ id: {node}, cluster: test }}
admin: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
dynamic_resources: {}
static_resources:
  clusters:
  - name: xds
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment: {{ cluster_name: xds, endpoints: [{{ lb_endpoints: [{}] }}] }}
",
        ADMIN.ip(),
        ADMIN.port(),
        mode.bootstrap(),
        hosts.join(", ")
    )
}
