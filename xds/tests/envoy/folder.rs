//! A real Envoy runs from a folder of files, with the example as its only control plane.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::mode::MODES;
use crate::net::in_namespace;
use crate::process::{Envoy, get};
use crate::until;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10_000);

/// The example, which `cargo test` builds before it runs all of a package's tests.
fn example() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    // target/PROFILE/deps/this
    let example = own.ancestors().nth(2).expect("in the target folder").join("examples/serve_dir");
    assert!(example.exists(), "first run: cargo build -p zenvoy-xds --example serve_dir");
    example
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the example's resources") {
        let path = entry.expect("a file").path();
        std::fs::copy(&path, to.join(path.file_name().expect("named"))).expect("copied");
    }
}

async fn answers(words: &'static str) {
    until::some(words, async || get(HTTP, "/").await.filter(|answer| answer.contains(words))).await;
}

async fn runs(example: PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/serve_dir/resources"), folder.path());
    let _server = Command::new(example)
        .arg(folder.path())
        .env("CARGO", env!("CARGO"))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("start the example");
    let _envoy = Envoy::start(MODES[0], "node", &[SocketAddr::from(([127, 0, 0, 1], 18_000))]);
    answers("served from a folder").await;
    let routes = folder.path().join("routes.yaml");
    let text = std::fs::read_to_string(&routes).expect("readable");
    std::fs::write(folder.path().join("broken.yaml"), "broken: [").expect("written");
    std::fs::write(&routes, text.replace("served from a folder", "changed")).expect("written");
    std::fs::remove_file(folder.path().join("broken.yaml")).expect("removed");
    answers("changed").await;
    let admin = get(HTTP, "/admin/server_info").await.expect("the EDS cluster of the folder");
    assert!(admin.contains("LIVE"), "{admin}");
}

#[test]
fn an_envoy_runs_from_a_folder_and_follows_its_changes() {
    let example = example();
    in_namespace(move || runs(example));
}
