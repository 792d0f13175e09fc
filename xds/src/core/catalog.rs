//! What there is to serve.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::{Resource, TypeUrl};

/// One resource set or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: Arc<str>,
    /// Its encoded message; `None` removes it.
    pub content: Option<Bytes>,
}

impl Change {
    /// Sets a resource to an encoded message.
    pub fn set(type_url: impl Into<TypeUrl>, name: impl Into<Arc<str>>, content: impl Into<Bytes>) -> Self {
        Self { type_url: type_url.into(), name: name.into(), content: Some(content.into()) }
    }

    /// Removes a resource.
    pub fn remove(type_url: impl Into<TypeUrl>, name: impl Into<Arc<str>>) -> Self {
        Self { type_url: type_url.into(), name: name.into(), content: None }
    }
}

/// All resources, by type and name.
#[derive(Debug, Default)]
pub struct Catalog {
    types: HashMap<TypeUrl, BTreeMap<Arc<str>, Resource>>,
}

impl Catalog {
    /// Takes in a change; false when it changes nothing.
    pub fn apply(&mut self, change: Change) -> bool {
        let resources = self.types.entry(change.type_url).or_default();
        match change.content.map(Resource::new) {
            Some(new) if resources.get(&change.name) == Some(&new) => false,
            Some(new) => {
                resources.insert(change.name, new);
                true
            }
            None => resources.remove(&change.name).is_some(),
        }
    }

    /// One resource.
    pub fn get(&self, type_url: &TypeUrl, name: &str) -> Option<&Resource> {
        self.types.get(type_url)?.get(name)
    }

    /// The names of all resources of a type.
    pub fn names(&self, type_url: &TypeUrl) -> impl Iterator<Item = &Arc<str>> {
        self.types.get(type_url).into_iter().flat_map(BTreeMap::keys)
    }
}
