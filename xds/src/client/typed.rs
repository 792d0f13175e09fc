//! Resources as messages of one type instead of bytes.

use std::fmt;

use prost::Message;

use crate::core::{Handler, TypeUrl};

/// Takes in resources of one type, decoded.
pub trait Typed {
    /// The type's URL, as the client watches it.
    const TYPE_URL: &'static str;
    /// The message of a resource.
    type Message: Message + Default;
    /// Why a resource is refused.
    type Refusal: fmt::Display;

    /// A resource is new or has changed. After an error what was there before must stay.
    ///
    /// # Errors
    /// The reason for the refusal; the server is told.
    fn set(&mut self, name: &str, message: Self::Message) -> Result<(), Self::Refusal>;

    /// A resource is gone, or does not exist.
    fn remove(&mut self, name: &str);

    /// All of a response was handed over and is about to be acknowledged.
    fn done(&mut self) {}
}

/// A [`Handler`] that decodes for a [`Typed`] one, and refuses what is of another type.
#[derive(Debug)]
pub struct Decoded<T>(pub T);

impl<T: Typed> Decoded<T> {
    /// Leaves what is of any other type to `other`: another one of these, or any handler.
    ///
    /// ```
    /// use zenvoy_xds::client::{Decoded, Handler, Typed};
    ///
    /// fn both(clusters: impl Typed, endpoints: impl Typed) -> impl Handler {
    ///     Decoded(clusters).and(Decoded(endpoints))
    /// }
    /// ```
    pub fn and<H: Handler>(self, other: H) -> And<T, H> {
        And(self, other)
    }
}

/// Takes in resources of one type as messages, and leaves all others to another handler.
#[derive(Debug)]
pub struct And<T, H>(pub Decoded<T>, pub H);

impl<T: Typed, H: Handler> And<T, H> {
    fn of(&mut self, type_url: &TypeUrl) -> &mut dyn Handler {
        if type_url.as_str() == T::TYPE_URL { &mut self.0 } else { &mut self.1 }
    }
}

impl<T: Typed, H: Handler> Handler for And<T, H> {
    fn set(&mut self, type_url: &TypeUrl, name: &str, content: &[u8]) -> Result<(), String> {
        self.of(type_url).set(type_url, name, content)
    }

    fn remove(&mut self, type_url: &TypeUrl, name: &str) {
        self.of(type_url).remove(type_url, name);
    }

    fn done(&mut self, type_url: &TypeUrl) {
        self.of(type_url).done(type_url);
    }
}

impl<T: Typed> Handler for Decoded<T> {
    fn set(&mut self, type_url: &TypeUrl, name: &str, content: &[u8]) -> Result<(), String> {
        if type_url.as_str() != T::TYPE_URL {
            return Err(format!("is of type {type_url}; only {} is taken in here", T::TYPE_URL));
        }
        let message = T::Message::decode(content).map_err(|error| format!("cannot be decoded: {error}"))?;
        self.0.set(name, message).map_err(|refusal| refusal.to_string())
    }

    fn remove(&mut self, type_url: &TypeUrl, name: &str) {
        if type_url.as_str() == T::TYPE_URL {
            self.0.remove(name);
        }
    }

    fn done(&mut self, type_url: &TypeUrl) {
        if type_url.as_str() == T::TYPE_URL {
            self.0.done();
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::config::core::v3::Node;
    use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
    use envoy_types::pb::google::protobuf::Any;

    use super::*;
    use crate::core::{ClientState, Names};

    const OTHER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

    /// Notes what it is told.
    #[derive(Default)]
    struct Clusters(Vec<String>);

    impl Typed for Clusters {
        const TYPE_URL: &'static str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
        type Message = Cluster;
        type Refusal = String;

        fn set(&mut self, name: &str, message: Cluster) -> Result<(), String> {
            self.0.push(format!("set {name} {}", message.name));
            Ok(())
        }

        fn remove(&mut self, name: &str) {
            self.0.push(format!("remove {name}"));
        }

        fn done(&mut self) {
            self.0.push("done".into());
        }
    }

    /// A message that decodes as one of either type.
    fn response(type_url: &str) -> DeltaDiscoveryResponse {
        let value = Cluster { name: "a".into(), ..Cluster::default() }.encode_to_vec();
        let resource = Resource {
            name: "a".into(),
            resource: Some(Any { type_url: type_url.into(), value }),
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            type_url: type_url.into(),
            resources: vec![resource],
            removed_resources: vec!["b".into()],
            ..DeltaDiscoveryResponse::default()
        }
    }

    #[test]
    fn what_is_of_another_type_is_refused_with_the_reason_and_does_not_reach_the_handler() {
        let state = ClientState::new(Node::default()).watch(Clusters::TYPE_URL, Names::All);
        let (mut state, mut handler) = (state.watch(OTHER, Names::All), Decoded(Clusters::default()));
        let answer = state.on_response(response(OTHER), &mut handler);
        let refusal = answer.error_detail.expect("a refusal").message;
        assert_eq!(refusal, format!("a: is of type {OTHER}; only {} is taken in here", Clusters::TYPE_URL));
        assert!(handler.0.0.is_empty(), "{:?}", handler.0.0);
        let answer = state.on_response(response(Clusters::TYPE_URL), &mut handler);
        assert_eq!(
            (answer.error_detail, handler.0.0),
            (None, ["set a a", "remove b", "done"].map(String::from).into())
        );
    }

    /// The same as listeners, of which nothing but the type is looked at.
    #[derive(Default)]
    struct Others(Clusters);

    impl Typed for Others {
        const TYPE_URL: &'static str = OTHER;
        type Message = Cluster;
        type Refusal = String;

        fn set(&mut self, name: &str, message: Cluster) -> Result<(), String> {
            self.0.set(name, message)
        }

        fn remove(&mut self, name: &str) {
            self.0.remove(name);
        }
    }

    #[test]
    fn several_types_each_go_to_their_own() {
        let state = ClientState::new(Node::default()).watch(Clusters::TYPE_URL, Names::All);
        let mut state = state.watch(OTHER, Names::All).watch("a third", Names::All);
        let mut handler = Decoded(Clusters::default()).and(Decoded(Others::default()));
        for type_url in [Clusters::TYPE_URL, OTHER] {
            assert_eq!(state.on_response(response(type_url), &mut handler).error_detail, None);
        }
        assert!(state.on_response(response("a third"), &mut handler).error_detail.is_some());
        let And(Decoded(clusters), Decoded(others)) = handler;
        assert_eq!(clusters.0, ["set a a", "remove b", "done"]);
        assert_eq!(others.0.0, ["set a a", "remove b"]);
    }
}
