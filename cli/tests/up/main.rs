//! `zenvoy up` as a whole, on a real Envoy.

mod told;
mod world;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use zenvoy_e2e::{net, parts};

use world::{LIMIT, Up, db, descendants, greeted, lives};

const TCP: &str = "
upstreams:
- name: db
  port: 5432
  protocol: tcp
  listenPort: 15432
  idleAfter: 1s
  command: [python3, -SI, server.py, '{port}']
";

async fn gone(pids: &[i32]) {
    until(|| !pids.iter().any(|pid| lives(*pid))).await;
}

async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("it holds in time");
}

#[test]
fn an_open_connection_keeps_a_command_up_and_its_end_lets_it_sleep() {
    net::in_namespace(async || {
        let (_folder, mut up) = Up::ready(TCP).await;
        let (first, open) = greeted(db()).await;
        up.until("local/db:5432  woken").await;
        let (second, _) = greeted(db()).await;
        assert_eq!(first, second, "one process serves both");
        assert!(lives(first.parse().expect("a process id")));
        drop(open);
        up.until("local/db:5432  asleep").await;
        gone(&[first.parse().expect("a process id")]).await;
        assert_ne!(greeted(db()).await.0, first);
        up.signal(Signal::SIGTERM);
        assert_eq!(up.ended().await, Some(0));
    });
}

#[test]
fn when_zenvoy_is_killed_envoy_and_all_commands_with_their_children_end() {
    net::in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "setsid sleep 600 & (sleep 600 &); python3 -SI server.py $PORT";
        let file = TCP.replace("[python3, -SI, server.py, '{port}']", &format!("[sh, -c, '{script}']"));
        let mut up = Up::start(folder.path(), &file);
        up.until("ready: ").await;
        let _held = greeted(db()).await;
        let pids = descendants(up.pid());
        // Two keepers, Envoy, the shell, two sleepers and the server.
        assert!(pids.len() >= 7, "{pids:?}");
        up.signal(Signal::SIGKILL);
        up.ended().await;
        gone(&pids).await;
    });
}

#[test]
fn sigint_ends_everything_and_the_status_is_zero() {
    net::in_namespace(async || {
        let (_folder, mut up) = Up::ready(TCP).await;
        let _open = greeted(db()).await;
        let pids = descendants(up.pid());
        up.signal(Signal::SIGINT);
        assert_eq!(up.ended().await, Some(0));
        assert!(!pids.iter().any(|pid| lives(*pid)));
    });
}

/// The Envoy that runs below zenvoy.
fn envoy(up: &Up) -> i32 {
    let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    descendants(up.pid()).into_iter().find(|pid| name(pid).trim() == "envoy").expect("Envoy runs")
}

#[test]
fn an_envoy_that_dies_is_started_again_and_serves_what_is_awake() {
    net::in_namespace(async || {
        let (_folder, up) = Up::ready(&TCP.replace("1s", "60s")).await;
        let (before, _) = greeted(db()).await;
        let first = envoy(&up);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), Signal::SIGKILL).expect("it lives");
        // Its sockets are closed when its last thread has ended, and then its keeper takes it out of the process table.
        until(|| !std::path::Path::new(&format!("/proc/{first}")).exists()).await;
        let (after, _) = greeted(db()).await;
        assert_eq!(before, after);
        assert_ne!(envoy(&up), first);
    });
}

#[test]
fn a_signal_to_the_process_and_one_to_its_group_are_one_request() {
    net::in_namespace(async || {
        let (_folder, mut up) = Up::ready(TCP).await;
        let _open = greeted(db()).await;
        // As `timeout` does it.
        up.signal(Signal::SIGTERM);
        up.signal_group(Signal::SIGTERM);
        assert_eq!(up.ended().await, Some(0));
    });
}

/// A server that does not end by SIGTERM, and is given ten seconds.
fn deaf() -> String {
    let command = "trap \"\" TERM; python3 -SI server.py $PORT; sleep 600";
    TCP.replace("[python3, -SI, server.py, '{port}']", &format!("[sh, -c, '{command}']\n  stopGrace: 10s"))
}

#[test]
fn a_second_signal_ends_at_once_and_commands_still_get_no_more_than_their_grace() {
    net::in_namespace(async || {
        let (_folder, mut up) = Up::ready(&deaf()).await;
        let _open = greeted(db()).await;
        let pids = descendants(up.pid());
        up.signal(Signal::SIGTERM);
        // The first has been taken when Envoy has ended; a signal that still belongs to it is not heard.
        gone(&[envoy(&up)]).await;
        assert_eq!(up.ended_by(Signal::SIGTERM).await, Some(1));
        assert!(pids.iter().any(|pid| lives(*pid)), "the deaf command has its grace");
        gone(&pids).await;
    });
}

