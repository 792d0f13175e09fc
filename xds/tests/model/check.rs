//! What must be true of a client, on the way and in the end.

use zenvoy_xds::core::{Hub, TypeUrl, Variant};

use crate::resources::{CLUSTERS, ENDPOINTS, KINDS, ROUTES, Served, is_bad, is_full, names, used_by};
use crate::world::Client;

/// Make before break: what the last response took from the client is used by none of its routes, and the routes that it
/// brought use nothing that the client lacks. Separate streams have no
/// order; a client of the state of the world that was away cannot say what it had, nor be told that routes are gone.
pub(crate) fn breaks_nothing(client: &Client, served: &Served) {
    let sotw = client.model.variant() == Variant::StateOfTheWorld;
    if client.model.habits().separate || sotw && client.moved {
        return;
    }
    if let Some(cluster) = client.model.lacking().into_iter().flatten().next() {
        panic!("{}: it is sent routes to {cluster}, which it lacks", client.node);
    }
    for (name, route) in client.model.holds(ROUTES) {
        let used = used_by(route).filter(|cluster| client.model.lost().contains(cluster));
        if let Some(cluster) = used
            && !(sotw && served.unserved.contains(name))
        {
            panic!("{}: {cluster} is gone and route {name} uses it", client.node);
        }
    }
}

/// What the server says that the client has applied it holds.
pub(crate) fn holds_what_it_acknowledged(client: &Client, hub: &Hub, served: &Served) {
    if !client.model.is_quiet() {
        return;
    }
    for (kind, type_url) in KINDS.iter().enumerate() {
        for name in names() {
            let (serves, has) = (served.of(kind).get(&name), client.model.holds(kind).get(&name));
            if is_told(client, kind, serves.is_some()) && is_acked(client, hub, kind, &name) {
                assert_eq!(has, serves, "{}: {type_url} {name} is said to be applied", client.node);
            }
        }
    }
}

/// The client holds what it wants and is served, but for what is bad, and the server knows.
pub(crate) fn is_done(client: &Client, hub: &Hub, served: &Served) {
    for stream in client.streams {
        let unsettled: usize = hub.types(stream).iter().map(|status| status.unsettled).sum();
        assert_eq!(unsettled, 0, "{}: something still waits to be sent", client.node);
    }
    has_warmed(client, served);
    for (kind, type_url) in KINDS.iter().enumerate() {
        let wanted = &client.wanted[kind];
        let any_bad = served.of(kind).iter().any(|(name, content)| wanted.wants(name) && is_bad(content));
        let sotw = client.model.variant() == Variant::StateOfTheWorld;
        if sotw && any_bad && (is_full(kind) || wanted.everything) {
            // It refuses every full state, of which it may have applied parts.
            assert!(!client.model.habits().partial || holds_the_good(client, kind, served));
            continue;
        }
        for name in names() {
            let serves = served.of(kind).get(&name).filter(|_| wanted.wants(&name));
            let has = client.model.holds(kind).get(&name);
            let what = format!("{}: {type_url} {name}", client.node);
            if serves.is_some_and(|content| is_bad(content)) {
                assert!(!is_acked(client, hub, kind, &name), "{what} was refused");
            } else if is_told(client, kind, serves.is_some()) {
                assert_eq!(has, serves, "{what}");
                assert_eq!(is_acked(client, hub, kind, &name), wanted.wants(&name), "{what}");
            }
        }
    }
}

/// A cluster that has changed was sent its endpoints again, if the client wants them and takes them. Separate streams do not
/// know of each other.
fn has_warmed(client: &Client, served: &Served) {
    let (clusters, endpoints) = (client.model.holds(CLUSTERS), served.of(ENDPOINTS));
    for name in client.model.warming().iter().filter(|name| clusters.contains_key(*name)) {
        let wants = !client.model.habits().separate && client.wanted[ENDPOINTS].wants(name);
        if wants && endpoints.get(name).is_some_and(|content| !is_bad(content)) {
            assert!(is_refusing(client, served), "{}: {name} warms for ever", client.node);
        }
    }
}

/// It refuses every full state of endpoints, for one in it is bad.
fn is_refusing(client: &Client, served: &Served) -> bool {
    let wanted = &client.wanted[ENDPOINTS];
    let any_bad = || served.of(ENDPOINTS).values().any(|content| is_bad(content));
    client.model.variant() == Variant::StateOfTheWorld && wanted.everything && any_bad()
}

fn holds_the_good(client: &Client, kind: usize, served: &Served) -> bool {
    let wanted = served.of(kind).iter().filter(|(name, _)| client.wanted[kind].wants(name));
    let mut good = wanted.filter(|(_, content)| !is_bad(content));
    good.all(|(name, content)| client.model.holds(kind).get(name) == Some(content))
}

fn is_acked(client: &Client, hub: &Hub, kind: usize, name: &str) -> bool {
    let type_url = TypeUrl::from(KINDS[kind]);
    hub.is_acked(&client.node, &type_url, name, hub.changed_at(&type_url, name))
}

/// In state of the world a removal cannot be told but by a full state.
fn is_told(client: &Client, kind: usize, served: bool) -> bool {
    served || is_full(kind) || client.model.variant() == Variant::Delta
}
