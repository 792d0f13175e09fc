//! The Envoy of `zenvoy up`: found, kept running, and waited for until it listens.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zenvoy_controller::source::process::keeper::{Keeper, Kept};

use super::ports;

/// Envoy ends at once; what it still sends is lost with zenvoy anyway.
const GRACE: Duration = Duration::from_secs(2);
/// Before a restart; it doubles while Envoy does not stay up.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Its end.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Until it listens, after its start.
const START: Duration = Duration::from_secs(30);
/// Between two questions whether it does.
const PACE: Duration = Duration::from_millis(10);

/// The executable: as given, or the first on the PATH.
pub(super) fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    const HOW: &str = "get it with `scripts/parts envoy`, or from https://www.envoyproxy.io, and name it by --envoy \
                       or ZENVOY_ENVOY, or put it on the PATH";
    if let Some(path) = given {
        if !path.is_file() {
            bail!("there is no Envoy at {}: {HOW}", path.display());
        }
        return Ok(path.canonicalize()?);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("envoy")).find(|file| file.is_file());
    found.with_context(|| format!("Envoy is not installed: {HOW}"))
}

/// Keeps Envoy running until `stop`. One that ends before it has ever listened is a fault that a restart does not mend.
pub(super) async fn run(
    keeper: &Keeper,
    program: &Path,
    bootstrap: &str,
    listened: watch::Receiver<bool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let mut envoy = keeper
            .run(command(program, bootstrap))
            .with_context(|| format!("start {}", program.display()))?;
        let status = tokio::select! {
            status = envoy.ended() => status?.code().unwrap_or_default(),
            () = stop.cancelled() => {
                envoy.stop().await?;
                return Ok(());
            }
        };
        let said = said(&envoy.last_lines().await);
        if !*listened.borrow() {
            bail!(
                "Envoy ({}) ended before it listened, with status {status}; is it an Envoy, and one for this machine? \
                 {said}",
                program.display()
            );
        }
        pause = if begun.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tracing::warn!("Envoy ended with status {status} and is started again. {said}");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

fn said(last_lines: &[String]) -> String {
    match last_lines {
        [] => "It wrote nothing".into(),
        lines => format!("Its last lines:\n{}", lines.join("\n")),
    }
}

fn command(program: &Path, bootstrap: &str) -> Kept {
    let argv: [&std::ffi::OsStr; 8] = [
        program.as_os_str(),
        "--config-yaml".as_ref(),
        bootstrap.as_ref(),
        "--disable-hot-restart".as_ref(),
        "--concurrency".as_ref(),
        "2".as_ref(),
        "--log-level".as_ref(),
        "warning".as_ref(),
    ];
    let argv = argv.map(Into::into).into();
    Kept { argv, env: Vec::new(), directory: "/".into(), grace: GRACE }
}

/// Returns when Envoy listens on all of these ports. The kernel is asked: Envoy's own list names listeners before its
/// workers accept on them, and a connection for a try would wake what is behind it.
pub(super) async fn listens(ports: &BTreeSet<u16>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !ports.is_subset(&ports::listening()?) {
        if begun.elapsed() > START {
            bail!("Envoy does not listen on {ports:?} {} s after its start", START.as_secs());
        }
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envoy_that_is_not_there_is_answered_with_how_to_get_one() {
        let error = find(Some(Path::new("/nowhere/envoy"))).expect_err("not there").to_string();
        assert!(
            error.starts_with("there is no Envoy at /nowhere/envoy") && error.contains("--envoy"),
            "{error}"
        );
    }
}
