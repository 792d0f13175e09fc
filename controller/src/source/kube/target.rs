//! Which workload an upstream stands on. In: what the user named, if anything, and the workloads there are; out: exactly
//! one, or a problem that names the candidates. Nothing is guessed. Pure.

use std::collections::BTreeMap;

use zenvoy_shared::id::WorkloadId;

use super::keep::{Key, Service, Workload};
use crate::model::Problem;

/// The kinds that are watched as a whole, by the group they are of.
pub(super) const BUILT_IN: [&str; 3] = ["Deployment.apps", "StatefulSet.apps", "ReplicaSet.apps"];

/// What the user says stands behind the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// Nothing: the workload named like the Service, else the one whose pods it selects.
    Default,
    /// A name without a kind: one of the built-in kinds.
    Name(String),
    /// Exactly this: kind with group, and name.
    Exact { kind: String, name: String },
}

impl Choice {
    /// From `name`, `Kind/name` or `Kind.group/name`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.trim().split_once('/') {
            None => is_name(text.trim()).then(|| Self::Name(text.trim().to_owned())),
            Some((kind, name)) if is_name(name) => {
                Some(Self::Exact { kind: kind_with_group(kind)?, name: name.to_owned() })
            }
            Some(_) => None,
        }
    }

    /// As [`Choice::parse`] reads it; nothing for the default.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::Name(name) => Some(name.clone()),
            Self::Exact { kind, name } => Some(format!("{kind}/{name}")),
        }
    }

    /// From the fields of an `Upstream`.
    pub(super) fn of_kind(kind: &str, api_version: Option<&str>, name: &str) -> Option<Self> {
        let kind = match api_version {
            None => kind_with_group(kind)?,
            Some(api_version) => match api_version.split_once('/') {
                Some((group, _)) => kind_with_group(&format!("{kind}.{group}"))?,
                None => kind.to_owned(),
            },
        };
        is_name(name).then(|| Self::Exact { kind, name: name.to_owned() })
    }
}

/// A DNS subdomain, as Kubernetes wants of objects' names.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(allowed)
}

/// `Deployment.apps` from any usual way to write it; other kinds need their group.
fn kind_with_group(kind: &str) -> Option<String> {
    let full = match kind.to_ascii_lowercase().as_str() {
        "deployment" | "deployments" | "deploy" | "deployment.apps" => "Deployment.apps",
        "statefulset" | "statefulsets" | "sts" | "statefulset.apps" => "StatefulSet.apps",
        "replicaset" | "replicasets" | "rs" | "replicaset.apps" => "ReplicaSet.apps",
        "replicationcontroller" | "replicationcontrollers" | "rc" => "ReplicationController",
        _ => {
            let (name, group) = kind.split_once('.')?;
            let is_kind = name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return (is_kind && is_name(group)).then(|| kind.to_owned());
        }
    };
    Some(full.to_owned())
}

/// What is known of a kind that is not built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KindState {
    /// The API server serves it with a scale subresource.
    Scalable,
    /// It does not.
    Unusable(Problem),
}

/// Where targets are looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Catalog<'a> {
    pub(super) workloads: &'a BTreeMap<WorkloadId, Workload>,
    pub(super) kinds: &'a BTreeMap<String, KindState>,
}

/// No single workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unresolved {
    pub(super) problem: Problem,
    /// Several could be meant.
    pub(super) candidates: Vec<WorkloadId>,
}

