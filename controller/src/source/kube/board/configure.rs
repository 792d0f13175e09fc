//! One Service with everything that configures it -> what is in effect for each of its ports, and what to say on each
//! object. Pure.

use std::collections::BTreeMap;

use zenvoy_shared::id::{UpstreamId, WorkloadId};

use super::super::config::{Configured, Port};
use super::super::good::{Good, LastGood};
use super::super::keep::{Key, Service, Upstream};
use super::super::notice::{ACCEPTED, ObjectId, ObjectKind, TARGET_RESOLVED};
use super::super::target::{Catalog, short};
use crate::model::{Condition, Problem, Target, UpstreamFacts};

/// What is in effect for one upstream.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Effective {
    pub(super) good: Good,
    pub(super) facts: UpstreamFacts,
    /// Whose configuration it is.
    pub(super) origin: ObjectId,
}

/// One Service and what there is to know about it.
pub(super) struct Given<'a> {
    pub(super) key: &'a Key,
    pub(super) service: Option<&'a Service>,
    /// All of this Service, in any order.
    pub(super) upstreams: Vec<(&'a Key, &'a Upstream)>,
    /// What has been in effect.
    pub(super) before: &'a BTreeMap<UpstreamId, Effective>,
    pub(super) catalog: Catalog<'a>,
}

/// What follows.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) in_effect: BTreeMap<UpstreamId, Effective>,
    pub(super) said: BTreeMap<ObjectId, Said>,
}

/// What to say on one object.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) conditions: Vec<Condition>,
    pub(super) last_good: Option<String>,
}

/// One object's configuration of the Service.
struct Claim<'a> {
    origin: ObjectId,
    created: i64,
    /// The ports of the Service that it is for.
    ports: Vec<&'a Port>,
    missing: Vec<u16>,
    config: Result<&'a Configured, Problem>,
    last_good: Option<&'a LastGood>,
    lost: Vec<(u16, ObjectId)>,
    unresolved: Option<Problem>,
    kept: BTreeMap<u16, Good>,
    effective: usize,
}

/// Settles it. An `Upstream` wins over annotations, the older `Upstream` over the younger; an invalid one counts only where
/// it has been in effect.
pub(super) fn configure(given: &Given<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut claims = claims(given);
    let ports: &[Port] = given.service.map_or(&[], |service| &service.ports);
    for port in ports {
        let id = UpstreamId::new(&given.key.namespace, &given.key.name, port.number);
        let mut covering = claims.iter_mut().filter(|claim| claim.ports.contains(&port));
        let Some(winner) =
            covering.find(|claim| claim.config.is_ok() || known_good(claim, &id, given).is_some())
        else {
            continue;
        };
        let origin = winner.origin.clone();
        if let Some(effective) = effective(winner, port, &id, given) {
            outcome.in_effect.insert(id, effective);
        }
        for loser in claims.iter_mut().filter(|claim| claim.ports.contains(&port) && claim.origin != origin) {
            loser.lost.push((port.number, origin.clone()));
        }
    }
    outcome.said = claims.into_iter().map(|claim| (claim.origin.clone(), claim.say(given))).collect();
    outcome
}

fn claims<'a>(given: &Given<'a>) -> Vec<Claim<'a>> {
    let ports: &[Port] = given.service.map_or(&[], |service| &service.ports);
    let mut upstreams = given.upstreams.clone();
    upstreams.sort_by_key(|(key, upstream)| (upstream.created, *key));
    let mut claims: Vec<Claim<'a>> = upstreams
        .into_iter()
        .map(|(key, upstream)| {
            let missing =
                upstream.ports.iter().filter(|number| ports.iter().all(|port| port.number != **number));
            Claim {
                missing: missing.copied().collect(),
                ..claim(
                    ObjectId::upstream(key.clone()),
                    upstream.created,
                    ports.iter().filter(|port| upstream.covers(port.number)).collect(),
                    upstream.config.as_ref().map_err(Clone::clone),
                    upstream.last_good.as_ref(),
                )
            }
        })
        .collect();
    if let Some(service) = given.service
        && let Some(config) = &service.config
    {
        let config = config.as_ref().map_err(Clone::clone);
        let origin = ObjectId::service(given.key.clone());
        claims.push(claim(
            origin,
            service.created,
            ports.iter().collect(),
            config,
            service.last_good.as_ref(),
        ));
    }
    if given.service.is_some_and(|service| service.external) {
        claims.iter_mut().for_each(|claim| claim.ports.clear());
    }
    claims
}

fn claim<'a>(
    origin: ObjectId,
    created: i64,
    ports: Vec<&'a Port>,
    config: Result<&'a Configured, Problem>,
    last_good: Option<&'a LastGood>,
) -> Claim<'a> {
    let config = config.and_then(|config| config.fits(ports.len()).map(|()| config));
    let (missing, lost, kept) = (Vec::new(), Vec::new(), BTreeMap::new());
    Claim { origin, created, ports, missing, config, last_good, lost, unresolved: None, kept, effective: 0 }
}

