//! What users of `zenvoy up` and their clients are told when something is wrong, on a real Envoy.

use std::net::SocketAddr;
use std::process::Command;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use zenvoy_e2e::{http, net, parts};

use super::world::{LIMIT, Log, Up, db, get, greeted};

const WEB: &str = "
upstreams:
- name: web
  port: 80
  command: [sleep, '600']
";

fn web() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10000))
}

#[test]
fn an_envoy_that_does_not_run_is_told_with_its_last_lines() {
    net::in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("envoy");
        std::fs::write(&program, "#!/bin/sh\necho wrong libc >&2\nexit 4\n").expect("written");
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
        std::fs::write(folder.path().join("up.yaml"), WEB).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
            .arg("up")
            .arg(folder.path().join("up.yaml"))
            .arg("--envoy")
            .arg(program)
            .output()
            .expect("run zenvoy");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("ended before it listened, with status 4"), "{said}");
        assert!(said.ends_with("Its last lines:\nwrong libc\n"), "{said}");
    });
}

#[test]
fn what_is_no_envoy_and_a_port_in_use_are_one_message_each() {
    net::in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("up.yaml"), WEB).expect("written");
        let run = |flags: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
                .arg("up")
                .arg(folder.path().join("up.yaml"))
                .args(flags)
                .env("ZENVOY_ENVOY", parts::path("envoy"))
                .output()
                .expect("run zenvoy");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (status, said) = run(&["--envoy", "/bin/false"]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("/bin/false") || said.contains("/usr/bin/false"), "{said}");
        assert!(said.ends_with("It wrote nothing\n") && said.lines().count() == 1, "{said}");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("bound").to_string();
        for flag in ["--envoy-admin", "--admin"] {
            let (status, said) = run(&[flag, &address]);
            assert_eq!(status, Some(2), "{said}");
            assert!(said.contains(&format!("{address} ({flag})")) && said.lines().count() == 1, "{said}");
        }
        let (status, said) = run(&["--port-pool", "127.0.0.1:9000-11000"]);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("--port-pool covers 127.0.0.1:10000 (--http-port)"), "{said}");
    });
}

#[test]
fn claims_that_meet_in_the_file_are_refused_before_anything_starts() {
    let web = |name: &str, more: &str| format!("- {{name: {name}, port: 80, command: [a], {more}}}\n");
    let refused = |upstreams: &[String]| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("up.yaml");
        std::fs::write(&file, format!("upstreams:\n{}", upstreams.concat())).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
            .args(["up", file.to_str().expect("text"), "--envoy", "/bin/true"])
            .output()
            .expect("run zenvoy");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let host = "hosts: [shop.example]";
    let said = refused(&[web("old", host), web("young", host)]);
    assert!(
        said.contains("up.yaml:3:") && said.contains("host shop.example belongs to local/old:80"),
        "{said}"
    );
    let said = refused(&[web("old", ""), web("young", "hosts: [old.localhost]")]);
    assert!(
        said.contains("up.yaml:3:") && said.contains("host old.localhost belongs to local/old:80"),
        "{said}"
    );
    let said = refused(&[web("web", "listenPort: 10000")]);
    assert!(
        said.contains("up.yaml:2:") && said.contains("listen port 10000 is one of Envoy's shared"),
        "{said}"
    );
    let said = refused(&[web("old", "listenPort: 7000"), web("young", "listenPort: 7000")]);
    assert!(
        said.contains("up.yaml:3:") && said.contains("listenPort 7000 is that of local/old:80"),
        "{said}"
    );
}

#[test]
fn a_command_that_fails_tells_the_client_and_the_user_why() {
    net::in_namespace(async || {
        let file = "
upstreams:
- name: web
  port: 80
  command: [sh, -c, 'echo no such table >&2; exit 3']
";
        let (_folder, mut up) = Up::ready(file).await;
        let answer = get(web(), "web.localhost").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("ExitedBeforeReady") || answer.contains("CrashLoop"), "{answer}");
        up.until("local/web:80  failing: ").await;
        up.until("    web exited with status 3 before it was ready").await;
        up.until("    no such table").await;
    });
}

#[test]
fn who_asks_for_what_cannot_be_served_is_told_why_through_envoy() {
    net::in_namespace(async || {
        let file = "
upstreams:
- name: api
  port: 80
  protocol: http2
  command: [sh, -c, 'echo no such table >&2; exit 3']
";
        let (_folder, _up) = Up::ready(file).await;
        let told = http::call(web(), "api.localhost").await.expect("an answer");
        assert_eq!(told.headers["grpc-status"], "14", "{told:?}");
        let message = told.headers["grpc-message"].to_str().expect("text").to_owned();
        assert!(
            message.contains("api exited with status 3") && message.contains("no such table"),
            "{message}"
        );
        let other = http::get(web(), "api.localhost", "/").await.expect("an answer");
        assert_eq!(other.status, 503, "{other:?}");
        assert!(
            other.headers.contains_key("retry-after") && other.body.contains("no such table"),
            "{other:?}"
        );

        let unknown = http::get(web(), "nobody.localhost", "/").await.expect("an answer");
        assert_eq!(
            (unknown.status, &unknown.headers["content-type"]),
            (404, &"application/json".parse().expect("valid"))
        );
        assert!(unknown.body.contains("no upstream has this host"), "{unknown:?}");
        let unknown = http::call(web(), "nobody.localhost").await.expect("an answer");
        assert_eq!(unknown.headers["grpc-status"], "12", "{unknown:?}");
        assert!(
            unknown.headers["grpc-message"].to_str().expect("text").contains("no upstream"),
            "{unknown:?}"
        );
    });
}

