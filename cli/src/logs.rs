//! Flags for logs, the same for all subcommands.

use clap::Args;
use zenvoy_shared::telemetry::{self, LogFilter, LogFormat};

use crate::exit::Failure;

#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct LogArgs {
    /// What is logged: a level (error, warn, info, debug, trace), or levels by module
    ///
    /// Modules follow commas, as in info,zenvoy_controller=debug,zenvoy_proxy::hold=trace.
    /// Without this: info; for `zenvoy up`: warn.
    #[arg(long, global = true, value_name = "FILTER", env = "ZENVOY_LOG")]
    pub(crate) log: Option<LogFilter>,
    /// How log lines look: human (one readable line), or json (one object a line)
    #[arg(long, global = true, value_name = "FORMAT", env = "ZENVOY_LOG_FORMAT", default_value = "human")]
    pub(crate) log_format: LogFormat,
}

impl LogArgs {
    /// The filter, `default` when none is given.
    pub(crate) fn filter<'a>(&'a self, default: &'a str) -> &'a str {
        self.log.as_ref().map_or(default, LogFilter::as_str)
    }

    /// Logs go to standard error from now on.
    pub(crate) fn init(&self) -> Result<(), Failure> {
        // The Kubernetes client logs each failed request, without its cause; who asked tells it better.
        telemetry::init(self.log_format, self.filter("info,kube_client=off")).map_err(Failure::configuration)
    }
}
