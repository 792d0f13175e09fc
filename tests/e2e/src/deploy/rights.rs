//! Rights as Kubernetes counts them: which the manifests give, and which the audit log has seen used or refused.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::Object;

/// A verb on a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The API group; empty for the core one.
    pub group: String,
    /// The resource, with its subresource after a slash.
    pub resource: String,
    /// What is done to it.
    pub verb: String,
    /// The only object it is for, if so.
    pub name: Option<String>,
}

impl Right {
    /// Whether this, which was used, is an exercise of `granted`.
    fn is_of(&self, granted: &Self) -> bool {
        (&self.group, &self.resource, &self.verb) == (&granted.group, &granted.resource, &granted.verb)
            && (granted.name.is_none() || granted.name == self.name)
    }
}

/// All rights that the roles among `objects` give.
pub fn granted(objects: &[Object]) -> BTreeSet<Right> {
    let rules = objects.iter().flat_map(|object| object.list("/rules"));
    rules.flat_map(of_rule).collect()
}

/// What `user` did, by an API server's audit log.
///
/// # Panics
/// When the log cannot be read.
pub fn used(log: &Path, user: &str) -> BTreeSet<Right> {
    events(log, user).iter().filter(|event| !is_refused(event)).filter_map(of_event).collect()
}

/// What `user` asked for and may not do.
///
/// # Panics
/// When the log cannot be read.
pub fn refused(log: &Path, user: &str) -> BTreeSet<Right> {
    events(log, user).iter().filter(|event| is_refused(event)).filter_map(of_event).collect()
}

/// Those of `granted` that nothing in `used` needed.
pub fn unused(granted: &BTreeSet<Right>, used: &BTreeSet<Right>) -> BTreeSet<Right> {
    granted.iter().filter(|right| !used.iter().any(|use_| use_.is_of(right))).cloned().collect()
}

fn of_rule(rule: &Value) -> Vec<Right> {
    let texts = |key: &str| -> Vec<String> {
        let items = rule[key].as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
    };
    let names: Vec<Option<String>> = match texts("resourceNames") {
        names if names.is_empty() => vec![None],
        names => names.into_iter().map(Some).collect(),
    };
    let mut rights = Vec::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for verb in texts("verbs") {
                rights.extend(names.iter().map(|name| Right {
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                }));
            }
        }
    }
    rights
}

fn events(log: &Path, user: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(log).expect("read the audit log");
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let events = whole.lines().map(|line| serde_json::from_str(line).expect("a line of the log is JSON"));
    events.filter(|event: &Value| event["user"]["username"] == user).collect()
}

fn is_refused(event: &Value) -> bool {
    event["responseStatus"]["code"] == 403
}

/// None for what is no resource, as discovery.
fn of_event(event: &Value) -> Option<Right> {
    let object = &event["objectRef"];
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let resource = object["resource"].as_str()?;
    let resource = match object["subresource"].as_str() {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_owned(),
    };
    let name = object["name"].as_str().map(ToOwned::to_owned);
    Some(Right { group: text("apiGroup"), resource, verb: event["verb"].as_str()?.to_owned(), name })
}
