//! How the command ends: exit codes, and one clear message.

use std::process::ExitCode;

use zenvoy_shared::fault::causes;

use crate::variables::Variables;

/// Shown at the end of every help.
pub(crate) const HELP: &str = "\
Exit codes: 0 all went well, 1 it failed while running, 2 bad usage or configuration (nothing was started).
Every flag can be given by the environment variable that its help names; the flag wins.";

/// Why the command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Flags or files that cannot be used.
    Configuration(anyhow::Error),
    /// Anything later.
    Runtime(anyhow::Error),
}

impl Failure {
    /// A fault of what the user gave.
    pub(crate) fn configuration(error: impl Into<anyhow::Error>) -> Self {
        Self::Configuration(error.into())
    }

    /// Says it on standard error, with the variables that flags are from.
    pub(crate) fn report(&self, variables: &Variables) -> ExitCode {
        let (error, code) = match self {
            Self::Configuration(error) => (error, 2),
            Self::Runtime(error) => (error, 1),
        };
        eprintln!("zenvoy: {}", variables.told(causes(error.as_ref())));
        ExitCode::from(code)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Runtime(error.into())
    }
}
