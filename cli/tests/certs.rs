//! `zenvoy certs`: what it makes is what controllers and proxies take, and nothing is overwritten unasked.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use zenvoy_shared::id::NodeId;
use zenvoy_shared::tls::{Contents, Leaf, Material, Role, TlsError, TlsFiles};

fn certs(out: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zenvoy"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ZENVOY_")) {
        command.env_remove(name);
    }
    command.args(["certs", "--out"]).arg(out).args(flags).output().expect("run zenvoy")
}

fn made(out: &Path, flags: &[&str]) {
    let output = certs(out, flags);
    assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn refused(out: &Path, flags: &[&str]) -> String {
    let output = certs(out, flags);
    assert_eq!(output.status.code(), Some(2), "{flags:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn contents(folder: &Path) -> Contents {
    let read = |file: &str| std::fs::read(folder.join(file)).expect(file);
    Contents { ca: Some(read("ca.crt")), identity: Some((read("tls.crt"), read("tls.key"))) }
}

fn checked(folder: &Path, role: &Role) -> Result<Material, TlsError> {
    Material::check(contents(folder), &TlsFiles::in_folder(folder), role, SystemTime::now())
}

fn node(name: &str) -> Role {
    Role::Node(NodeId(name.into()))
}

fn own(folder: &Path, role: &Role) -> Leaf {
    checked(folder, role).expect("good").own().expect("a certificate").clone()
}

#[test]
fn what_is_made_is_what_controllers_and_nodes_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path();
    made(
        out,
        &["--node", "node-1", "--node", "node-2", "--node-class", "gateway", "--trust-domain", "example.org"],
    );
    let controller = checked(&out.join("controller"), &Role::Controller).expect("good");
    let identity = controller.identity().expect("an identity").to_string();
    assert_eq!(identity, "spiffe://example.org/zenvoy/controller");
    for (folder, role) in
        [("node-1", node("node-1")), ("node-2", node("node-2")), ("gateway-class", node("gateway-x"))]
    {
        checked(&out.join("nodes").join(folder), &role).expect(folder);
    }
    checked(&out.join("nodes/node-1"), &node("node-2")).expect_err("it is another's");
    let days = own(&out.join("nodes/node-1"), &node("node-1")).not_after.duration_since(SystemTime::now());
    let ninety = Duration::from_secs(90 * 24 * 3_600);
    assert!(days.is_ok_and(|days| days <= ninety && days > ninety - Duration::from_secs(60)));
    for key in ["ca/tls.key", "controller/tls.key", "nodes/node-1/tls.key"] {
        let mode = out.join(key).metadata().expect(key).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn further_nodes_come_from_the_same_authority_and_what_is_there_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path();
    made(out, &["--node", "node-1"]);
    let (first, controller) = (contents(&out.join("nodes/node-1")), contents(&out.join("controller")));
    made(out, &["--node", "node-2"]);
    let second = contents(&out.join("nodes/node-2"));
    assert!(first.ca == second.ca, "the same authority");
    assert!(contents(&out.join("controller")) == controller, "it stays");
    let why = refused(out, &["--node", "node-3", "--node", "node-1"]);
    assert!(why.contains("nodes/node-1 holds a certificate already; give --renew"), "{why}");
    assert!(!out.join("nodes/node-3").exists(), "all or nothing");
    assert!(contents(&out.join("nodes/node-1")) == first);
}

#[test]
fn renewed_certificates_are_new_and_of_the_same_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path();
    made(out, &["--node", "node-1"]);
    let before =
        (own(&out.join("nodes/node-1"), &node("node-1")), own(&out.join("controller"), &Role::Controller));
    let authority = contents(&out.join("ca"));
    made(out, &["--node", "node-1", "--renew"]);
    let after =
        (own(&out.join("nodes/node-1"), &node("node-1")), own(&out.join("controller"), &Role::Controller));
    assert_ne!(before.0.serial, after.0.serial);
    assert_ne!(before.1.serial, after.1.serial);
    assert!(contents(&out.join("ca")) == authority);
}

#[test]
fn etcd_has_authorities_of_its_own_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path();
    made(out, &[]);
    assert!(!out.join("etcd").exists(), "only when it is asked for");
    let hosts = ["--etcd-host", "etcd-0.example.org,etcd-1.example.org", "--etcd-host", "127.0.0.1"];
    made(out, &hosts);
    for part in ["server", "peer", "client"] {
        checked(&out.join("etcd").join(part), &Role::Stranger).expect(part);
    }
    let authority = |part: &str| contents(&out.join(part)).ca.expect("an authority");
    let (etcd, peers) = (authority("etcd/server"), authority("etcd/peer"));
    assert!(etcd == authority("etcd/client") && etcd != peers);
    assert!(authority("controller") != etcd && authority("controller") != peers);

    let before = contents(&out.join("etcd/client"));
    made(out, &hosts);
    assert!(contents(&out.join("etcd/client")) == before, "it stays");
    made(out, &[&hosts[..], &["--renew"]].concat());
    let after = contents(&out.join("etcd/client"));
    assert!(after.identity != before.identity && after.ca == before.ca, "new, of the same authority");
}

#[test]
fn names_that_no_certificate_can_hold_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for (flags, expected) in [
        (&["--node", "a/b"][..], "is not a node's name"),
        (&["--node", "node-1", "--trust-domain", "Example.org"][..], "is no trust domain"),
        (&["--node-class", "a b"][..], "is not a class of nodes"),
        (&["--node", "a", "--node", "a"][..], "two certificates would be in"),
        (&["--node", "a-class", "--node-class", "a"][..], "two certificates would be in"),
    ] {
        let why = refused(folder.path(), flags);
        assert!(why.contains(expected), "{why}, not {expected}");
    }
    assert!(!folder.path().join("ca").exists(), "nothing is made");
}
