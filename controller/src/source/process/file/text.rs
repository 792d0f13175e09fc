//! Texts of the file that are checked where they stand.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use zenvoy_shared::duration::Span;

/// A DNS label, as Kubernetes names are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Name(String);

/// An environment variable's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Variable(String);

/// The path of a GET request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HttpPath(String);

/// A duration with units.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct SpanText(pub(super) Duration);

impl Name {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn local() -> Self {
        Self(super::LOCAL.into())
    }
}

impl SpanText {
    pub(super) fn ten_seconds() -> Self {
        Self(Duration::from_secs(10))
    }
}

impl Default for Variable {
    fn default() -> Self {
        Self("PORT".into())
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_label(&text) {
            return Ok(Self(text));
        }
        Err(format!("{text:?} is not a name: use lower-case letters, digits and inner hyphens, at most 63"))
    }
}

impl TryFrom<String> for Variable {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if start && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Ok(Self(text));
        }
        Err(format!("{text:?} is not a name of an environment variable, as ADMIN_PORT"))
    }
}

impl TryFrom<String> for HttpPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic()) {
            return Ok(Self(text));
        }
        Err(format!("{text:?} is not a path: start it with a slash, without spaces, as /healthz"))
    }
}

impl TryFrom<String> for SpanText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<Span>() {
            Ok(span) if span.0 > Duration::ZERO => Ok(Self(span.0)),
            Ok(_) => Err(format!("{text:?} is no time at all: give more than 0s")),
            Err(error) => Err(error.to_string()),
        }
    }
}

macro_rules! display {
    ($($name:ident),*) => { $(impl fmt::Display for $name {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    })* };
}
display!(Variable, HttpPath);
