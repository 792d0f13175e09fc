//! Who may speak to etcd: certificates, users, passwords and tokens; and what people are told when they do not fit.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Permission};
use zenvoy_controller::store::{EtcdOptions, EtcdStore, Key, Room, Store, StoreError, WatchEvent};
use zenvoy_shared::tls::TlsFiles;

use crate::etcd::{Etcd, PATIENCE, Scheme, address, ready};
use crate::pki::{Authority, write};
use crate::records::{entry, next, node, put, steps_until, try_commit, written, written_at_last};

/// What a start says that cannot work, once etcd listens.
async fn refusal(options: &EtcdOptions) -> StoreError {
    let refused = async {
        loop {
            if let Err(error) = EtcdStore::connect(options).await {
                return error;
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("it cannot be connected")
}

fn assert_denied(error: &StoreError, says: &[&str]) {
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert!(!error.could_retry());
    for word in says {
        assert!(error.to_string().contains(word), "{error}, but not {word}");
    }
}

fn tls_arguments(authority: &Authority, ip: Ipv4Addr, further: &[String]) -> Vec<String> {
    let (certificate, key) = authority.sign(ip);
    let own = [format!("--cert-file={}", certificate.display()), format!("--key-file={}", key.display())];
    [&own, further].concat()
}

#[tokio::test]
async fn etcd_is_trusted_by_its_authority_only() {
    let (authority, stranger, ip) = (Authority::new(), Authority::new(), address());
    let etcd = Etcd::prepared(&[ip], Scheme::Https, &tls_arguments(&authority, ip, &[])).started();
    let options = |tls| EtcdOptions { tls, ..etcd.options() };
    let store = ready(&options(authority.trust())).await;
    written(&store, put(&Key::Leader, "x")).await;

    let endpoint = &etcd.endpoints()[0];
    let wrong = refusal(&options(stranger.trust())).await;
    assert_denied(&wrong, &[endpoint, "certificate", "authority"]);
    let none = refusal(&options(TlsFiles::default())).await;
    assert_denied(&none, &[endpoint, "certificate", "authority"]);

    let missing = TlsFiles { ca: Some("/nowhere/ca.crt".into()), identity: None };
    let unreadable = refusal(&options(missing)).await;
    assert!(matches!(unreadable, StoreError::Options(_)), "{unreadable:?}");
    assert!(unreadable.to_string().contains("/nowhere/ca.crt"), "{unreadable}");
    let plain =
        EtcdOptions { endpoints: vec![endpoint.replace("https", "http")], ..options(authority.trust()) };
    let plain = refusal(&plain).await;
    assert!(matches!(plain, StoreError::Options(_)), "{plain:?}");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_trusted() {
    let (authority, ip) = (Authority::new(), address());
    let etcd = Etcd::prepared(&[ip], Scheme::Https, &tls_arguments(&authority, address(), &[])).started();
    let options = EtcdOptions { tls: authority.trust(), ..etcd.options() };
    // It is away until it listens.
    let refused = refusal(&options).await;
    assert_denied(&refused, &["certificate", "host name"]);
}

#[tokio::test]
async fn where_etcd_asks_for_a_certificate_only_one_of_its_authority_will_do() {
    let (authority, stranger, ip) = (Authority::new(), Authority::new(), address());
    let mutual = [format!("--trusted-ca-file={}", authority.ca().display()), "--client-cert-auth".to_owned()];
    let etcd = Etcd::prepared(&[ip], Scheme::Https, &tls_arguments(&authority, ip, &mutual)).started();
    let options =
        |identity| EtcdOptions { tls: TlsFiles { identity, ..authority.trust() }, ..etcd.options() };
    let client = address();
    let store = ready(&options(Some(authority.sign(client)))).await;
    written(&store, put(&Key::Leader, "x")).await;

    assert_denied(&refusal(&options(None)).await, &["own certificate"]);
    assert_denied(&refusal(&options(Some(stranger.sign(client)))).await, &["own certificate"]);
}

/// Puts a certificate and its key where a store looks for them.
fn put_identity(to: &(PathBuf, PathBuf), from: &(PathBuf, PathBuf)) {
    std::fs::copy(&from.0, &to.0).expect("copy a certificate");
    std::fs::copy(&from.1, &to.1).expect("copy a key");
}

#[tokio::test]
async fn new_tls_files_are_for_new_calls_and_a_watch_that_stands_goes_on() {
    let (authority, stranger, ip) = (Authority::new(), Authority::new(), address());
    let mutual = [format!("--trusted-ca-file={}", authority.ca().display()), "--client-cert-auth".to_owned()];
    let etcd = Etcd::prepared(&[ip], Scheme::Https, &tls_arguments(&authority, ip, &mutual)).started();
    let (client, folder) = (address(), tempfile::tempdir().expect("a folder"));
    let with = |identity| EtcdOptions {
        tls: TlsFiles { identity: Some(identity), ..authority.trust() },
        ..etcd.options()
    };
    let own = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    put_identity(&own, &authority.sign(client));
    let store = ready(&with(own.clone())).await;
    let other = ready(&with(authority.sign(address()))).await;
    let start = written(&store, put(&Key::Leader, "x")).await;
    let mut steps = store.watch(start).await.expect("watch");
    let at = written(&other, put(&node("a"), "1")).await;
    assert_eq!(next(&mut steps).await, WatchEvent::Put(entry(&node("a"), "1", at)));

    // That the new files are used shows in etcd's refusal of them. Its first word about them already says why, although
    // the reset of the connection often overtakes that.
    put_identity(&own, &stranger.sign(client));
    let denied = async {
        loop {
            if let Err(error) = store.read(Room::All).await {
                return error;
            }
        }
    };
    let denied = tokio::time::timeout(PATIENCE, denied).await.expect("the new certificate is used");
    assert_denied(&denied, &["own certificate"]);
    let at = written(&other, put(&node("b"), "1")).await;
    assert_eq!(next(&mut steps).await, WatchEvent::Put(entry(&node("b"), "1", at)));

    put_identity(&own, &authority.sign(client));
    let served = async { while store.read(Room::All).await.is_err() {} };
    tokio::time::timeout(PATIENCE, served).await.expect("the newest certificate is used");
}

/// Turns authentication on: `zenvoy` may do everything below its prefix, `guest` nothing.
async fn lock(etcd: &Etcd) {
    etcd.store().await;
    let mut client = Client::connect(etcd.endpoints(), None).await.expect("connect");
    for (user, password) in [("root", "r00t"), ("zenvoy", "secret"), ("guest", "guest")] {
        client.user_add(user, password, None).await.expect("add a user");
    }
    client.role_add("zenvoy").await.expect("add a role");
    let all = Permission::read_write("/zenvoy/v1/test/").with_prefix();
    client.role_grant_permission("zenvoy", all).await.expect("grant");
    client.user_grant_role("zenvoy", "zenvoy").await.expect("grant");
    client.user_grant_role("root", "root").await.expect("grant");
    client.auth_enable().await.expect("enable");
}

fn as_user(etcd: &Etcd, name: &str, password: &str) -> EtcdOptions {
    EtcdOptions { user: Some((name.into(), password.into())), ..etcd.options() }
}

fn cheap_hashes() -> Vec<String> {
    vec!["--bcrypt-cost=4".into()]
}

#[tokio::test]
async fn only_a_user_who_may_is_let_in_and_the_others_are_told_why() {
    let etcd = Etcd::prepared(&[address()], Scheme::Http, &cheap_hashes()).started();
    let early = ready(&etcd.options()).await;
    assert_denied(&refusal(&as_user(&etcd, "zenvoy", "secret")).await, &["not enabled", "give no user"]);
    lock(&etcd).await;
    let endpoint = etcd.endpoints()[0].clone();

    let store = ready(&as_user(&etcd, "zenvoy", "secret")).await;
    let start = store.read(Room::All).await.expect("read").revision;
    let mut steps = store.watch(start).await.expect("watch");
    let at = written(&store, put(&Key::Leader, "x")).await;
    assert_eq!(next(&mut steps).await, WatchEvent::Put(entry(&Key::Leader, "x", at)));
    let lease = store.grant(Duration::from_secs(60)).await.expect("grant");
    store.keep_alive(lease).await.expect("alive");
    store.revoke(lease).await.expect("revoke");

    let wrong = refusal(&as_user(&etcd, "zenvoy", "guess")).await;
    assert_denied(&wrong, &[&endpoint, "invalid user ID or password", "give the user and the password"]);
    assert_denied(&refusal(&etcd.options()).await, &["user name is empty", "give the user and the password"]);
    assert_denied(&refusal(&as_user(&etcd, "guest", "guest")).await, &["permission denied", "readwrite"]);
    let write = try_commit(&early, Vec::new(), vec![put(&Key::Leader, "y")]).await;
    assert_denied(&write.expect_err("it has no user"), &["give the user and the password"]);
}

#[tokio::test]
async fn a_token_that_etcd_forgot_in_a_restart_is_renewed() {
    let mut etcd = Etcd::prepared(&[address()], Scheme::Http, &cheap_hashes()).started();
    lock(&etcd).await;
    let store = ready(&as_user(&etcd, "zenvoy", "secret")).await;
    let lease = store.grant(Duration::from_secs(600)).await.expect("grant");
    let start = written(&store, put(&node("a"), "1")).await;
    let mut steps = store.watch(start).await.expect("watch");
    etcd.kill(store.member());
    etcd.start_all();
    // The first call of each kind meets the old token; here it is the keep-alive or the watch.
    let kept = async { while store.keep_alive(lease).await.is_err_and(|error| error.could_retry()) {} };
    tokio::time::timeout(PATIENCE, kept).await.expect("etcd is back");
    store.keep_alive(lease).await.expect("alive");
    let last = written_at_last(&store, put(&node("b"), "1")).await;
    assert_eq!(steps_until(&mut steps, last).await, [WatchEvent::Put(entry(&node("b"), "1", last))]);
}

#[tokio::test]
async fn a_token_that_is_older_than_the_permissions_is_renewed() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("token.key");
    let pair = rcgen::KeyPair::generate().expect("a key");
    write(&key, &pair.serialize_pem());
    let public = folder.path().join("token.pub");
    write(&public, &pair.public_key_pem());
    let signed = format!(
        "--auth-token=jwt,pub-key={},priv-key={},sign-method=ES256,ttl=10m",
        public.display(),
        key.display()
    );
    let etcd = Etcd::prepared(&[address()], Scheme::Http, &[cheap_hashes(), vec![signed]].concat()).started();
    lock(&etcd).await;
    let store = ready(&as_user(&etcd, "zenvoy", "secret")).await;
    let start = written(&store, put(&node("a"), "1")).await;
    let root = ConnectOptions::new().with_user("root", "r00t");
    let mut client = Client::connect(etcd.endpoints(), Some(root)).await.expect("connect");
    client.user_add("somebody", "else", None).await.expect("add a user");
    let mut steps = store.watch(start).await.expect("watch");
    let last = written(&store, put(&node("b"), "1")).await;
    assert_eq!(steps_until(&mut steps, last).await, [WatchEvent::Put(entry(&node("b"), "1", last))]);
}

#[tokio::test]
async fn an_etcd_that_is_away_at_the_start_is_used_once_it_is_there() {
    let etcd = Etcd::prepared(&[address()], Scheme::Http, &cheap_hashes());
    let store = EtcdStore::connect(&as_user(&etcd, "zenvoy", "secret")).await.expect("it may come later");
    assert!(matches!(store.read(Room::All).await, Err(StoreError::Unavailable(_))));
    let etcd = etcd.started();
    lock(&etcd).await;
    written_at_last(&store, put(&Key::Leader, "x")).await;
}