impl Catalog<'_> {
    /// The workload that `choice` means for `service`.
    pub(super) fn resolve(
        &self,
        choice: &Choice,
        key: &Key,
        service: &Service,
    ) -> Result<WorkloadId, Unresolved> {
        match choice {
            Choice::Exact { kind, name } => self.exact(kind, name, key),
            Choice::Name(name) => single(self.named(key, name), key, || {
                not_found(format!(
                    "no Deployment, StatefulSet or ReplicaSet named {name:?} is in namespace {}; create it, or name \
                     another kind as Kind.group/{name}",
                    key.namespace
                ))
            }),
            Choice::Default => self.default(key, service),
        }
    }

    /// An object that does not exist is still the target: it may come.
    fn exact(&self, kind: &str, name: &str, key: &Key) -> Result<WorkloadId, Unresolved> {
        match self.kinds.get(kind) {
            Some(KindState::Unusable(problem)) => {
                Err(Unresolved { problem: problem.clone(), candidates: Vec::new() })
            }
            Some(KindState::Scalable) | None => Ok(WorkloadId::new(&key.namespace, kind, name)),
        }
    }

    /// One of the Service's name counts if its pods are the Service's, or if the Service does not say which are.
    fn default(&self, key: &Key, service: &Service) -> Result<WorkloadId, Unresolved> {
        let is_meant = |id: &WorkloadId| {
            let labels = self.workloads.get(id).map(|workload| &workload.labels);
            service.selector.is_empty() || labels.is_some_and(|labels| service.selects(labels))
        };
        let mut found = self.named(key, &key.name);
        found.retain(is_meant);
        if found.is_empty() {
            found = self.selected(key, service);
        }
        single(found, key, || not_found(self.nothing_by_default(key, service)))
    }

    fn nothing_by_default(&self, key: &Key, service: &Service) -> String {
        if service.selector.is_empty() {
            return format!("no workload is named {key} and the Service has no selector; name the target");
        }
        let owner = self.in_namespace(&key.namespace).find_map(|(id, workload)| {
            let controller = workload.controller.as_ref()?;
            service
                .selects(&workload.labels)
                .then(|| format!("; {} is controlled by {controller}: name that as the target", short(id)))
        });
        format!(
            "no Deployment, StatefulSet or ReplicaSet has pods that Service {key} selects{}",
            owner.unwrap_or_else(|| "; create one, or name the target".into())
        )
    }

    /// Workloads of this name that nobody else scales.
    fn named(&self, key: &Key, name: &str) -> Vec<WorkloadId> {
        let ids = BUILT_IN.map(|kind| WorkloadId::new(&key.namespace, kind, name));
        let is_free =
            |id: &WorkloadId| self.workloads.get(id).is_some_and(|found| found.controller.is_none());
        ids.into_iter().filter(is_free).collect()
    }

    /// Workloads whose pods the Service selects and that nobody else scales.
    fn selected(&self, key: &Key, service: &Service) -> Vec<WorkloadId> {
        let is_free =
            |workload: &Workload| workload.controller.is_none() && service.selects(&workload.labels);
        let all = self.in_namespace(&key.namespace);
        let free = all.filter(|(id, workload)| BUILT_IN.contains(&id.kind.as_str()) && is_free(workload));
        free.map(|(id, _)| id.clone()).collect()
    }

    fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&WorkloadId, &Workload)> {
        self.workloads
            .range(WorkloadId::new(namespace, "", "")..)
            .take_while(move |(id, _)| id.namespace == namespace)
    }
}

fn single(
    mut found: Vec<WorkloadId>,
    key: &Key,
    none: impl FnOnce() -> Problem,
) -> Result<WorkloadId, Unresolved> {
    match found.len() {
        0 => Err(Unresolved { problem: none(), candidates: found }),
        1 => Ok(found.remove(0)),
        _ => {
            let names = found.iter().map(short).collect::<Vec<_>>().join(", ");
            let message =
                format!("several workloads could be behind Service {key}: {names}; name one as the target");
            Err(Unresolved {
                problem: Problem { reason: "TargetAmbiguous".into(), message },
                candidates: found,
            })
        }
    }
}

fn not_found(message: String) -> Problem {
    Problem { reason: "TargetNotFound".into(), message }
}

/// As a person would write it in the same namespace.
pub(super) fn short(id: &WorkloadId) -> String {
    format!("{}/{}", id.kind.strip_suffix(".apps").unwrap_or(&id.kind), id.name)
}

#[cfg(test)]
mod tests {
    use super::super::keep::fixture::{labels, service, workload};
    use super::*;

    type Labels = &'static [(&'static str, &'static str)];

    struct World(BTreeMap<WorkloadId, Workload>, BTreeMap<String, KindState>);

    impl World {
        /// Kind, name, and the labels of its pods.
        fn of(workloads: &[(&str, &str, Labels)]) -> Self {
            let all = workloads.iter().map(|(kind, name, of_pods)| {
                let kept = Workload { labels: labels(of_pods), ..workload(1) };
                (WorkloadId::new("shop", *kind, *name), kept)
            });
            Self(all.collect(), BTreeMap::new())
        }

        fn resolve(&self, choice: &Choice) -> Result<String, Problem> {
            let catalog = Catalog { workloads: &self.0, kinds: &self.1 };
            let found = catalog.resolve(choice, &Key::new("shop", "cart"), &service());
            found.map(|id| short(&id)).map_err(|unresolved| unresolved.problem)
        }
    }

    const SELECTED: Labels = &[("app", "cart"), ("pod", "x")];
    const OTHER: Labels = &[("app", "other")];

    #[test]
    fn the_workload_named_like_the_service_wins_over_others_it_selects() {
        let world =
            World::of(&[("Deployment.apps", "cart", SELECTED), ("Deployment.apps", "cart-canary", SELECTED)]);
        assert_eq!(world.resolve(&Choice::Default), Ok("Deployment/cart".into()));
    }