/// What this object had in effect: as remembered, else as kept on the object.
fn known_good<'a>(claim: &Claim<'a>, id: &UpstreamId, given: &Given<'a>) -> Option<&'a Good> {
    let remembered = given.before.get(id).filter(|before| before.origin == claim.origin);
    remembered.map(|before| &before.good).or_else(|| claim.last_good?.get(id.port))
}

fn effective(claim: &mut Claim<'_>, port: &Port, id: &UpstreamId, given: &Given<'_>) -> Option<Effective> {
    let before = known_good(claim, id, given);
    let mut good = match &claim.config {
        Ok(config) => {
            let target =
                before.filter(|before| before.choice == config.choice).and_then(|good| good.target.clone());
            Good { spec: config.spec(port, &claim.ports), choice: config.choice.clone(), target }
        }
        Err(_) => before?.clone(),
    };
    let target = match given.catalog.resolve(&good.choice, given.key, given.service?) {
        Ok(workload) => {
            good.target = Some(workload.clone());
            Target::Workload(workload)
        }
        Err(unresolved) => {
            match good.target.clone().filter(|target| unresolved.candidates.contains(target)) {
                // A second candidate that appears must not take a working service down.
                Some(target) => {
                    claim.unresolved = Some(Problem {
                        message: format!(
                            "{}; {} stays the target until then",
                            unresolved.problem.message,
                            short(&target)
                        ),
                        ..unresolved.problem
                    });
                    claim.kept.insert(port.number, good.clone());
                    Target::Workload(target)
                }
                None => {
                    claim.unresolved = Some(unresolved.problem.clone());
                    Target::Unresolved(unresolved.problem)
                }
            }
        }
    };
    if claim.config.is_err() {
        claim.kept.insert(port.number, good.clone());
    }
    claim.effective += 1;
    let facts = UpstreamFacts { spec: good.spec.clone(), target, created: claim.created };
    Some(Effective { good, facts, origin: claim.origin.clone() })
}

impl Claim<'_> {
    fn say(self, given: &Given<'_>) -> Said {
        let accepted = self.fault(given);
        let mut conditions = vec![condition(ACCEPTED, accepted, "Valid", "the configuration is in effect")];
        if self.effective > 0 {
            conditions.push(condition(
                TARGET_RESOLVED,
                self.unresolved,
                "Resolved",
                "exactly one workload is the target",
            ));
        }
        let kept = LastGood::of(self.kept);
        Said { conditions, last_good: (!kept.is_empty()).then(|| kept.text()) }
    }

    /// The first reason why this does not count as it is written.
    fn fault(&self, given: &Given<'_>) -> Option<Problem> {
        let problem = |reason: &str, message: String| Some(Problem { reason: reason.into(), message });
        let key = given.key;
        if let Err(fault) = &self.config {
            let effect = if self.effective > 0 {
                "the last good configuration stays in effect"
            } else {
                "nothing is configured by it"
            };
            return problem(&fault.reason, format!("{}; {effect}", fault.message));
        }
        match given.service {
            None => {
                return problem(
                    "ServiceMissing",
                    format!("Service {key} does not exist; create it or name another"),
                );
            }
            Some(service) if service.external => {
                return problem(
                    "ServiceHasNoPods",
                    format!("Service {key} is an ExternalName: there are no pods to scale"),
                );
            }
            Some(service) if service.ports.is_empty() => {
                return problem("NoTcpPort", format!("Service {key} has no TCP port"));
            }
            Some(_) => {}
        }
        if !self.missing.is_empty() {
            return problem(
                "PortMissing",
                format!("Service {key} has no TCP port {}", numbers(&self.missing)),
            );
        }
        let (_, winner) = self.lost.first()?;
        let ports: Vec<u16> = self.lost.iter().map(|(port, _)| *port).collect();
        let ports = numbers(&ports);
        match self.origin.kind {
            ObjectKind::Service => problem(
                "Overridden",
                format!(
                    "Upstream {} configures port {ports}; the annotations do not count for it",
                    winner.key
                ),
            ),
            ObjectKind::Upstream => problem(
                "Conflict",
                format!("the older Upstream {} configures port {ports} of Service {key}", winner.key),
            ),
        }
    }
}

fn numbers(ports: &[u16]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn condition(kind: &'static str, fault: Option<Problem>, reason: &str, message: &str) -> Condition {
    let holds = fault.is_none();
    let fine = || Problem { reason: reason.into(), message: message.into() };
    Condition { kind, holds, problem: fault.unwrap_or_else(fine) }
}

/// The workload that is in effect behind an upstream.
pub(super) fn workload(effective: &Effective) -> Option<&WorkloadId> {
    match &effective.facts.target {
        Target::Workload(workload) => Some(workload),
        Target::Unresolved(_) => None,
    }
}
