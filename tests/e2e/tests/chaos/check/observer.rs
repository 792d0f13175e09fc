//! I4: what each replica serves, as a node sees it that can reach no other replica.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use futures::future::join_all;
use tonic::transport::Endpoint;
use zenvoy_controller::translate::type_url;
use zenvoy_e2e::process::Process;
use zenvoy_e2e::zenvoy::Fleet;
use zenvoy_e2e::{parts, until};
use zenvoy_shared::proto::HELD_UPSTREAM;
use zenvoy_xds::client::{ClientState, Handler, Names, run_stream};
use zenvoy_xds::core::TypeUrl;

/// Everything that nodes are served.
const TYPES: [&str; 5] =
    [type_url::CLUSTER, type_url::ENDPOINTS, type_url::LISTENER, type_url::ROUTES, HELD_UPSTREAM];

/// All resources of a replica: type and name, and the bytes.
type Served = BTreeMap<(String, String), Vec<u8>>;

/// A proxy without an Envoy, that has one controller only.
struct Observer {
    name: String,
    proxy: Process,
    beside: SocketAddr,
}

/// Waits until all replicas serve the same, and says what differs if that does not come.
pub(super) async fn found(fleet: &Fleet) -> Vec<String> {
    let mut observers: Vec<Observer> =
        (0..fleet.controllers.len()).map(|number| Observer::start(fleet, number)).collect();
    let mut differences = Vec::new();
    for _ in 0..10 {
        let served = join_all(observers.iter().map(Observer::served)).await;
        differences = served.windows(2).flat_map(|pair| differing(&pair[0], &pair[1])).collect();
        if differences.is_empty() {
            break;
        }
    }
    join_all(observers.iter_mut().map(|observer| observer.proxy.terminate())).await;
    differences.iter().map(|name| format!("I4: replicas serve {name:?} differently")).collect()
}

fn differing(one: &Served, other: &Served) -> BTreeSet<(String, String)> {
    let names = one.keys().chain(other.keys());
    names.filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

impl Observer {
    fn start(fleet: &Fleet, number: usize) -> Self {
        let (name, port) =
            (format!("observer-{}", number + 1), 19_000 + 10 * u16::try_from(number).expect("few"));
        let beside = SocketAddr::from(([127, 0, 0, 1], port));
        let flags = [
            "proxy".to_owned(),
            format!("--node={name}"),
            format!("--controllers=http://{}", fleet.controllers[number].address()),
            // Nothing is ever sent to it.
            "--mode=tproxy".into(),
            "--rules=none".into(),
            format!("--tproxy-port={}", port + 1),
            format!("--envoy-listen={beside}"),
            "--admin=none".into(),
            "--goodbye=always".into(),
            "--plaintext".into(),
        ];
        let log: &Path = &fleet.folder.log(&name);
        Self { proxy: Process::start(&parts::zenvoy(), flags, &[], log), name, beside }
    }

    /// Everything that its controller serves now.
    async fn served(&self) -> Served {
        until::some(&format!("{} is served everything", self.name), async || {
            let channel =
                Endpoint::from_shared(format!("http://{}", self.beside)).expect("a URL").connect().await;
            let node = Node { id: self.name.clone(), ..Node::default() };
            let mut state =
                TYPES.into_iter().fold(ClientState::new(node), |state, of| state.watch(of, Names::All));
            let mut seen = Seen::default();
            // A stream has no end of its own.
            let whole = tokio::time::timeout(Duration::from_secs(2), async {
                run_stream(channel.ok()?, &mut state, &mut seen).await.ok()
            });
            let _ = whole.await;
            (seen.answered.len() == TYPES.len()).then_some(seen.served)
        })
        .await
    }
}

#[derive(Default)]
struct Seen {
    served: Served,
    answered: BTreeSet<String>,
}

impl Handler for Seen {
    fn set(&mut self, type_url: &TypeUrl, name: &str, content: &[u8]) -> Result<(), String> {
        self.served.insert((type_url.to_string(), name.to_owned()), content.to_vec());
        Ok(())
    }

    fn remove(&mut self, type_url: &TypeUrl, name: &str) {
        self.served.remove(&(type_url.to_string(), name.to_owned()));
    }

    fn done(&mut self, type_url: &TypeUrl) {
        self.answered.insert(type_url.to_string());
    }
}
