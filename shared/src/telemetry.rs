//! Logs: one subscriber for the whole process, for people or as JSON lines.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Human,
    /// One JSON object an event.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is not a log format: give human or json")),
        }
    }
}

/// Which events are logged: `tracing-subscriber` directives, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The directives.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogFilter {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        // The parser takes any word for the name of a module.
        let spaced = text.contains(char::is_whitespace).then(|| "it has a space in it".to_owned());
        match spaced.or_else(|| EnvFilter::try_new(text).err().map(|error| error.to_string())) {
            Some(reason) => Err(TelemetryError::Filter { filter: text.into(), reason }),
            None => Ok(Self(text.into())),
        }
    }
}

/// The process could not start logging.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter has no meaning.
    #[error("log filter {filter:?}: {reason}; an example is info,zenvoy_controller=debug")]
    Filter {
        /// As given.
        filter: String,
        /// What the parser said.
        reason: String,
    },
    /// A subscriber is installed already.
    #[error("logging was set up twice in one process")]
    Twice,
}

/// Sends events at or above `filter` (`tracing-subscriber` directives) to standard error.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    init_to(format, filter, std::io::stderr)
}

/// As [`init`], to `writer`.
pub fn init_to<W>(format: LogFormat, filter: &str, writer: W) -> Result<(), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter_layer = EnvFilter::try_new(filter)
        .map_err(|error| TelemetryError::Filter { filter: filter.into(), reason: error.to_string() })?;
    let registry = tracing_subscriber::registry().with(filter_layer);
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(writer);
    match format {
        LogFormat::Human => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|_| TelemetryError::Twice)
}
