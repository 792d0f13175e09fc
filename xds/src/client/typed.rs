//! Resources as messages of one type instead of bytes.

use std::fmt;

use prost::Message;

use crate::core::{Handler, TypeUrl};

/// Takes in resources of one type, decoded.
pub trait Typed {
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

/// A [`Handler`] that decodes for a [`Typed`] one.
#[derive(Debug)]
pub struct Decoded<T>(pub T);

impl<T: Typed> Handler for Decoded<T> {
    fn set(&mut self, _: &TypeUrl, name: &str, content: &[u8]) -> Result<(), String> {
        let message = T::Message::decode(content).map_err(|error| format!("cannot be decoded: {error}"))?;
        self.0.set(name, message).map_err(|refusal| refusal.to_string())
    }

    fn remove(&mut self, _: &TypeUrl, name: &str) {
        self.0.remove(name);
    }

    fn done(&mut self, _: &TypeUrl) {
        self.0.done();
    }
}
