//! What nodes refuse of what they are served: told to all replicas through the store, so that the leader tells people
//! whichever replica the node is at, and offered again, ever more rarely, since its cause may lie outside of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Map;
use zenvoy_shared::id::{NodeId, UpstreamId};

use super::core::{Core, Later};
use super::event::{Effect, Resource};
use super::sessions::put_leased;
use crate::execute::{Job, Subject};
use crate::model::{Problem, Refusal, Refusals};
use crate::store::{Key, Txn, Write, encode};
use crate::translate::Part;

/// What is refused is told to others at most this often.
pub(super) const TOLD_PAUSE: Duration = Duration::from_millis(100);
/// The first wait before a refused resource is offered again; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So many refusals are told to others; a person needs fewer to see what is wrong.
const MOST: usize = 64;

/// What is refused, as far as this replica knows.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// By the nodes with a session here, each with its words.
    nodes: BTreeMap<NodeId, BTreeMap<Resource, String>>,
    /// How many times each resource was offered again.
    offered: BTreeMap<Resource, u32>,
    /// What follows for upstreams from what the nodes of all replicas refuse.
    pub(super) upstreams: BTreeMap<UpstreamId, Problem>,
}

impl Refused {
    fn is_refused(&self, resource: &Resource) -> bool {
        self.nodes.values().any(|refused| refused.contains_key(resource))
    }
}

impl Core {
    /// This is everything that a node refuses now.
    pub(super) fn refuses(&mut self, node: NodeId, refused: BTreeMap<Resource, String>) {
        let resources: Vec<Resource> = refused.keys().cloned().collect();
        // A word that comes after the end of the session is about nothing.
        if refused.is_empty() || !self.sessions.contains_key(&node) {
            self.refused.nodes.remove(&node);
        } else {
            self.refused.nodes.insert(node, refused);
        }
        for resource in resources {
            if !self.refused.offered.contains_key(&resource) && self.refused.is_refused(&resource) {
                self.refused.offered.insert(resource.clone(), 0);
                self.later.by(Later::Refused(resource), self.now.moment.after(FIRST_PAUSE));
            }
        }
        self.look(&Subject::Refusals);
    }

    /// The wait of a refused resource is over.
    pub(super) fn offer_again(&mut self, resource: Resource) {
        if !self.serves(&resource) {
            self.refused.nodes.values_mut().for_each(|refused| drop(refused.remove(&resource)));
            self.look(&Subject::Refusals);
        }
        if !self.refused.is_refused(&resource) {
            self.refused.offered.remove(&resource);
            return;
        }
        let offered = self.refused.offered.entry(resource.clone()).or_default();
        *offered = offered.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << (*offered).min(16)).min(LONGEST_PAUSE);
        self.later.by(Later::Refused(resource.clone()), self.now.moment.after(pause));
        self.effect(Effect::OfferAgain(resource));
    }

    /// Writes what the nodes here refuse.
    pub(super) fn tell_refusals(&mut self) -> Option<Job> {
        let all = self.refused.nodes.iter().flat_map(|(node, refused)| {
            refused.iter().map(|(resource, message)| Refusal {
                type_url: resource.type_url.to_string(),
                name: resource.name.to_string(),
                node: node.clone(),
                message: message.clone(),
            })
        });
        let refusals = Refusals { refused: all.take(MOST).collect(), unknown: Map::new() };
        let known = self.records.refusals.get(&self.options.me.id).map(|known| &known.record);
        let told = known.map_or(refusals.refused.is_empty(), |known| *known == refusals);
        if told || !self.is_registered() {
            return None;
        }
        let key = Key::Refusals(self.options.me.id.clone());
        let write = if refusals.refused.is_empty() {
            Write::Delete(key)
        } else {
            put_leased(key, encode(&refusals), self.lease?)
        };
        Self::job(Subject::Refusals, Txn { writes: vec![write], ..Txn::default() })
    }

    /// What nodes refuse, or what is configured, has changed: whom it concerns.
    pub(super) fn look_at_refusals(&mut self) {
        let records = self.records.refusals.values().flat_map(|record| &record.record.refused);
        let refusals: Vec<(Part, &Refusal)> = records
            .filter_map(|refusal| Some((Part::of(&refusal.type_url, &refusal.name)?, refusal)))
            .collect();
        let mut upstreams = BTreeMap::new();
        for (id, facts) in self.inventory.upstreams().iter().filter(|_| !refusals.is_empty()) {
            let concerns = refusals.iter().find(|(part, _)| part.serves(id, &facts.spec));
            upstreams.extend(concerns.map(|(part, refusal)| (id.clone(), problem(part, refusal))));
        }
        let old = std::mem::replace(&mut self.refused.upstreams, upstreams);
        let new = &self.refused.upstreams;
        let ids = old.keys().chain(new.keys().filter(|id| !old.contains_key(*id)));
        let changed: Vec<UpstreamId> = ids.filter(|id| old.get(*id) != new.get(*id)).cloned().collect();
        changed.iter().for_each(|id| self.report_upstream(id));
    }
}

fn problem(part: &Part, refusal: &Refusal) -> Problem {
    let Refusal { node, message, .. } = refusal;
    Problem {
        reason: "RefusedByEnvoy".into(),
        message: format!(
            "node {node} does not take {part}: {message}. It is offered again, ever more rarely; {}",
            part.remedy()
        ),
    }
}
