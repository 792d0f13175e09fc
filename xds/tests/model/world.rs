//! Two replicas, four clients, and the wires between them, on which requests and responses wait to be delivered.

use std::collections::{BTreeMap, BTreeSet};

use zenvoy_xds::core::{Change, Hub, Limits, StreamId, Variant};

use crate::delta::DeltaClient;
use crate::sotw::SotwClient;

pub(crate) const KINDS: [&str; 3] = [
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
];

pub(crate) const CLIENTS: usize = 4;

/// Clients refuse this content.
pub(crate) fn is_bad(content: &[u8]) -> bool {
    content.ends_with(b"=0")
}

/// The name of a resource, by its content.
pub(crate) fn name_of(content: &[u8]) -> String {
    String::from_utf8_lossy(content).split('=').next().unwrap_or_default().to_owned()
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Subscribe {
        client: usize,
        kind: usize,
        name: usize,
    },
    Unsubscribe {
        client: usize,
        kind: usize,
        name: usize,
    },
    Everything {
        client: usize,
        kind: usize,
    },
    NotEverything {
        client: usize,
        kind: usize,
    },
    /// Content 0 is refused by clients.
    Change {
        replica: usize,
        kind: usize,
        name: usize,
        content: Option<u8>,
    },
    /// The server may send one response to the client.
    Send {
        client: usize,
    },
    /// The server reads one request of the client.
    Hear {
        client: usize,
    },
    /// The client reads one response.
    Read {
        client: usize,
    },
    /// The client's stream breaks; it comes back to this replica.
    Move {
        client: usize,
        replica: usize,
    },
}

/// What a client wants of a type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) everything: bool,
    pub(crate) names: BTreeSet<String>,
}

impl Wanted {
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.everything || self.names.contains(name)
    }
}

/// A client of either variant, at its end of the wire.
pub(crate) trait Model {
    fn variant(&self) -> Variant;
    /// What it wants has changed.
    fn want(&mut self, kind: usize, wanted: Wanted);
    /// A new stream begins.
    fn open(&mut self);
    /// The server takes in the next request, if there is one.
    fn hear(&mut self, hub: &mut Hub, id: StreamId) -> bool;
    /// The server sends, if it has something to say.
    fn send(&mut self, hub: &mut Hub, id: StreamId) -> bool;
    /// The client takes in the next response, if there is one.
    fn read(&mut self) -> bool;
    /// Whether it holds what it should, given what is served.
    fn check(&self, kind: usize, served: &BTreeMap<String, Vec<u8>>);
}

struct Client {
    model: Box<dyn Model>,
    wanted: [Wanted; 3],
    replica: usize,
    id: StreamId,
}

