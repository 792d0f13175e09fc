//! One watch that outlives connections, compaction and missing kinds. In: a kube watcher; out: changes on a channel.
//!
//! Lists come in pages, not as streaming lists: kube's watcher does not say when a streaming list starts anew, so a
//! deletion that falls into a broken one would be missed.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::debug;
use zenvoy_shared::fault::causes;

use super::api_server::ApiServer;
use super::board::Change;
use super::relist::{Known, Steps};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is watched, and what becomes of it.
pub(super) struct Watched<T, R, C> {
    /// For logs.
    pub(super) what: String,
    pub(super) server: Arc<ApiServer>,
    pub(super) api: Api<T>,
    pub(super) config: watcher::Config,
    /// An object's key and what is kept of it.
    pub(super) read: R,
    /// What the board is told of it.
    pub(super) change: C,
    /// Sent after each complete list.
    pub(super) listed: Change,
}

/// Why a watch ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nobody listens any more.
    Deserted,
    /// The API server does not serve this kind; everything of it has been said to be gone.
    Missing,
}

/// Watches until the kind is not served or nobody listens.
pub(super) async fn follow<T, K, V, R, C>(watched: &Watched<T, R, C>, out: &mpsc::Sender<Change>) -> Ended
where
    T: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K: Ord + Clone,
    R: Fn(T) -> (K, Option<V>),
    C: Fn(K, Option<V>) -> Change,
{
    let mut known = Known::default();
    let mut pause = Pause::default();
    let mut events = std::pin::pin!(watcher(watched.api.clone(), watched.config.clone()));
    while let Some(event) = events.next().await {
        let steps = match event {
            Ok(event) => {
                // A list's beginning says nothing about the API server's health.
                if !matches!(event, Event::Init) {
                    pause = Pause::default();
                }
                known.take(event, &watched.read)
            }
            Err(error) if is_missing(&error) => {
                debug!(what = watched.what, "not served");
                return send(watched, known.clear(), out).await.map_or(Ended::Deserted, |()| Ended::Missing);
            }
            Err(error) => {
                watched.server.failed(&watched.what, &causes(&error));
                tokio::select! {
                    () = out.closed() => return Ended::Deserted,
                    () = tokio::time::sleep(pause.next()) => continue,
                }
            }
        };
        if send(watched, steps, out).await.is_none() {
            return Ended::Deserted;
        }
    }
    // The watcher is an endless stream.
    Ended::Deserted
}

async fn send<T, K, V, R, C>(
    watched: &Watched<T, R, C>,
    steps: Steps<K, V>,
    out: &mpsc::Sender<Change>,
) -> Option<()>
where
    C: Fn(K, Option<V>) -> Change,
{
    for step in steps.steps {
        out.send((watched.change)(step.key, step.now)).await.ok()?;
    }
    if steps.listed {
        out.send(watched.listed.clone()).await.ok()?;
    }
    Some(())
}

fn is_missing(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if status.code == 404)
        }
        _ => false,
    }
}

/// Exponential, with jitter.
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        pause.mul_f64(rand::random_range(0.5..1.0))
    }
}
