//! What clients do -> lines of a log.

use tracing::{info, warn};
use zenvoy_xds::server::Event;

use crate::folder::Folder;
use crate::protos::message_name;

/// So many resources of one response are named; the rest is counted.
const NAMED: usize = 10;

/// Logs an event. Of a refusal: the type, the resources with their files, and the client's own words.
pub(crate) fn say(event: Event, folder: &Folder) {
    match event {
        Event::Connected { node, .. } => info!(%node, "connected"),
        Event::Disconnected { node, .. } => info!(%node, "disconnected"),
        Event::Acked { node, type_url, resources, .. } => {
            info!(%node, "applied {} of {}", resources.len(), message_name(type_url.as_str()));
        }
        Event::Nacked { node, type_url, resources, message, .. } => {
            let names = resources.iter().map(|(name, _)| &**name);
            let named = named(names, |name| folder.file_of(type_url.as_str(), name).map(display));
            // Envoy says it in many lines.
            let words = message.split_whitespace().collect::<Vec<_>>().join(" ");
            warn!(%node, "refused {} {named}: {words}", message_name(type_url.as_str()));
        }
        _ => {}
    }
}

fn display(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// `a (a.yaml), b (b.yaml)`.
fn named<'a>(names: impl ExactSizeIterator<Item = &'a str>, file: impl Fn(&str) -> Option<String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let mut all: Vec<String> = names
        .take(NAMED)
        .map(|name| match file(name) {
            Some(file) => format!("{name} ({file})"),
            None => name.to_owned(),
        })
        .collect();
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join(", ")
}
