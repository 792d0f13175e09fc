//! Local commands as a controller sees them: the source and the scaler on real processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zenvoy_controller::model::{Endpoint, Fact, Problem, WorkloadFacts};
use zenvoy_controller::source::process::keeper::Keeper;
use zenvoy_controller::source::process::{KIND, ProcessScaler, open};
use zenvoy_controller::source::{ScaleError, ScaleWrite, Scaler, Source, SourceError};
use zenvoy_shared::id::{UpstreamId, WorkloadId};

const LIMIT: Duration = Duration::from_secs(30);

/// A server that accepts, says its `$GREETING`, and closes.
const SERVER: &str = r"
import os, socket, sys
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    c, _ = s.accept()
    c.sendall(os.environ.get('GREETING', 'hello').encode())
    c.close()
";

struct Up {
    folder: TempDir,
    scaler: ProcessScaler,
    facts: mpsc::Receiver<Fact>,
    endpoints: BTreeMap<UpstreamId, Vec<Endpoint>>,
    workload: Option<WorkloadFacts>,
    started: usize,
    complete: bool,
    stop: CancellationToken,
    running: JoinHandle<Result<(), SourceError>>,
}

fn web() -> WorkloadId {
    WorkloadId::new("local", KIND, "web")
}

fn file(command: &str) -> String {
    format!("upstreams:\n- name: web\n  port: 80\n  stopGrace: 1s\n  command: {command}\n")
}

const SERVE: &str = "[python3, -SI, server.py, '{port}']";