#[test]
fn a_graceful_end_that_takes_too_long_is_cut_short() {
    net::in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let mut up = Up::start_with(folder.path(), &deaf(), &["--shutdown-timeout", "500ms"]);
        up.until("ready: ").await;
        let _open = greeted(db()).await;
        let pids = descendants(up.pid());
        up.signal(Signal::SIGTERM);
        assert_eq!(up.ended().await, Some(1));
        gone(&pids).await;
    });
}

#[test]
fn a_changed_file_adds_an_upstream_and_a_bad_one_changes_nothing() {
    net::in_namespace(async || {
        let (folder, mut up) = Up::ready(TCP).await;
        let path = folder.path().join("up.yaml");
        std::fs::write(&path, "upstreams: [{name: db}]").expect("written");
        up.signal(Signal::SIGHUP);
        assert!(!greeted(db()).await.0.is_empty(), "the last good file stays");
        let second = "- {name: more, port: 1, protocol: tcp, listenPort: 15433, command: [python3, -SI, server.py, '{port}']}";
        std::fs::write(&path, format!("{TCP}{second}\n")).expect("written");
        up.until("local/more:1  cold").await;
        let more = SocketAddr::from(([127, 0, 0, 1], 15433));
        // Envoy may listen a moment before the proxy has bound the new activator address.
        while greeted(more).await.0.is_empty() {}
    });
}

#[test]
fn two_at_once_do_not_meet() {
    net::in_namespace(async || {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut first = Up::start(one.path(), TCP);
        first.until("ready: ").await;
        let output = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
            .arg("up")
            .arg(one.path().join("up.yaml"))
            .env("ZENVOY_ENVOY", parts::path("envoy"))
            .output()
            .expect("run zenvoy");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("127.0.0.1:10000 (--http-port)"), "{said}");
        let other = TCP.replace("15432", "25432");
        let mut second = Up::start_with(two.path(), &other, &["--http-port", "20000"]);
        second.until("ready: ").await;
        let a = greeted(db()).await.0;
        let b = greeted(SocketAddr::from(([127, 0, 0, 1], 25432))).await.0;
        assert_ne!(a, b);
    });
}

#[test]
fn a_terminal_shows_a_table_that_is_redrawn_in_place() {
    net::in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("up.yaml"), TCP).expect("written");
        std::fs::write(folder.path().join("server.py"), world::SERVER).expect("written");
        let terminal = nix::pty::openpty(None, None).expect("a terminal");
        let side = || Stdio::from(terminal.slave.try_clone().expect("a descriptor"));
        let mut zenvoy = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
            .arg("up")
            .arg(folder.path().join("up.yaml"))
            .env("ZENVOY_ENVOY", parts::path("envoy"))
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("start zenvoy up");
        drop(terminal.slave);
        let mut screen = Screen::new(terminal.master);
        screen.until("ready: Envoy listens").await;
        screen.until("\x1b[34mcold").await;
        greeted(db()).await;
        screen.until("\x1b[32mactive").await;
        screen.until("first byte").await;
        let first = screen.text.split_once("UPSTREAM").expect("a table").1;
        assert!(first.lines().nth(1).is_some_and(|row| row.contains("local/db:5432")), "{}", screen.text);
        assert!(screen.text.contains("\x1b[2F\x1b[J"), "{}", screen.text);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(zenvoy.id()).expect("a process id"));
        nix::sys::signal::kill(pid, Signal::SIGINT).expect("it lives");
        assert_eq!(zenvoy.wait().expect("ended").code(), Some(0));
    });
}

/// What appears on a terminal.
struct Screen {
    master: tokio::fs::File,
    text: String,
}

impl Screen {
    fn new(master: OwnedFd) -> Self {
        Self { master: tokio::fs::File::from_std(master.into()), text: String::new() }
    }

    async fn until(&mut self, wanted: &str) {
        let read = async {
            let mut buffer = vec![0; 4096];
            while !self.text.contains(wanted) {
                let read = self.master.read(&mut buffer).await.expect("the terminal is open");
                self.text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        };
        tokio::time::timeout(LIMIT, read).await.unwrap_or_else(|_| panic!("not seen: {wanted}"));
    }
}