    #[test]
    fn a_workload_of_the_same_name_whose_pods_are_not_selected_is_not_meant() {
        let world =
            World::of(&[("Deployment.apps", "cart", OTHER), ("StatefulSet.apps", "cart-v2", SELECTED)]);
        assert_eq!(world.resolve(&Choice::Default), Ok("StatefulSet/cart-v2".into()));
    }

    #[test]
    fn several_candidates_are_an_error_that_names_them() {
        for workloads in [
            [("Deployment.apps", "cart", SELECTED), ("StatefulSet.apps", "cart", SELECTED)],
            [("Deployment.apps", "a", SELECTED), ("Deployment.apps", "b", SELECTED)],
        ] {
            let problem = World::of(&workloads).resolve(&Choice::Default).expect_err("ambiguous");
            assert_eq!(problem.reason, "TargetAmbiguous");
            for (kind, name, _) in workloads {
                let named = format!("{}/{name}", kind.trim_end_matches(".apps"));
                assert!(problem.message.contains(&named), "{}", problem.message);
            }
        }
    }

    #[test]
    fn no_candidate_is_an_error_that_says_what_to_do() {
        let problem =
            World::of(&[("Deployment.apps", "x", OTHER)]).resolve(&Choice::Default).expect_err("none");
        assert_eq!(problem.reason, "TargetNotFound");
        assert!(problem.message.contains("shop/cart"), "{}", problem.message);
    }

    #[test]
    fn a_replica_set_of_a_deployment_is_no_candidate() {
        let mut world =
            World::of(&[("Deployment.apps", "web", SELECTED), ("ReplicaSet.apps", "web-5d4f", SELECTED)]);
        let owned = world.0.get_mut(&WorkloadId::new("shop", "ReplicaSet.apps", "web-5d4f")).expect("there");
        owned.controller = Some("Deployment.apps/web".into());
        assert_eq!(world.resolve(&Choice::Default), Ok("Deployment/web".into()));
    }

    #[test]
    fn pods_that_an_unknown_kind_owns_are_a_hint_in_the_error() {
        let mut world = World::of(&[("ReplicaSet.apps", "web-5d4f", SELECTED)]);
        world.0.values_mut().for_each(|owned| owned.controller = Some("Rollout.argoproj.io/web".into()));
        let problem = world.resolve(&Choice::Default).expect_err("none");
        assert!(problem.message.contains("Rollout.argoproj.io/web"), "{}", problem.message);
    }

    #[test]
    fn a_named_workload_need_not_exist_yet() {
        let choice = Choice::parse("statefulset/db").expect("a target");
        assert_eq!(World::of(&[]).resolve(&choice), Ok("StatefulSet/db".into()));
    }

    #[test]
    fn a_name_without_a_kind_must_be_of_one_workload() {
        let world = World::of(&[("StatefulSet.apps", "db", OTHER)]);
        assert_eq!(world.resolve(&Choice::Name("db".into())), Ok("StatefulSet/db".into()));
        assert_eq!(world.resolve(&Choice::Name("cart".into())).expect_err("none").reason, "TargetNotFound");
    }

    #[test]
    fn a_kind_that_cannot_be_scaled_is_an_error() {
        let mut world = World::of(&[]);
        let problem = Problem { reason: "TargetNotScalable".into(), message: "no".into() };
        world.1.insert("DaemonSet.apps".into(), KindState::Unusable(problem.clone()));
        assert_eq!(world.resolve(&Choice::parse("DaemonSet.apps/x").expect("a target")), Err(problem));
    }

    #[test]
    fn targets_are_read_in_the_ways_people_write_them() {
        let exact = |kind: &str, name: &str| Some(Choice::Exact { kind: kind.into(), name: name.into() });
        assert_eq!(Choice::parse("cart"), Some(Choice::Name("cart".into())));
        assert_eq!(Choice::parse("deploy/cart"), exact("Deployment.apps", "cart"));
        assert_eq!(Choice::parse("StatefulSet/db"), exact("StatefulSet.apps", "db"));
        assert_eq!(Choice::parse("Rollout.argoproj.io/x"), exact("Rollout.argoproj.io", "x"));
        assert_eq!(
            Choice::of_kind("Rollout", Some("argoproj.io/v1alpha1"), "x"),
            exact("Rollout.argoproj.io", "x")
        );
        assert_eq!(Choice::of_kind("Deployment", Some("apps/v1"), "x"), exact("Deployment.apps", "x"));
        assert_eq!(
            Choice::of_kind("ReplicationController", Some("v1"), "x"),
            exact("ReplicationController", "x")
        );
        for wrong in ["", "Cart", "Rollout/x", "a/b/c", "deployment/", "/x", "rollout.argoproj.io/x"] {
            assert_eq!(Choice::parse(wrong), None, "{wrong:?}");
        }
    }
}