pub(crate) struct World {
    hubs: [Hub; 2],
    served: [[BTreeMap<String, Vec<u8>>; 3]; 2],
    clients: Vec<Client>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut hubs = [(); 2].map(|()| Hub::new(Limits::default(), String::new()));
        let models: [Box<dyn Model>; CLIENTS] = [
            Box::new(DeltaClient::new(false)),
            Box::new(DeltaClient::new(true)),
            Box::new(SotwClient::new(false)),
            Box::new(SotwClient::new(true)),
        ];
        let clients = models.into_iter().enumerate().map(|(n, model)| {
            let id = hubs[0].open(format!("node-{n}").into(), model.variant(), None).expect("room");
            Client { model, wanted: Default::default(), replica: 0, id }
        });
        let clients = clients.collect();
        Self { hubs, served: Default::default(), clients }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match *step {
            Step::Subscribe { client, kind, name } => {
                self.want(client, kind, |wanted| {
                    wanted.names.insert(format!("r{name}"));
                });
            }
            Step::Unsubscribe { client, kind, name } => {
                self.want(client, kind, |wanted| {
                    wanted.names.remove(&format!("r{name}"));
                });
            }
            Step::Everything { client, kind } => {
                self.want(client, kind, |wanted| wanted.everything = true);
            }
            Step::NotEverything { client, kind } => {
                self.want(client, kind, |wanted| wanted.everything = false);
            }
            Step::Change { replica, kind, name, content } => {
                let content = content.map(|content| format!("r{name}={content}").into_bytes());
                self.change(replica, kind, &format!("r{name}"), content);
            }
            Step::Send { client } => {
                let Client { model, replica, id, .. } = &mut self.clients[client];
                model.send(&mut self.hubs[*replica], *id);
            }
            Step::Hear { client } => {
                let Client { model, replica, id, .. } = &mut self.clients[client];
                model.hear(&mut self.hubs[*replica], *id);
            }
            Step::Read { client } => {
                self.clients[client].model.read();
            }
            Step::Move { client, replica } => {
                let moving = &mut self.clients[client];
                self.hubs[moving.replica].close(moving.id);
                let node = format!("node-{client}").into();
                moving.replica = replica;
                moving.id = self.hubs[replica].open(node, moving.model.variant(), None).expect("room");
                moving.model.open();
            }
        }
    }

    fn want(&mut self, client: usize, kind: usize, change: impl FnOnce(&mut Wanted)) {
        let Client { model, wanted, .. } = &mut self.clients[client];
        change(&mut wanted[kind]);
        model.want(kind, wanted[kind].clone());
    }

    fn change(&mut self, replica: usize, kind: usize, name: &str, content: Option<Vec<u8>>) {
        match content {
            Some(content) => {
                self.served[replica][kind].insert(name.to_owned(), content.clone());
                self.hubs[replica].apply([Change::set(KINDS[kind], name, content)]);
            }
            None => {
                self.served[replica][kind].remove(name);
                self.hubs[replica].apply([Change::remove(KINDS[kind], name)]);
            }
        }
    }

    /// The replicas come to serve the same, and everything that is on its way arrives. Bad routes are mended: clusters are
    /// kept for as long as routes that were refused may need them.
    pub(crate) fn settle(&mut self) {
        let bad = self.served[0][2].iter().filter(|(_, content)| is_bad(content));
        let bad: Vec<String> = bad.map(|(name, _)| name.clone()).collect();
        for name in bad {
            self.change(0, 2, &name, Some(format!("{name}=9").into_bytes()));
        }
        let target = self.served[0].clone();
        for (kind, served) in target.iter().enumerate() {
            let names: BTreeSet<String> = served.keys().chain(self.served[1][kind].keys()).cloned().collect();
            for name in names {
                self.change(1, kind, &name, served.get(&name).cloned());
            }
        }
        for _ in 0..10_000 {
            let mut moved = false;
            for Client { model, replica, id, .. } in &mut self.clients {
                let hub = &mut self.hubs[*replica];
                moved |= model.hear(hub, *id);
                moved |= model.send(hub, *id);
                moved |= model.read();
            }
            if !moved {
                return;
            }
        }
        panic!("it never ends");
    }

    pub(crate) fn check(&self) {
        for Client { model, replica, id, .. } in &self.clients {
            let unsettled: usize = self.hubs[*replica].types(*id).iter().map(|status| status.unsettled).sum();
            assert_eq!(unsettled, 0, "something still waits to be sent");
            for (kind, served) in self.served[*replica].iter().enumerate() {
                model.check(kind, served);
            }
        }
    }

    /// All clients leave and all content goes.
    pub(crate) fn end(mut self) {
        for Client { replica, id, .. } in self.clients.drain(..) {
            self.hubs[replica].close(id);
        }
        for replica in 0..2 {
            for kind in 0..3 {
                let names: Vec<String> = self.served[replica][kind].keys().cloned().collect();
                names.iter().for_each(|name| self.change(replica, kind, name, None));
            }
            assert!(self.hubs[replica].is_empty(), "state of the dead is kept");
        }
    }
}
