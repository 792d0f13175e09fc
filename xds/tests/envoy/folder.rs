//! A real Envoy runs from a folder of files, with the example as its only control plane, through files that are broken
//! and mended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::mode::MODES;
use crate::net::in_namespace;
use crate::process::{Envoy, get};
use crate::until;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_000);
const XDS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 18_000);

/// The example, which `cargo test` builds before it runs all of a package's tests.
fn example() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    // target/PROFILE/deps/this
    let example = own.ancestors().nth(2).expect("in the target folder").join("examples/serve_dir");
    assert!(example.exists(), "first run: cargo build -p zenvoy-xds --example serve_dir");
    example
}

/// The example at work on a copy of its own resources.
struct Served {
    folder: TempDir,
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/serve_dir/resources");
        for entry in std::fs::read_dir(from).expect("the example's resources") {
            let path = entry.expect("a file").path();
            std::fs::copy(&path, folder.path().join(path.file_name().expect("named"))).expect("copied");
        }
        let mut process = Command::new(example())
            .arg(folder.path())
            .env("CARGO", env!("CARGO"))
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("start the example");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().expect("no panic").push(line);
            }
        });
        Self { folder, process, log }
    }

    fn write(&self, file: &str, text: &str) {
        // In one step, as careful writers do: a reader sees all of it or nothing.
        let path = self.folder.path().join(file);
        let beside = self.folder.path().join("beside");
        std::fs::write(&beside, text).expect("written");
        std::fs::rename(beside, path).expect("renamed");
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    /// The first line of its log with all of these words.
    async fn says(&self, words: &[&str]) -> String {
        let found = async || self.log().into_iter().find(|line| words.iter().all(|word| line.contains(word)));
        until::some(&format!("{words:?} in the log"), found).await
    }

    /// It ends as it should when its supervisor asks.
    async fn end(mut self) -> (ExitStatus, Vec<String>) {
        let pid = i32::try_from(self.process.id().expect("it runs")).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("told");
        let status = until::done("its end", self.process.wait()).await.expect("waited for");
        (status, self.log())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("serve_dir's log:\n{}", self.log().join("\n"));
        }
    }
}

/// The routes, with these words as the answer.
fn routes(words: &str) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/serve_dir/resources/routes.yaml");
    let text = std::fs::read_to_string(file).expect("readable");
    assert!(text.contains("served from a folder"));
    text.replace("served from a folder", words)
}

async fn answers(words: &str) {
    until::some(words, async || get(HTTP, "/").await.filter(|answer| answer.contains(words))).await;
}

/// What is answered now, without a wait.
async fn now(words: &str) {
    let answer = get(HTTP, "/").await.expect("an answer");
    assert!(answer.contains(words), "{answer}, not {words}");
}

async fn breaks() {
    let served = Served::start();
    let envoy = Envoy::start(MODES[0], "node", &[XDS]);
    answers("served from a folder").await;
    let admin = get(HTTP, "/admin/server_info").await.expect("the EDS cluster of the folder");
    assert!(admin.contains("LIVE"), "{admin}");

    // What is no YAML: nothing of the folder is changed, also not by the other file.
    served.write("routes.yaml", "virtual_hosts: [");
    let said = served.says(&["nothing is changed", "routes.yaml", "neither YAML nor JSON"]).await;
    assert!(said.contains("line 1"), "it says where: {said}");
    // Mended to what was there before: nothing is to be sent, and that all is well is said.
    served.write("routes.yaml", &routes("served from a folder"));
    served.says(&["all files can be taken in again"]).await;
    now("served from a folder").await;
    served.write("routes.yaml", "virtual_hosts: {");
    until::some("another complaint", async || {
        let said = served.log().into_iter().filter(|line| line.contains("nothing is changed")).count();
        (said == 2).then_some(())
    })
    .await;
    let other = "resources: []";
    served.write("other.yaml", other);
    now("served from a folder").await;
    served.write("routes.yaml", &routes("mended once"));
    answers("mended once").await;

    // What no message has.
    let unknown = format!("{}no_such_field: 1\n", routes("unknown"));
    served.write("routes.yaml", &unknown);
    let said = served.says(&["nothing is changed", "routes.yaml", "no_such_field"]).await;
    assert!(said.contains("envoy.config.route.v3.RouteConfiguration \"routes\""), "{said}");
    now("mended once").await;
    served.write("routes.yaml", &routes("mended twice"));
    answers("mended twice").await;

    // A type that does not exist, and a resource that is there twice.
    served.write("other.yaml", "{ '@type': type.googleapis.com/envoy.config.cluster.v9.Cluster, name: a }");
    served.says(&["nothing is changed", "other.yaml", "envoy.config.cluster.v9.Cluster"]).await;
    served.write("other.yaml", &routes("twice"));
    served.says(&["nothing is changed", "other.yaml", "routes.yaml", "\"routes\""]).await;
    now("mended twice").await;
    served.write("other.yaml", other);

    // What only Envoy finds bad.
    served.write("routes.yaml", &routes("refused").replace("status: 200", "status: 999"));
    let said = served.says(&["refused envoy.config.route.v3.RouteConfiguration routes", "routes.yaml"]).await;
    assert!(said.contains("node=node") && said.contains("Status"), "Envoy's own words: {said}");
    now("mended twice").await;
    assert_eq!(envoy.stat("http.http.rds.routes.update_rejected").await, Some(1), "it is not sent again");
    served.write("routes.yaml", &routes("mended thrice"));
    answers("mended thrice").await;

    let (status, log) = served.end().await;
    assert!(status.success(), "{status}");
    assert!(log.iter().any(|line| line.contains("disconnected")), "the stream ended before the process");
    let whole = |line: &String| line.contains(" INFO ") || line.contains(" WARN ");
    assert!(log.iter().all(whole), "each event is one line: {log:#?}");
    now("mended thrice").await;
}

#[test]
fn an_envoy_keeps_the_last_good_content_while_a_file_is_broken_and_takes_the_mended_one() {
    in_namespace(breaks);
}

async fn ignores() {
    let served = Served::start();
    let _envoy = Envoy::start(MODES[0], "node", &[XDS]);
    answers("served from a folder").await;
    // Of emacs, vim, office programs and the kubelet.
    for name in [".#routes.yaml", ".routes.yaml.swp", "#routes.yaml#", "routes.yaml~", "~$routes.yaml"] {
        served.write(name, "broken: [");
    }
    std::fs::create_dir(served.folder.path().join("folder.yaml")).expect("made");
    std::os::unix::fs::symlink("nowhere", served.folder.path().join("dangling.yaml")).expect("linked");
    served.write("routes.yaml", &routes("changed"));
    answers("changed").await;
    let log = served.log();
    assert!(!log.iter().any(|line| line.contains("nothing is changed")), "{log:?}");
}

#[test]
fn hidden_files_and_those_that_editors_keep_are_no_resources() {
    in_namespace(ignores);
}
