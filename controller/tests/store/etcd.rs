//! A real etcd of any number of members on loopback addresses of its own; it ends with the test.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use zenvoy_controller::model::Revision;
use zenvoy_controller::store::{EtcdOptions, EtcdStore, Room, Store};

/// Nothing here takes that long on a machine that is not stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Etcd {
    members: Vec<Member>,
}

struct Member {
    folder: TempDir,
    ip: Ipv4Addr,
    endpoint: String,
    arguments: Vec<String>,
    process: Option<Child>,
}

/// How clients must speak to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Etcd {
    /// One member, over plain HTTP.
    pub(crate) fn start() -> Self {
        Self::of(1)
    }

    /// So many members, over plain HTTP.
    pub(crate) fn of(members: usize) -> Self {
        let ips: Vec<_> = (0..members).map(|_| address()).collect();
        Self::prepared(&ips, Scheme::Http, &[]).started()
    }

    /// Members that do not run yet, with further arguments.
    pub(crate) fn prepared(ips: &[Ipv4Addr], scheme: Scheme, further: &[String]) -> Self {
        let scheme = if scheme == Scheme::Http { "http" } else { "https" };
        let peers: Vec<String> = ips.iter().map(|ip| format!("{ip}=http://{ip}:2380")).collect();
        let members = ips.iter().map(|ip| {
            let mut arguments = vec![
                format!("--name={ip}"),
                format!("--listen-peer-urls=http://{ip}:2380"),
                format!("--initial-advertise-peer-urls=http://{ip}:2380"),
                format!("--initial-cluster={}", peers.join(",")),
                // No test pulls the plug of the machine, so none pays for disk flushes.
                "--unsafe-no-fsync".into(),
                "--log-level=error".into(),
            ];
            arguments.extend_from_slice(further);
            let folder = tempfile::tempdir().expect("a folder");
            Member { folder, ip: *ip, endpoint: format!("{scheme}://{ip}:2379"), arguments, process: None }
        });
        Self { members: members.collect() }
    }

    pub(crate) fn started(mut self) -> Self {
        self.members.iter_mut().for_each(Member::start);
        self
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| member.endpoint.clone()).collect()
    }

    pub(crate) fn options(&self) -> EtcdOptions {
        EtcdOptions { endpoints: self.endpoints(), cluster: "test".into(), ..EtcdOptions::default() }
    }

    /// A store on it, once it serves.
    pub(crate) async fn store(&self) -> EtcdStore {
        ready(&self.options()).await
    }

    /// Starts who does not run.
    pub(crate) fn start_all(&mut self) {
        self.members.iter_mut().filter(|member| member.process.is_none()).for_each(Member::start);
    }

    /// Ends the member at an endpoint without any warning.
    pub(crate) fn kill(&mut self, endpoint: &str) {
        self.at(endpoint).end();
    }

    /// Stops the member at an endpoint: its connections stay, and nobody answers on them.
    pub(crate) fn pause(&mut self, endpoint: &str) {
        self.at(endpoint).signal(Signal::SIGSTOP);
    }

    pub(crate) fn resume(&mut self, endpoint: &str) {
        self.at(endpoint).signal(Signal::SIGCONT);
    }

    /// Runs the only member where its clients do not find it, until `so` is done with that.
    pub(crate) async fn aside(&mut self, so: impl AsyncFnOnce(EtcdOptions)) {
        let ip = address();
        let usual = std::mem::replace(&mut self.members[0].endpoint, format!("http://{ip}:2379"));
        self.members[0].start();
        so(self.options()).await;
        self.members[0].end();
        self.members[0].endpoint = usual;
    }

    fn at(&mut self, endpoint: &str) -> &mut Member {
        self.members.iter_mut().find(|member| member.endpoint == endpoint).expect("a member is there")
    }
}

impl Member {
    fn start(&mut self) {
        let process = Command::new(&*BINARY)
            .args(&self.arguments)
            .arg(format!("--data-dir={}", self.folder.path().display()))
            .arg(format!("--listen-client-urls={}", self.endpoint))
            .arg(format!("--advertise-client-urls={}", self.endpoint))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.unwrap_or_else(|error| panic!("start etcd at {}: {error}", self.ip)));
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(process.id()).expect("pids are small"));
        kill(pid, signal).expect("signal etcd");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}

/// A store with these options, once etcd answers it.
pub(crate) async fn ready(options: &EtcdOptions) -> EtcdStore {
    let ready = async {
        let store = EtcdStore::connect(options).await.expect("the options are good");
        while store.read(Room::All).await.is_err() {}
        store
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("etcd is ready")
}

/// Makes etcd forget what came before a revision.
pub(crate) async fn compact(endpoints: &[String], at: Revision) {
    let mut client = etcd_client::Client::connect(endpoints, None).await.expect("connect");
    client.compact(at.0, None).await.expect("compact");
}

/// A loopback address that no other test of this machine uses now, so that ports need no search.
pub(crate) fn address() -> Ipv4Addr {
    static STARTED: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, STARTED.fetch_add(1, Ordering::Relaxed))
}

static BINARY: LazyLock<String> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/parts");
    let output =
        Command::new(script).arg("etcd").stderr(Stdio::inherit()).output().expect("run scripts/parts");
    assert!(output.status.success(), "scripts/parts etcd failed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
});
