//! A controller whose API server is away says so, with the address and the cause, and not again and again.

use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zenvoy_e2e::{http, net, until};

const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
clusters: [{name: away, cluster: {server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true}}]
users: [{name: zenvoy, user: {token: none}}]
contexts: [{name: away, context: {cluster: away, user: zenvoy}}]
current-context: away
"#;

#[test]
fn without_an_api_server_readiness_and_a_few_log_lines_say_where_it_should_be() {
    net::in_namespace(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, KUBECONFIG).expect("written");
        let log = folder.path().join("log");
        let mut controller = Command::new(env!("CARGO_BIN_EXE_zenvoy"))
            .args(["controller", "--store", "memory", "--listen", "127.0.0.1:18000", "--kubeconfig"])
            .arg(&kubeconfig)
            .stderr(std::fs::File::create(&log).expect("a file"))
            .spawn()
            .expect("start zenvoy controller");
        let admin = SocketAddr::from(([127, 0, 0, 1], 18080));
        let waits = "not ready: facts: the Kubernetes API at https://127.0.0.1:6443/ has not been read yet\n";
        until::so("readiness says what is waited for", async || {
            let answer = http::get(admin, "admin", "/readyz").await;
            answer.is_ok_and(|answer| answer.status == 503 && answer.body == waits)
        })
        .await;
        let log = || std::fs::read_to_string(&log).expect("the log");
        until::so("the log tells the cause", async || log().contains("Connection refused")).await;
        let pid = Pid::from_raw(i32::try_from(controller.id()).expect("a process id"));
        kill(pid, Signal::SIGTERM).expect("it lives");
        let status = controller.wait().expect("ended");
        let log = log();
        assert!(status.success(), "{status}: {log}");
        let told: Vec<&str> =
            log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        assert!((1..=3).contains(&told.len()), "{log}");
        for line in told {
            assert!(line.contains("the Kubernetes API at https://127.0.0.1:6443/ cannot be read"), "{log}");
        }
    });
}
