//! Two replicas, their clients, and the wires between them, on which requests and responses wait to be delivered.

use std::collections::{BTreeMap, BTreeSet};

use zenvoy_xds::core::{Hub, Limits, StreamId, Variant};

use crate::check;
use crate::delta::DeltaClient;
use crate::resources::{KINDS, NAMES, Served};
use crate::sotw::SotwClient;

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
    /// Wants these names from now on, as bits.
    Names {
        client: usize,
        kind: usize,
        names: u8,
    },
    Everything {
        client: usize,
        kind: usize,
    },
    NotEverything {
        client: usize,
        kind: usize,
    },
    /// Sets a resource, or removes it.
    Change {
        replica: usize,
        kind: usize,
        name: usize,
        content: Option<u8>,
    },
    /// As [`Step::Change`], of several at once.
    Changes {
        replica: usize,
        kind: usize,
        contents: [Option<Option<u8>>; NAMES],
    },
    /// The other replica comes to serve what this one serves.
    Same {
        from: usize,
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
    /// All three, in turn.
    RoundTrips {
        client: usize,
        times: usize,
    },
    /// Until there is nothing more to say.
    Rest {
        client: usize,
    },
    /// The client's streams break; it comes back to this replica.
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

/// How a client speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Applies the good resources of a response that it refuses, as Envoy does with clusters.
    pub(crate) partial: bool,
    /// Asks for everything by a first request without names, where that means everything.
    pub(crate) legacy: bool,
    /// Has a stream of its own for each type, on which it does not name the type.
    pub(crate) separate: bool,
}

/// A client of either variant, at its end of the wire.
pub(crate) trait Model {
    fn variant(&self) -> Variant;
    fn habits(&self) -> Habits;
    /// What it wants has changed; `false`: it cannot say so.
    fn want(&mut self, kind: usize, wanted: Wanted) -> bool;
    /// New streams begin.
    fn open(&mut self);
    /// The server takes in the next request, if there is one. One stream of each kind, which may be the same.
    fn hear(&mut self, hub: &mut Hub, streams: &[StreamId; 4]) -> bool;
    /// The server sends, if it has something to say.
    fn send(&mut self, hub: &mut Hub, streams: &[StreamId; 4]) -> bool;
    /// The client takes in the next response, if there is one.
    fn read(&mut self) -> bool;
    /// Nothing is on its way in either direction.
    fn is_quiet(&self) -> bool;
    /// The contents that it holds, by name.
    fn holds(&self, kind: usize) -> &BTreeMap<String, Vec<u8>>;
    /// The clusters that the last response took from it.
    fn lost(&self) -> &BTreeSet<String>;
    /// The clusters that were new or have changed, and whose endpoints have not come since: Envoy waits for these.
    fn warming(&self) -> &BTreeSet<String>;
    /// The clusters that routes of the last response use and that it lacks, though the server could know that it wants them
    /// and it has not refused them. `None`: it does not look.
    fn lacking(&self) -> Option<&BTreeSet<String>> {
        None
    }
}

pub(crate) struct Client {
    pub(crate) model: Box<dyn Model>,
    pub(crate) node: String,
    pub(crate) wanted: [Wanted; 4],
    pub(crate) replica: usize,
    /// It has been on another stream before.
    pub(crate) moved: bool,
    pub(crate) streams: [StreamId; 4],
}

impl Client {
    fn new(number: usize, model: Box<dyn Model>, hub: &mut Hub) -> Self {
        let node = format!("node-{number}");
        let streams = open(hub, &node, &*model);
        Self { model, node, wanted: Default::default(), replica: 0, moved: false, streams }
    }

    fn close(&self, hub: &mut Hub) {
        let streams: BTreeSet<StreamId> = self.streams.into();
        streams.into_iter().for_each(|stream| hub.close(stream));
    }
}

fn open(hub: &mut Hub, node: &str, model: &dyn Model) -> [StreamId; 4] {
    let mut open = |service: Option<&str>| {
        hub.open(node.into(), model.variant(), service.map(Into::into)).expect("room")
    };
    if model.habits().separate { KINDS.map(|kind| open(Some(kind))) } else { [open(None); 4] }
}

pub(crate) const CLIENTS: usize = 8;

fn models() -> [Box<dyn Model>; CLIENTS] {
    let habits = |partial, legacy, separate| Habits { partial, legacy, separate };
    [
        Box::new(DeltaClient::new(habits(false, false, false))),
        Box::new(DeltaClient::new(habits(true, false, false))),
        Box::new(DeltaClient::new(habits(false, true, false))),
        Box::new(DeltaClient::new(habits(true, false, true))),
        Box::new(SotwClient::new(habits(false, false, false))),
        Box::new(SotwClient::new(habits(true, false, false))),
        Box::new(SotwClient::new(habits(false, true, false))),
        Box::new(SotwClient::new(habits(true, false, true))),
    ]
}

