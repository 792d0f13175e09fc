//! Node and controller over mutual TLS: wakes, certificates that change under load, and who is refused.

use std::path::Path;

use serde_json::Value;
use zenvoy_e2e::http::get;
use zenvoy_e2e::load::{self, OpenStream, Steady};
use zenvoy_e2e::manifest::Backend;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::pki::{Authority, Issued, Validity};
use zenvoy_e2e::process::Process;
use zenvoy_e2e::zenvoy::{Certificates, Installation, Mode};
use zenvoy_e2e::{parts, until};

/// Changes of the files that node and controller have taken in.
async fn reloads(zenvoy: &Installation) -> (Value, Value) {
    let (node, controller) = (zenvoy.node.status().await, zenvoy.controller.status().await);
    (node["tls"]["reloads"].clone(), controller["port"]["tls"]["reloads"].clone())
}

async fn until_reloaded(zenvoy: &Installation, times: u64) {
    until::so("both have taken the change in", async || {
        reloads(zenvoy).await == (times.into(), times.into())
    })
    .await;
}

/// The node's session ends with the controller, and the next one begins with a handshake.
async fn restart_controller(zenvoy: &mut Installation) {
    zenvoy.controller.process().terminate().await;
    zenvoy.controller.start_again();
    zenvoy.controller.until_ready().await;
}

#[test]
fn services_wake_over_mutual_tls_and_certificates_change_under_load() {
    in_namespace(async || {
        let (mut zenvoy, certificates) = Installation::start_secured(Mode::Tproxy, &[]).await;
        let [web, streamed, first, second, third] =
            ["web", "streamed", "first", "second", "third"].map(Backend::http);
        for backend in [&web, &streamed, &first, &second, &third] {
            zenvoy.create(backend).await;
        }
        let load = Steady::start(&zenvoy.http(&web, "/slow?ms=20"), 4);
        let mut stream = OpenStream::of(&zenvoy.http(&streamed, "/stream?ms=50")).await.expect("a stream");
        let session = zenvoy.node.status().await["session"]["controller"].clone();

        certificates.renew();
        until_reloaded(&zenvoy, 1).await;
        load::once(&zenvoy.http(&first, "/")).await.served();

        // Another authority, by way of trusting both: no moment at which the two do not trust each other.
        let (old, next) = (certificates.authority(), Authority::new());
        certificates
            .mount(&old.controller().trusting(&[old, &next]), &old.node("node-1").trusting(&[old, &next]));
        until_reloaded(&zenvoy, 2).await;
        certificates
            .mount(&next.controller().trusting(&[old, &next]), &next.node("node-1").trusting(&[old, &next]));
        until_reloaded(&zenvoy, 3).await;
        certificates.mount(&next.controller(), &next.node("node-1"));
        until_reloaded(&zenvoy, 4).await;
        let status = zenvoy.node.status().await;
        assert_eq!(status["session"]["controller"], session, "no session was dropped for it");
        load::once(&zenvoy.http(&second, "/")).await.served();

        restart_controller(&mut zenvoy).await;
        load::once(&zenvoy.http(&third, "/")).await.served();
        stream.next().await.expect("the stream goes on");
        load.stop().await.assert_all_served();
        for backend in [&web, &streamed, &first, &second, &third] {
            zenvoy.audit().assert_one_wake(backend.name(), 1);
        }
        zenvoy.node.assert_nothing_refused().await;
    });
}

/// A proxy of another node that comes with `own`, and why it has no session.
async fn refused(zenvoy: &Installation, folder: &Path, node: &str, own: &Issued) -> String {
    let tls = folder.join(format!("tls-of-{node}"));
    own.mount(&tls);
    let admin = "127.0.0.1:18091".parse().expect("an address");
    let flags = [
        "proxy".to_owned(),
        format!("--node={node}"),
        format!("--controllers=https://{}", zenvoy.controller.address()),
        format!("--tls-dir={}", tls.display()),
        "--mode=listen".to_owned(),
        "--envoy-listen=127.0.0.1:18011".to_owned(),
        format!("--admin={admin}"),
    ];
    let proxy = Process::start(&parts::zenvoy(), flags, &[], &folder.join(format!("{node}.log")));
    let said = until::some("a refusal", async || {
        let status = get(admin, "admin", "/status").await.ok()?;
        let status: Value = serde_json::from_str(&status.body).expect("JSON");
        status["session"]["last_error"].as_str().map(ToOwned::to_owned)
    })
    .await;
    drop(proxy);
    said
}

#[test]
fn who_is_refused_learns_why_and_so_does_the_operator() {
    in_namespace(async || {
        let (mut zenvoy, certificates) = Installation::start_secured(Mode::Listen, &[]).await;
        let (authority, stranger) = (certificates.authority(), Authority::new());
        let folder = zenvoy.folder.path().to_path_buf();
        let cases = [
            (
                "stranger",
                stranger.node("stranger").trusting(&[authority]),
                "does not know the authority of the certificate",
                "UnknownIssuer; have the node's certificate signed by an authority in this controller's ca.crt",
            ),
            (
                "suspicious",
                authority.node("suspicious").trusting(&[&stranger]),
                "the authority of the controller's certificate is not in this node's ca.crt",
                "the peer does not trust this controller's certificate",
            ),
        ];
        for (node, own, at_node, at_controller) in cases {
            let said = refused(&zenvoy, &folder, node, &own).await;
            assert!(said.contains(at_node), "{said}, not {at_node}");
            until::so(&format!("{at_controller:?} in the controller's log"), async || {
                zenvoy.controller.process().log().contains(at_controller)
            })
            .await;
        }
        // What would be refused in any case is not begun.
        let expired = folder.join("expired");
        authority.issue("node/node-1", Validity::Over).mount(&expired);
        let other = folder.join("other");
        authority.node("node-2").mount(&other);
        for (folder, expected) in
            [(expired, "has expired"), (other, "zenvoy/node/node-2, and this is node node-1")]
        {
            let output = std::process::Command::new(parts::zenvoy())
                .args(["proxy", "--node=node-1", "--controllers=https://127.0.0.1:1"])
                .arg(format!("--tls-dir={}", folder.display()))
                .output()
                .expect("run zenvoy");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(expected), "{said}, not {expected}");
        }
    });
}

#[test]
fn a_node_beyond_its_quota_of_wakes_is_refused_and_its_clients_are_told() {
    in_namespace(async || {
        let (mut zenvoy, _): (_, Certificates) =
            Installation::start_secured(Mode::Tproxy, &["--node-wakes-per-minute=2"]).await;
        let backends = ["one", "two", "three"].map(Backend::http);
        for backend in &backends {
            zenvoy.create(backend).await;
        }
        for backend in &backends[..2] {
            load::once(&zenvoy.http(backend, "/")).await.served();
        }
        let refused = load::once(&zenvoy.http(&backends[2], "/")).await;
        let answer = format!("{:?}", refused.result);
        for word in ["503", "NodeWakeQuota", "--node-wakes-per-minute"] {
            assert!(answer.contains(word), "{word} in {answer}");
        }
        let upstream = zenvoy.node.upstream(&backends[2]).await.expect("it is known");
        assert_eq!((&upstream["verdict"], &upstream["reason"]), (&"fail".into(), &"NodeWakeQuota".into()));
        // The next one is in time, half a minute later.
        until::so("the third is served", async || {
            load::once(&zenvoy.http(&backends[2], "/")).await.result.is_ok()
        })
        .await;
        for backend in &backends {
            zenvoy.audit().assert_one_wake(backend.name(), 1);
        }
    });
}