#[test]
fn an_upstream_that_cannot_be_served_is_told_in_the_view_and_to_its_clients() {
    net::in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let more = "- {name: more, port: 80, command: [sleep, '600']}";
        let pool = ["--port-pool", "127.77.0.1:20000-20000"];
        let mut up = Up::start_with(folder.path(), &format!("{WEB}{more}\n"), &pool);
        let line = up.until("local/").await;
        assert!(line.contains("PortPoolExhausted"), "{line}");
        up.until("ready: ").await;
        let name = line.split(['/', ':']).nth(1).expect("an upstream");
        let host = format!("{name}.localhost");
        let answer = http::get(web(), &host, "/").await.expect("an answer");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json", "{answer:?}");
        assert_eq!(answer.headers["retry-after"], "10", "{answer:?}");
        let upstream = format!(r#""upstream":"local/{name}:80""#);
        assert!(
            answer.body.contains(r#""reason":"NotServed""#) && answer.body.contains(&upstream),
            "{answer:?}"
        );
        let call = http::call(web(), &host).await.expect("an answer");
        assert_eq!(call.headers["grpc-status"], "14", "{call:?}");
    });
}

#[test]
fn a_port_that_envoy_cannot_listen_on_is_told_until_it_is_free() {
    net::in_namespace(async || {
        let (folder, mut up) = Up::ready(WEB).await;
        let taken = std::net::TcpListener::bind("127.0.0.1:15432").expect("a port");
        let more = "- {name: db, port: 1, protocol: tcp, listenPort: 15432, command: [python3, -SI, server.py, '{port}']}";
        std::fs::write(folder.path().join("up.yaml"), format!("{WEB}{more}\n")).expect("written");
        up.until("local/db:1  failing: RefusedByEnvoy").await;
        let said = up.until("    node up does not take the listener on port 15432: ").await;
        assert!(said.contains("Address already in use"), "{said}");
        drop(taken);
        up.until("local/db:1  cold").await;
        assert!(!greeted(db()).await.0.is_empty());
    });
}

/// A command that does not listen.
const NEVER: &str = "
upstreams:
- name: mute
  port: 80
  wakeTimeout: 1s
  command: [sh, -c, 'echo waiting for the database; exec sleep 600']
";

#[test]
fn a_command_that_never_listens_is_told_to_the_client_and_in_the_view() {
    net::in_namespace(async || {
        let (_folder, mut up) = Up::ready(NEVER).await;
        let answer = get(web(), "mute.localhost").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("WakeDeadline"), "{answer}");
        assert!(answer.contains("did not become ready within its wake timeout of 1s"), "{answer}");
        up.until("local/mute:80  failing: WakeDeadline").await;
        let said = up.until("    mute did not become ready within the wake timeout of 1s: ").await;
        assert!(said.contains("nobody accepts connections on 127.0.0.1:"), "{said}");
        up.until("    waiting for the database").await;
        // What it lacks is known by now: whoever is held in vain is told that too.
        let answer = get(web(), "mute.localhost").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("WakeDeadline"), "{answer}");
        assert!(answer.contains("nobody accepts connections on 127.0.0.1:"), "{answer}");
        assert!(answer.contains("waiting for the database"), "{answer}");
    });
}

/// A server that ends when a client says so.
const MORTAL: &str = r"
import os, socket, sys
s = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    c, _ = s.accept()
    if c.recv(3) == b'die':
        print('out of memory', file=sys.stderr, flush=True)
        os._exit(7)
    c.close()
";

#[test]
fn the_first_crash_of_a_command_that_served_is_told_with_its_status_and_last_lines() {
    net::in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("mortal.py"), MORTAL).expect("written");
        let file = "
upstreams:
- {name: db, port: 1, protocol: tcp, listenPort: 15432, command: [python3, -SI, mortal.py, '{port}']}
";
        let log = Log(folder.path().join("log"));
        let mut up = Up::start_logged(folder.path(), file, &log);
        up.until("ready: ").await;
        let mut client = TcpStream::connect(("127.0.0.1", 15432)).await.expect("connected");
        client.write_all(b"die").await.expect("written");
        log.until(&["WARN", "db exited with status 7; started again. Its last lines:\n", "out of memory\n"])
            .await;
    });
}

#[test]
fn a_file_that_is_removed_is_told_and_the_last_good_one_stays() {
    net::in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log(folder.path().join("log"));
        let file = "
upstreams:
- {name: web, port: 80, protocol: tcp, listenPort: 15432, command: [python3, -SI, server.py, '{port}']}
";
        let mut up = Up::start_logged(folder.path(), file, &log);
        up.until("ready: ").await;
        let path = folder.path().join("up.yaml");
        std::fs::remove_file(&path).expect("removed");
        log.until(&["up.yaml is gone: the last good configuration stays until the file is back"]).await;
        assert!(!greeted(db()).await.0.is_empty());
        std::fs::write(&path, file.replace("web", "other")).expect("written");
        log.until(&["up.yaml is good, and is used again"]).await;
        up.until("local/web:80  gone").await;
    });
}

#[test]
fn clients_of_a_crash_loop_are_asked_to_wait_longer_and_longer() {
    net::in_namespace(async || {
        let file = "
upstreams:
- name: web
  port: 80
  command: ['false']
";
        let (_folder, _up) = Up::ready(file).await;
        let asked_to_wait = async {
            loop {
                let answer = http::get(web(), "web.localhost", "/").await.expect("an answer");
                let wait: u32 =
                    answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
                if wait >= 4 {
                    return wait;
                }
            }
        };
        // After 200, 400, 800, 1600 and 3200 ms.
        assert_eq!(tokio::time::timeout(LIMIT, asked_to_wait).await.expect("it grows"), 4);
    });
}
