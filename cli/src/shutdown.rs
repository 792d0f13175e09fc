//! Ending on SIGTERM and SIGINT: gracefully, within a deadline; a second request ends at once.
//!
//! One request may be two signals: `timeout` and some supervisors signal the process and then its group. So a second
//! signal is a second request only a while after the first.

use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zenvoy_shared::duration::Span;

use crate::exit::Failure;
use crate::value;

/// Signals of one request come within this; a person's second Ctrl-C that comes sooner is not heard, and a third is.
const ONE_REQUEST: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Ending")]
pub(crate) struct ShutdownArgs {
    /// After SIGTERM or SIGINT, how long the graceful end may take; a second signal ends at once
    #[arg(long, value_name = "DURATION", env = "ZENVOY_SHUTDOWN_TIMEOUT", default_value = "30s",
        value_parser = value::duration)]
    shutdown_timeout: Duration,
}

impl ShutdownArgs {
    /// After a signal; what goes on then is cut off.
    pub(crate) fn timeout(&self) -> Duration {
        self.shutdown_timeout
    }
}

/// Runs `work` in a runtime of its own until it ends; a signal cancels the token that it is given.
pub(crate) fn run_until_signal<F, W>(args: &ShutdownArgs, work: W) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
    W: FnOnce(CancellationToken) -> F,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        until_signal(args.shutdown_timeout, work(stop.clone()), stop).await
    });
    // What is left has had its time.
    runtime.shutdown_background();
    result
}

async fn until_signal(
    timeout: Duration,
    work: impl Future<Output = Result<(), Failure>>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    tokio::pin!(work);
    let first = tokio::select! {
        result = &mut work => return result,
        name = signalled() => name,
    };
    let asked = Instant::now();
    let again = async {
        loop {
            let name = signalled().await;
            if is_another_request(asked.elapsed()) {
                return name;
            }
        }
    };
    tracing::info!("{first}: ending, within {}; a second signal ends at once", Span(timeout));
    stop.cancel();
    tokio::select! {
        result = work => result,
        name = again => Err(anyhow::anyhow!("{name} again: ended at once").into()),
        () = tokio::time::sleep(timeout) => {
            Err(anyhow::anyhow!("did not end gracefully within {} (--shutdown-timeout)", Span(timeout)).into())
        }
    }
}

/// Whether a signal that comes so long after the first asks once more.
fn is_another_request(since_the_first: Duration) -> bool {
    since_the_first >= ONE_REQUEST
}
