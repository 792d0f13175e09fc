//! What is wrong with a file, and where. In: the parser's errors; out: the field's path, what stands there, what could.

use serde_path_to_error::{Path, Segment};
use serde_saphyr::{Location, Spanned};

use super::form::FileForm;

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) location: Option<Location>,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn at<T>(value: &Spanned<T>, message: String) -> Self {
        Self { location: Some(value.referenced), message }
    }
}

/// The file as YAML.
pub(super) fn read(text: &str) -> Result<FileForm, Fault> {
    let mut path = None;
    let read = serde_saphyr::with_deserializer_from_str(text, |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            path = Some(error.path().clone());
            error.into_inner()
        })
    });
    read.map_err(|error| fault(&error, path.as_ref()))
}

/// The parser's error without its own quotation: ours is the same for all errors.
fn fault(error: &serde_saphyr::Error, path: Option<&Path>) -> Fault {
    let location = error.location();
    let message = error.without_snippet().render();
    // The place stands before the message already.
    let message = match message.rfind(" at line ") {
        Some(at) if location.is_some() => message[..at].to_owned(),
        _ => message,
    };
    let fields: Vec<String> = path.into_iter().flat_map(Path::iter).filter_map(field).collect();
    // What the parser says of types is for programmers; what is unknown, missing or no valid text is told well.
    let of_types =
        ["expected ", "invalid ", "cannot deserialize"].iter().any(|start| message.starts_with(start));
    let wanted = match fields.as_slice() {
        [] => Some("`upstreams:` with a list below it, each entry with `- name: NAME`"),
        fields => fields.iter().rev().find_map(|field| expected(field)),
    };
    let message = match wanted.filter(|_| of_types) {
        Some(wanted) => format!("expected {wanted}"),
        None => without_advice(message),
    };
    let path = fields.join(".").replace(".[", "[");
    let message = if path.is_empty() { message } else { format!("{path}: {message}") };
    Fault { location, message }
}

/// Some of the parser's messages end with what a programmer could do.
fn without_advice(message: String) -> String {
    if let Some(key) = message.strip_prefix("duplicate mapping key: ") {
        let key = key.split(", ").next().unwrap_or(key);
        return format!("`{key}` is given a second time");
    }
    if message.starts_with("multiple YAML documents") {
        return "a second document (`---`) begins above; the file must be a single one".into();
    }
    message
}

/// A step of the path as the user wrote it.
fn field(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(format!("[{index}]")),
        // What a value with its place is to the parser.
        Segment::Map { key } if key == "value" => None,
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn expected(field: &str) -> Option<&'static str> {
    Some(match field {
        "upstreams" | "processes" => "a list, each entry with `- name: NAME`",
        "name" | "namespace" | "process" => "a name, as web",
        "port" => "a number from 1 to 65535",
        "command" => "a list of the program and its arguments, as [python3, app.py, '{port}']",
        "hosts" => "a list of DNS names, as [shop.example.com]",
        "env" => "names with values, as {MODE: fast}",
        "readiness" => "{http: /healthz}, or leave it out",
        "workingDirectory" => "a folder, relative to this file or absolute",
        "stopGrace" | "idleAfter" | "wakeTimeout" => "a duration, as 90s, 5m or 1h30m",
        "wakeReplicas" | "maxHeld" | "listenPort" => "a number",
        _ => return None,
    })
}
