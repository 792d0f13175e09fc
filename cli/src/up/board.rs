//! What the controller reports, kept for the view. In: statuses and occasions, at any pace; out: rows as they are now, and
//! news in order. Bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use zenvoy_controller::model::Phase;
use zenvoy_controller::report::{Occasion, Reporter, Status};
use zenvoy_shared::id::UpstreamId;

/// News that nobody has looked at; beyond, the oldest are dropped and counted.
const MOST_NEWS: usize = 1024;

/// Something to print once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// How an upstream stands has changed.
    Status(UpstreamId, Status),
    /// An upstream is gone from the file.
    Gone(UpstreamId),
    /// Something happened to a workload.
    Happened(Occasion),
    /// Envoy listens: clients may come.
    Ready,
    /// A log line.
    Log(String),
    /// So many news were dropped here.
    Dropped(usize),
}

/// Shared by those who report and the one who shows.
#[derive(Debug, Clone, Default)]
pub(super) struct Board {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<UpstreamId, Status>,
    news: VecDeque<News>,
    dropped: usize,
}

impl State {
    fn push(&mut self, news: News) {
        if self.news.len() == MOST_NEWS {
            self.news.pop_front();
            self.dropped += 1;
        }
        self.news.push_back(news);
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.changed.notify_one();
    }

    /// A log line, without its end.
    pub(super) fn log(&self, line: String) {
        self.change(|state| state.push(News::Log(line)));
    }

    /// Envoy listens: clients may come.
    pub(super) fn ready(&self) {
        self.change(|state| state.push(News::Ready));
    }

    /// Returns when there is something new since the last time.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// The rows as they are now, each with the last wake that got it up.
    pub(super) fn rows(&self) -> BTreeMap<UpstreamId, Status> {
        self.lock().rows.clone()
    }

    /// Takes the news, the oldest first.
    pub(super) fn take_news(&self) -> Vec<News> {
        let mut state = self.lock();
        let dropped = std::mem::take(&mut state.dropped);
        let first = (dropped > 0).then_some(News::Dropped(dropped));
        first.into_iter().chain(state.news.drain(..)).collect()
    }
}

impl Reporter for Board {
    fn status(&self, upstream: &UpstreamId, mut status: Status) {
        let known = self.lock().rows.get(upstream).cloned();
        if status.phase != Phase::Active {
            // A wake that goes on may yet fail: the last one is the last that came to an end.
            status.last_wake_unix_ms = known.as_ref().and_then(|known| known.last_wake_unix_ms);
        }
        if known.as_ref() == Some(&status) {
            return;
        }
        self.change(|state| {
            state.rows.insert(upstream.clone(), status.clone());
            state.push(News::Status(upstream.clone(), status));
        });
    }

    fn gone(&self, upstream: &UpstreamId) {
        self.change(|state| {
            state.rows.remove(upstream);
            state.push(News::Gone(upstream.clone()));
        });
    }

    fn happened(&self, occasion: Occasion) {
        self.change(|state| state.push(News::Happened(occasion)));
    }

    /// The only replica there is leads.
    fn leading(&self, _: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_wake_is_the_last_that_got_it_up() {
        let (board, id) = (Board::default(), UpstreamId::new("local", "web", 80));
        let seen = |phase, opened| {
            let status = Status {
                phase,
                workload: None,
                address: None,
                conditions: Vec::new(),
                last_wake_unix_ms: opened,
                idle_since_unix_ms: None,
            };
            board.status(&id, status);
            board.rows()[&id].last_wake_unix_ms
        };
        assert_eq!(seen(Phase::Cold, None), None);
        assert_eq!(seen(Phase::Waking, Some(1)), None, "it may fail");
        assert_eq!(seen(Phase::Cold, Some(1)), None, "it has failed");
        assert_eq!(seen(Phase::Active, Some(2)), Some(2));
        assert_eq!(seen(Phase::Waking, Some(3)), Some(2), "that one was up");
        board.gone(&id);
        assert_eq!(seen(Phase::Cold, None), None);
    }

    #[test]
    fn news_that_nobody_takes_cost_a_bounded_amount_and_their_loss_is_told() {
        let board = Board::default();
        for line in 0..MOST_NEWS + 5 {
            board.log(line.to_string());
        }
        let news = board.take_news();
        assert_eq!(news.len(), MOST_NEWS + 1);
        assert_eq!(news[..2], [News::Dropped(5), News::Log("5".into())]);
        assert!(board.take_news().is_empty());
    }
}