pub(crate) struct World {
    pub(crate) hubs: [Hub; 2],
    pub(crate) served: [Served; 2],
    pub(crate) clients: Vec<Client>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut hubs = [(); 2].map(|()| Hub::new(Limits::default(), String::new()));
        let clients = models().into_iter().enumerate();
        let clients = clients.map(|(number, model)| Client::new(number, model, &mut hubs[0])).collect();
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
            Step::Names { client, kind, names } => {
                let names = (0..NAMES).filter(|name| names & (1 << name) != 0);
                self.want(client, kind, |wanted| {
                    wanted.names = names.map(|name| format!("r{name}")).collect();
                });
            }
            Step::Everything { client, kind } => self.want(client, kind, |wanted| wanted.everything = true),
            Step::NotEverything { client, kind } => {
                self.want(client, kind, |wanted| wanted.everything = false);
            }
            Step::Change { replica, kind, name, content } => {
                self.change(replica, kind, vec![(format!("r{name}"), content)]);
            }
            Step::Changes { replica, kind, contents } => {
                let updates = contents.into_iter().enumerate();
                let updates = updates.filter_map(|(name, content)| Some((format!("r{name}"), content?)));
                self.change(replica, kind, updates.collect());
            }
            Step::Same { from } => self.same(from),
            Step::Send { client } => self.deliver_some(client, [false, true, false], 1),
            Step::Hear { client } => self.deliver_some(client, [true, false, false], 1),
            Step::Read { client } => self.deliver_some(client, [false, false, true], 1),
            Step::RoundTrips { client, times } => self.deliver_some(client, [true; 3], times),
            Step::Rest { client } => self.rest(client),
            Step::Move { client, replica } => self.move_to(client, replica),
        }
    }

    fn want(&mut self, client: usize, kind: usize, change: impl FnOnce(&mut Wanted)) {
        let Client { model, wanted, .. } = &mut self.clients[client];
        let mut new = wanted[kind].clone();
        change(&mut new);
        if model.want(kind, new.clone()) {
            wanted[kind] = new;
        }
    }

    fn change(&mut self, replica: usize, kind: usize, updates: Vec<(String, Option<u8>)>) {
        let changes = self.served[replica].change(kind, updates);
        self.hubs[replica].apply(changes);
    }

    fn same(&mut self, from: usize) {
        let whole = self.served[from].clone().replace(&mut self.served[1 - from]);
        self.hubs[1 - from].replace_all(whole);
    }

    fn move_to(&mut self, client: usize, replica: usize) {
        let moving = &mut self.clients[client];
        moving.close(&mut self.hubs[moving.replica]);
        moving.replica = replica;
        moving.moved = true;
        moving.streams = open(&mut self.hubs[replica], &moving.node, &*moving.model);
        moving.model.open();
    }

    fn deliver_some(&mut self, client: usize, what: [bool; 3], times: usize) {
        for _ in 0..times {
            self.deliver(client, what);
        }
    }

    /// Whether anything moved of what is to: requests to the server, responses on the wire, responses to the client.
    fn deliver(&mut self, client: usize, [heard, sent, read]: [bool; 3]) -> bool {
        let Client { model, replica, streams, .. } = &mut self.clients[client];
        let hub = &mut self.hubs[*replica];
        let mut moved = heard && model.hear(hub, streams);
        moved |= sent && model.send(hub, streams);
        let taken = read && model.read();
        let client = &self.clients[client];
        if taken {
            check::breaks_nothing(client, &self.served[client.replica]);
        }
        check::holds_what_it_acknowledged(client, &self.hubs[client.replica], &self.served[client.replica]);
        moved | taken
    }

    fn rest(&mut self, client: usize) {
        let quiet = (0..10_000).any(|_| !self.deliver(client, [true; 3]));
        assert!(quiet, "it never ends");
    }

    /// The replicas come to serve the same, and everything that is on its way arrives. Bad routes and listeners are mended:
    /// clusters are kept for as long as those that were refused may need them.
    pub(crate) fn settle(&mut self) {
        let mended = self.served[0].mend();
        self.hubs[0].apply(mended);
        self.same(0);
        (0..CLIENTS).for_each(|client| self.rest(client));
    }

    pub(crate) fn check(&self) {
        for client in &self.clients {
            check::is_done(client, &self.hubs[client.replica], &self.served[client.replica]);
        }
    }

    /// All clients leave and all content goes.
    pub(crate) fn end(mut self) {
        for client in std::mem::take(&mut self.clients) {
            client.close(&mut self.hubs[client.replica]);
        }
        for mut hub in self.hubs {
            hub.replace_all([]);
            assert!(hub.is_empty(), "state of the dead is kept");
        }
    }
}
