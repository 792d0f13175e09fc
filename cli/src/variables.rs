//! Which flags have their values from variables of the environment: whoever reads of such a flag has never written it, and must
//! be told the variable. In: the command line and its matches; out: messages that name both.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Parser};

/// The flags of one command line that were given by variables.
#[derive(Debug, Default)]
pub(crate) struct Variables(Vec<Given>);

#[derive(Debug)]
struct Given {
    /// As in `--admin`.
    flag: String,
    /// As clap names it: `--admin <ADDRESS>`.
    shown: String,
    variable: String,
}

/// Reads this process's command line; ends the process when there is nothing to run, after it has said why.
pub(crate) fn parse<P: Parser>() -> (P, Variables) {
    match read::<P>(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(read) => read,
        Err(error) => error.exit(),
    }
}

fn read<P: Parser>(line: &[OsString]) -> Result<(P, Variables), clap::Error> {
    let mut command = P::command();
    let mut matches = command.try_get_matches_from_mut(line).map_err(|error| named::<P>(error, line))?;
    let variables = Variables::of(&command, &matches);
    let read = P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
    Ok((read, variables))
}

/// `error`, which names the variables of its flags.
fn named<P: Parser>(mut error: clap::Error, line: &[OsString]) -> clap::Error {
    // An error says nothing of where a value is from. What was read before it does.
    let mut command = P::command().ignore_errors(true);
    let Ok(matches) = command.try_get_matches_from_mut(line) else { return error };
    let variables = Variables::of(&command, &matches);
    for kind in [ContextKind::InvalidArg, ContextKind::PriorArg] {
        let named = match error.get(kind) {
            Some(ContextValue::String(flag)) => ContextValue::String(variables.named(flag)),
            Some(ContextValue::Strings(flags)) => {
                ContextValue::Strings(flags.iter().map(|flag| variables.named(flag)).collect())
            }
            _ => continue,
        };
        error.insert(kind, named);
    }
    error
}

impl Variables {
    fn of(command: &Command, matches: &ArgMatches) -> Self {
        if let Some((name, matches)) = matches.subcommand()
            && let Some(command) = command.find_subcommand(name)
        {
            return Self::of(command, matches);
        }
        let by_variable = command
            .get_arguments()
            .filter(|flag| matches.value_source(flag.get_id().as_str()) == Some(ValueSource::EnvVariable));
        let given = by_variable.filter_map(|flag| {
            Some(Given {
                flag: format!("--{}", flag.get_long()?),
                shown: flag.to_string(),
                variable: flag.get_env()?.to_string_lossy().into_owned(),
            })
        });
        Self(given.collect())
    }

    fn named(&self, shown: &str) -> String {
        match self.0.iter().find(|given| given.shown == shown) {
            Some(given) => format!("{shown} (from {})", given.variable),
            None => shown.to_owned(),
        }
    }

    /// `message`, and below it the variables of the flags that it names.
    pub(crate) fn told(&self, message: String) -> String {
        let named = self.0.iter().filter(|given| names(&message, &given.flag));
        let below: String =
            named.map(|given| format!("\n  {} is from {}", given.flag, given.variable)).collect();
        message + &below
    }
}

/// Whether `flag` stands in `message`, and not as the beginning of another.
fn names(message: &str, flag: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-');
    message.match_indices(flag).any(|(at, _)| !goes_on(&message[at + flag.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_with_the_variables_of_its_flags_only() {
        let given = |flag: &str, variable: &str| Given {
            flag: flag.into(),
            shown: format!("{flag} <X>"),
            variable: variable.into(),
        };
        let variables = Variables(vec![given("--http", "ZENVOY_HTTP"), given("--tls-dir", "ZENVOY_TLS_DIR")]);
        assert_eq!(
            variables.told("--tls-dir: read it".into()),
            "--tls-dir: read it\n  --tls-dir is from ZENVOY_TLS_DIR"
        );
        assert_eq!(variables.told("give --http-port".into()), "give --http-port");
        assert_eq!(variables.named("--http <X>"), "--http <X> (from ZENVOY_HTTP)");
        assert_eq!(variables.named("--other <X>"), "--other <X>");
    }
}