impl Up {
    async fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("up.yaml");
        std::fs::write(folder.path().join("server.py"), SERVER).expect("written");
        std::fs::write(&path, text).expect("written");
        let keeper = Keeper { program: env!("CARGO_BIN_EXE_zenvoy").into(), arguments: vec!["keep".into()] };
        let (source, scaler) =
            open(path, Box::new(|_| std::collections::BTreeMap::new()), keeper).expect("a valid file");
        let (to, facts) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let running = tokio::spawn(Box::new(source).run(to, stop.clone()));
        let mut up = Self {
            folder,
            scaler,
            facts,
            endpoints: BTreeMap::new(),
            workload: None,
            started: 0,
            complete: false,
            stop,
            running,
        };
        up.until("everything is said", |up| up.complete).await;
        up
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("up.yaml")
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                match self.facts.recv().await.expect("the source goes on") {
                    Fact::Endpoints(id, endpoints) => drop(self.endpoints.insert(id, endpoints)),
                    Fact::Workload(id, facts) if id == web() => self.workload = Some(facts),
                    Fact::WorkloadGone(id) if id == web() => self.workload = None,
                    Fact::Started(_) => self.started += 1,
                    Fact::Complete => self.complete = true,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    async fn scale(&self, replicas: u32) -> Result<String, ScaleError> {
        let now = self.scaler.read(&web()).await?.expect("it exists");
        let write = ScaleWrite { replicas, resource_version: now.version.resource_version };
        self.scaler.scale(&web(), &write).await
    }

    async fn until_ready(&mut self, count: usize) -> Vec<SocketAddr> {
        self.until("it is ready", |up| up.endpoints.values().any(|e| e.len() == count)).await;
        self.endpoints.values().flatten().map(|endpoint| endpoint.address).collect()
    }

    async fn until_problem(&mut self) -> Problem {
        let problem = |up: &Self| up.workload.as_ref().and_then(|facts| facts.problem.clone());
        self.until("a problem", |up| problem(up).is_some()).await;
        problem(self).expect("there is one")
    }

    async fn until_gone(&self) {
        let gone = async {
            while self.scaler.pods(&web()).await.is_ok_and(|pods| !pods.is_empty()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect("all instances are gone");
    }

    async fn end(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(LIMIT, self.running).await.expect("it ends in time");
        ended.expect("no panic").expect("no fault");
    }
}

async fn greeting(from: SocketAddr) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(from).await.ok()?;
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await.ok()?;
    Some(text)
}

#[tokio::test]
async fn replicas_are_processes_that_serve_until_scaled_to_zero() {
    let mut up = Up::new(&file(SERVE)).await;
    assert_eq!(up.scaler.pods(&web()).await, Ok(Vec::new()), "nothing runs before somebody asks");
    up.scale(2).await.expect("scaled");
    let addresses = up.until_ready(2).await;
    assert_ne!(addresses[0], addresses[1]);
    for address in &addresses {
        assert_eq!(greeting(*address).await.as_deref(), Some("hello"));
    }
    assert!(up.started >= 1);
    up.scale(0).await.expect("scaled");
    up.until("no endpoint", |up| up.endpoints.values().all(Vec::is_empty)).await;
    up.until_gone().await;
    assert_eq!(greeting(addresses[0]).await, None);
    up.end().await;
}

#[tokio::test]
async fn a_write_on_a_stale_version_conflicts_and_starts_nothing() {
    let up = Up::new(&file(SERVE)).await;
    let old = up.scaler.read(&web()).await.expect("an answer").expect("it exists").version;
    up.scale(1).await.expect("scaled");
    let write = ScaleWrite { replicas: 3, resource_version: old.resource_version };
    assert_eq!(up.scaler.scale(&web(), &write).await, Err(ScaleError::Conflict(web())));
    assert_eq!(up.scaler.pods(&web()).await.expect("an answer").len(), 1);
    up.end().await;
}

#[tokio::test]
async fn a_command_that_fails_says_its_status_and_last_lines() {
    let mut up = Up::new(&file("[sh, -c, 'echo opening; echo no such table >&2; exit 3']")).await;
    up.scale(1).await.expect("scaled");
    let problem = up.until_problem().await;
    assert_eq!(problem.reason, "ExitedBeforeReady");
    assert!(problem.message.contains("exited with status 3"), "{}", problem.message);
    assert!(problem.message.ends_with("opening\nno such table"), "{}", problem.message);
    up.until("a crash loop", |up| {
        up.workload.as_ref().and_then(|facts| facts.problem.as_ref()).is_some_and(|p| p.reason == "CrashLoop")
    })
    .await;
    up.end().await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_a_problem_that_names_it() {
    let mut up = Up::new(&file("[no-such-program]")).await;
    up.scale(1).await.expect("scaled");
    let message = up.until_problem().await.message;
    assert!(message.contains("cannot run \"no-such-program\""), "{message}");
    up.end().await;
    let mut up = Up::new(&format!("{}  workingDirectory: nowhere\n", file(SERVE))).await;
    up.scale(1).await.expect("scaled");
    let message = up.until_problem().await.message;
    assert!(message.contains("/nowhere does not exist"), "{message}");
    up.end().await;
}

#[tokio::test]
async fn a_process_that_crashes_after_it_served_is_restarted() {
    let mut up = Up::new(&file(SERVE)).await;
    up.scale(1).await.expect("scaled");
    let first = up.until_ready(1).await[0];
    let pid = listener(first.port());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .expect("it lives");
    up.until("another instance", |up| {
        up.endpoints.values().flatten().any(|endpoint| endpoint.address != first)
    })
    .await;
    let second = up.until_ready(1).await[0];
    assert_eq!(greeting(second).await.as_deref(), Some("hello"));
    up.end().await;
}

/// The process whose command line ends with the port it was given; its keepers' do as well.
fn listener(port: u16) -> i32 {
    let wanted = format!("server.py\0{port}\0");
    process(|line| !line.contains("keep") && line.ends_with(&wanted)).expect("a server on that port")
}

/// A process by its command line, each argument with a zero byte at its end.
fn process(is_it: impl Fn(&str) -> bool) -> Option<i32> {
    let all = std::fs::read_dir("/proc").expect("proc").flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_it(&String::from_utf8_lossy(&line))
    })
}

#[tokio::test]
async fn whichever_of_its_keepers_is_killed_nothing_of_a_command_is_left() {
    for keeper in ["\0keep\0", "\0keep-below\0"] {
        let command = "[sh, -c, 'setsid sleep {port} & exec python3 -SI server.py {port}']";
        let mut up = Up::new(&file(command)).await;
        up.scale(1).await.expect("scaled");
        let port = up.until_ready(1).await[0].port();
        let daemon = format!("sleep\0{port}\0");
        assert!(process(|line| line == daemon).is_some());
        let found = process(|line| line.contains(keeper) && line.contains(&format!("server.py {port}")));
        let pid = nix::unistd::Pid::from_raw(found.expect("a keeper"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it lives");
        let gone = async {
            while process(|line| line == daemon).is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect("the daemon ends");
        up.end().await;
    }
}

#[tokio::test]
async fn a_changed_file_is_taken_over_and_a_bad_one_is_not() {
    let mut up = Up::new(&file(SERVE)).await;
    up.scale(1).await.expect("scaled");
    let first = up.until_ready(1).await[0];
    std::fs::write(up.path(), "upstreams: [{name: web}]").expect("written");
    let with_env = format!("{}  env: {{GREETING: 'good day'}}\n", file(SERVE));
    let replace = |text: &str| {
        let fresh = up.folder.path().join("fresh");
        std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, up.path())).expect("replaced");
    };
    assert_eq!(greeting(first).await.as_deref(), Some("hello"), "the last good file stays");
    replace(&with_env);
    up.until("another instance", |up| {
        up.endpoints.values().flatten().any(|endpoint| endpoint.address != first)
    })
    .await;
    let second = up.until_ready(1).await[0];
    assert_eq!(greeting(second).await.as_deref(), Some("good day"));
    up.end().await;
}

#[tokio::test]
async fn several_upstreams_of_one_process_have_ports_of_their_own() {
    let text = "
processes:
- name: web
  command: [sh, -c, 'python3 -SI server.py $PORT & exec python3 -SI server.py {admin_port}']
upstreams:
- {name: web, port: 80, process: web}
- {name: admin, port: 80, process: web, portVariable: ADMIN_PORT}
";
    let mut up = Up::new(text).await;
    up.scale(1).await.expect("scaled");
    up.until("both are ready", |up| up.endpoints.len() == 2 && up.endpoints.values().all(|e| e.len() == 1))
        .await;
    let addresses = up.until_ready(1).await;
    assert_ne!(addresses[0], addresses[1]);
    for address in addresses {
        assert_eq!(greeting(address).await.as_deref(), Some("hello"));
    }
    up.end().await;
}

#[tokio::test]
async fn when_the_source_stops_its_processes_have_ended() {
    let mut up = Up::new(&file(SERVE)).await;
    up.scale(1).await.expect("scaled");
    let address = up.until_ready(1).await[0];
    let scaler = up.scaler.clone();
    up.end().await;
    assert_eq!(greeting(address).await, None);
    assert!(matches!(scaler.read(&web()).await, Err(ScaleError::Unavailable { .. })));
}
