//! `zenvoy up` in a test: started in the test's network namespace, watched by its lines, ended with the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use zenvoy_e2e::parts;

/// Nothing here takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A server that accepts, says its process id, and closes when the client does.
pub(crate) const SERVER: &str = r"
import os, socket, sys, threading
def serve(c):
    with c:
        c.sendall(b'%d\n' % os.getpid())
        c.recv(1)
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
";

/// The TCP listener of files in these tests.
pub(crate) fn db() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 15432))
}

/// A running `zenvoy up`.
pub(crate) struct Up {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Up {
    /// One that is ready, on this file in a folder of its own.
    pub(crate) async fn ready(file: &str) -> (TempDir, Self) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut up = Self::start(folder.path(), file);
        up.until("ready: ").await;
        (folder, up)
    }

    /// Starts it on `file`, which lies in `folder` beside `server.py`.
    pub(crate) fn start(folder: &Path, file: &str) -> Self {
        Self::start_with(folder, file, &[])
    }

    /// As [`Up::start`], with further flags.
    pub(crate) fn start_with(folder: &Path, file: &str, flags: &[&str]) -> Self {
        Self::start_to(folder, file, flags, Stdio::inherit())
    }

    /// As [`Up::start`], with its log in `log`.
    pub(crate) fn start_logged(folder: &Path, file: &str, log: &Log) -> Self {
        Self::start_to(folder, file, &[], std::fs::File::create(&log.0).expect("a file").into())
    }

    fn start_to(folder: &Path, file: &str, flags: &[&str], log: Stdio) -> Self {
        std::fs::write(folder.join("server.py"), SERVER).expect("written");
        std::fs::write(folder.join("up.yaml"), file).expect("written");
        let mut process = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
            .arg("up")
            .arg(folder.join("up.yaml"))
            .args(flags)
            .env("ZENVOY_ENVOY", parts::path("envoy"))
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("start zenvoy up");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self { process, lines, said: Vec::new() }
    }

    /// Waits for a line that begins so.
    pub(crate) async fn until(&mut self, start: &str) -> String {
        let wait = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                self.said.push(line.clone());
                if line.starts_with(start) {
                    return line;
                }
            }
            panic!("zenvoy ended without {start:?}; it said\n{}", self.said.join("\n"));
        };
        match tokio::time::timeout(LIMIT, wait).await {
            Ok(line) => line,
            Err(_) => panic!("not within {LIMIT:?}: {start:?}; zenvoy said\n{}", self.said.join("\n")),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        let id = self.process.id().expect("it runs");
        Pid::from_raw(i32::try_from(id).expect("a process id"))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it lives");
    }

    /// Sends a signal to its process group, as a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        killpg(self.pid(), signal).expect("it lives");
    }

    /// Sends a signal again and again until it has ended; its exit status.
    pub(crate) async fn ended_by(&mut self, signal: Signal) -> Option<i32> {
        let (pid, mut pace) = (self.pid(), tokio::time::interval(Duration::from_millis(50)));
        let ended = self.ended();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                status = &mut ended => return status,
                // Until it is waited for, its id is its own.
                _ = pace.tick() => kill(pid, signal).expect("it is there"),
            }
        }
    }

    /// Waits for its end; its exit status.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(LIMIT, self.process.wait()).await.expect("it ends in time");
        ended.expect("waited").code()
    }
}

/// What zenvoy logs.
pub(crate) struct Log(pub(crate) PathBuf);

impl Log {
    /// Waits until it says all these, in order.
    pub(crate) async fn until(&self, words: &[&str]) {
        let says = || {
            let text = self.text();
            words
                .iter()
                .try_fold(text.as_str(), |rest, word| rest.split_once(word).map(|(_, rest)| rest))
                .is_some()
        };
        let wait = async {
            while !says() {
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(LIMIT, wait).await;
        assert!(seen.is_ok(), "not within {LIMIT:?}: {words:?}; the log is\n{}", self.text());
    }

    /// All of it until now.
    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("the log")
    }
}

/// All descendants of a process.
pub(crate) fn descendants(of: Pid) -> Vec<i32> {
    let mut found = vec![of.as_raw()];
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// Whether a process runs; a zombie does not.
pub(crate) fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}

/// The first line that a TCP server says, once somebody listens; the connection stays open.
pub(crate) async fn greeted(by: SocketAddr) -> (String, TcpStream) {
    let greeting = async {
        let mut stream = loop {
            match TcpStream::connect(by).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let mut line = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            if byte == b'\n' {
                break;
            }
            line.push(byte);
        }
        (String::from_utf8(line).expect("text"), stream)
    };
    tokio::time::timeout(LIMIT, greeting).await.expect("greeted in time")
}

/// The whole answer to an HTTP request.
pub(crate) async fn get(from: SocketAddr, host: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(from).await.expect("connected");
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    };
    tokio::time::timeout(LIMIT, exchange).await.expect("answered in time")
}
