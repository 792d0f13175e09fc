//! The kernel's rules for transparent accepting, by nft or iptables. In: the pool of activator addresses and the port of
//! the transparent socket; out: rules that stand until they are dropped. Those left by a killed process are replaced.

mod iptables;
mod nft;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Write;
use std::process::{Command, Stdio};
use std::str::FromStr;

use tracing::warn;
use zenvoy_shared::pool::PortPool;

/// How the rules are put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RulesBy {
    /// With `nft`, in a table of their own.
    #[default]
    Nft,
    /// With `iptables`, in a chain of their own in the mangle table.
    Iptables,
    /// Not by the proxy: somebody else installs them.
    Nobody,
}

impl fmt::Display for RulesBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Iptables => "iptables",
            Self::Nobody => "somebody else",
        })
    }
}

impl FromStr for RulesBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "nft" => Ok(Self::Nft),
            "iptables" => Ok(Self::Iptables),
            "none" => Ok(Self::Nobody),
            _ => Err(format!("{text:?} is not a way to install rules: give nft, iptables or none")),
        }
    }
}

/// Rules could not be put in place. Nothing of them is left.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The program is missing.
    #[error(
        "{program} is not installed: install the package {package}, or give --rules {other}, or give --rules none and \
         install the rules yourself; --mode listen needs no rules"
    )]
    Missing {
        /// Which.
        program: &'static str,
        /// Where it usually is.
        package: &'static str,
        /// What does the same.
        other: RulesBy,
    },
    /// The program may not run.
    #[error(
        "run {program}: {source}; give --rules none and install the rules yourself, or --mode listen, which needs none"
    )]
    Run {
        /// Which.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The program refused.
    #[error("{program} refused the rules: {said}; the process needs CAP_NET_ADMIN in its network namespace")]
    Refused {
        /// Which.
        program: &'static str,
        /// Its own words.
        said: String,
    },
}

impl RulesError {
    fn of_start(program: &'static str, source: std::io::Error) -> Self {
        if source.kind() != std::io::ErrorKind::NotFound {
            return Self::Run { program, source };
        }
        let (package, other) = match program {
            "nft" => ("nftables", RulesBy::Iptables),
            _ => ("iptables", RulesBy::Nft),
        };
        Self::Missing { program, package, other }
    }
}

/// Rules in the kernel; taken out when this is dropped.
#[derive(Debug)]
pub struct Rules {
    by: RulesBy,
    name: String,
}

impl Rules {
    /// Brings connections to addresses of `pool` to the transparent socket on `port` of 127.0.0.1.
    pub fn install(by: RulesBy, pool: &PortPool, port: u16) -> Result<Self, RulesError> {
        let name = format!("zenvoy_{port}");
        // Each puts them in place in one step: after a failure there is nothing to take out.
        match by {
            RulesBy::Nft => nft::install(&name, pool, port)?,
            RulesBy::Iptables => iptables::install(&name, pool, port)?,
            RulesBy::Nobody => {}
        }
        Ok(Self { by, name })
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        let removed = match self.by {
            RulesBy::Nft => nft::remove(&self.name),
            RulesBy::Iptables => iptables::remove(&self.name),
            RulesBy::Nobody => Ok(()),
        };
        if let Err(error) = removed {
            warn!(name = self.name, %error, "the rules stay in the kernel; take them out by hand");
        }
    }
}

/// Runs `program`, gives it `script`, and waits. It changes the kernel's tables in one step or not at all.
fn run(program: &'static str, arguments: &[&str], script: &str) -> Result<(), RulesError> {
    let failed = |source| RulesError::of_start(program, source);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A program that refuses early closes its input; it then says why.
        let _ = input.write_all(script.as_bytes());
    }
    let done = child.wait_with_output().map_err(failed)?;
    if done.status.success() {
        return Ok(());
    }
    Err(RulesError::Refused { program, said: String::from_utf8_lossy(&done.stderr).trim().to_owned() })
}
