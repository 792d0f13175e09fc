//! Mutual TLS with a controller: whom the node trusts, as whom it comes, and what it makes of new files.

use std::path::Path;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zenvoy_e2e::net::in_namespace;
use zenvoy_e2e::pki::{Authority, Issued, Validity};
use zenvoy_e2e::until::done;
use zenvoy_proxy::{Handle, Proxy, ProxyError, ProxyOptions};
use zenvoy_shared::id::NodeId;
use zenvoy_shared::tls::{Live, Role, TlsFiles};

use crate::controller::Controller;
use crate::world::{CONTROLLER, NODE, options, until};

/// A proxy with certificates in a folder.
struct Node {
    folder: TempDir,
    handle: Handle,
    stop: CancellationToken,
    running: JoinHandle<Result<(), ProxyError>>,
}

async fn live(folder: &Path) -> Live {
    let role = Role::Node(NodeId(NODE.into()));
    Live::open(TlsFiles::in_folder(folder), role).await.expect("material")
}

fn https() -> Vec<http::Uri> {
    vec![format!("https://{CONTROLLER}").parse().expect("an address")]
}

impl Node {
    async fn start(own: &Issued) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        own.mount(folder.path());
        let tls = Some(live(folder.path()).await);
        let proxy =
            Proxy::bind(ProxyOptions { controllers: https(), tls, ..options() }).await.expect("a proxy");
        let (handle, stop) = (proxy.handle(), CancellationToken::new());
        let running = tokio::spawn(proxy.run(stop.clone()));
        Self { folder, handle, stop, running }
    }

    async fn end(self) {
        self.stop.cancel();
        done("the proxy's end", self.running).await.expect("no panic").expect("all parts live");
    }

    /// Why there is no session.
    async fn refusal(&self) -> String {
        until("a refusal", || {
            let session = serde_json::to_value(self.handle.status().session).expect("JSON");
            session["last_error"].as_str().map(ToOwned::to_owned)
        })
        .await
    }
}

#[test]
fn node_and_controller_prove_to_each_other_who_they_are() {
    in_namespace(async || {
        let authority = Authority::new();
        let controller = Controller::tls(CONTROLLER, &authority.controller());
        let node = Node::start(&authority.node(NODE)).await;
        controller.hello(1).await;
        let tls = node.handle.status().tls.expect("a certificate");
        assert_eq!(tls.serial, Some(controller.serial(1)));
        assert_eq!(tls.identity.as_deref(), Some("spiffe://test.zenvoy/zenvoy/node/node-1"));
        node.end().await;
    });
}

#[test]
fn who_is_no_controller_is_not_told_anything() {
    in_namespace(async || {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let cases = [
            (
                stranger.controller(),
                "the authority of the controller's certificate is not in this node's ca.crt",
            ),
            (authority.issue("controller", Validity::Over), "have the controller's certificate renewed"),
            (
                authority.node("node-2"),
                "its certificate is for spiffe://test.zenvoy/zenvoy/node/node-2, not for \
                 spiffe://test.zenvoy/zenvoy/controller",
            ),
        ];
        for (own, expected) in cases {
            let controller = Controller::tls(CONTROLLER, &own.trusting(&[&authority]));
            let node = Node::start(&authority.node(NODE)).await;
            let refusal = node.refusal().await;
            assert!(refusal.contains(expected), "{refusal}, not {expected}");
            assert_eq!(controller.hellos(), 0);
            node.end().await;
        }
    });
}

#[test]
fn new_certificates_are_for_the_next_session_and_this_one_goes_on() {
    in_namespace(async || {
        let authority = Authority::new();
        let controller = Controller::tls(CONTROLLER, &authority.controller());
        let node = Node::start(&authority.node(NODE)).await;
        controller.hello(1).await;
        authority.node(NODE).mount(node.folder.path());
        until("the change", || (node.handle.status().tls?.reloads == 1).then_some(())).await;
        assert_eq!(controller.hellos(), 1, "the session goes on");
        controller.end_session();
        controller.hello(2).await;
        assert_ne!(controller.serial(1), controller.serial(2));
        assert_eq!(node.handle.status().tls.expect("a certificate").serial, Some(controller.serial(2)));
    });
}

#[test]
fn a_certificate_of_another_node_is_refused_and_the_old_one_stays() {
    in_namespace(async || {
        let authority = Authority::new();
        let controller = Controller::tls(CONTROLLER, &authority.controller());
        let node = Node::start(&authority.node(NODE)).await;
        controller.hello(1).await;
        authority.node("node-2").mount(node.folder.path());
        let refused = until("the refusal", || node.handle.status().tls?.refused).await;
        assert!(
            refused.contains("for spiffe://test.zenvoy/zenvoy/node/node-2, and this is node node-1"),
            "{refused}"
        );
        controller.end_session();
        controller.hello(2).await;
        assert_eq!(controller.serial(1), controller.serial(2));
    });
}

#[test]
fn what_does_not_fit_together_is_named_at_the_start() {
    in_namespace(async || {
        let error = Proxy::bind(ProxyOptions { controllers: https(), ..options() }).await.unwrap_err();
        assert!(error.to_string().contains("--tls-dir"), "{error}");
        let folder = tempfile::tempdir().expect("a folder");
        Authority::new().node(NODE).mount(folder.path());
        let tls = Some(live(folder.path()).await);
        let error = Proxy::bind(ProxyOptions { tls, ..options() }).await.unwrap_err();
        assert!(error.to_string().contains("is plaintext"), "{error}");
        Authority::new().controller().mount(folder.path());
        let opened = Live::open(TlsFiles::in_folder(folder.path()), Role::Node(NodeId(NODE.into())));
        let error = done("an answer", opened).await.unwrap_err();
        assert!(error.to_string().contains("zenvoy/controller, and this is node node-1"), "{error}");
    });
}
