//! News as lines: for pipes and files, and above the table of the live view. In: news; out: lines. Pure.

use std::collections::BTreeMap;

use zenvoy_controller::model::Phase;
use zenvoy_controller::report::{Happening, Occasion, Status};
use zenvoy_shared::id::UpstreamId;

use super::super::board::News;
use super::{table, waterfall, words};

/// Turns news into lines; remembers what it said of each upstream, so that nothing is said twice.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Clients may come: before, all are cold, and where they are reached is said with the word that they are.
    ready: bool,
    said: BTreeMap<UpstreamId, Said>,
}

#[derive(Debug, Default)]
struct Said {
    state: State,
    way: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    /// Nothing was said yet.
    #[default]
    New,
    Phase(&'static str),
    /// With what tells this failure from others: its reason, and what stands below its message's first line. That line counts
    /// tries and names pauses.
    Failing(String),
}

impl Lines {
    /// The lines for one piece of news; often none.
    pub(super) fn of(&mut self, news: News, reached: &BTreeMap<UpstreamId, String>) -> Vec<String> {
        match news {
            News::Ready => self.ready(reached),
            News::Log(line) => vec![line],
            News::Dropped(count) => vec![format!("({count} messages were not shown)")],
            News::Gone(id) => {
                self.said.remove(&id);
                vec![format!("{id}  gone")]
            }
            News::Status(id, status) => {
                let way = self.way(&id, reached);
                way.into_iter().chain(self.status(&id, &status)).collect()
            }
            News::Happened(occasion) => happened(&occasion),
        }
    }

    fn ready(&mut self, reached: &BTreeMap<UpstreamId, String>) -> Vec<String> {
        self.ready = true;
        let ways: Vec<String> = reached.keys().filter_map(|id| self.way(id, reached)).collect();
        let ready = "ready: Envoy listens; commands start on the first connection".to_owned();
        ways.into_iter().chain([ready]).collect()
    }

    /// Where an upstream is reached, when that is new.
    fn way(&mut self, id: &UpstreamId, reached: &BTreeMap<UpstreamId, String>) -> Option<String> {
        let way = reached.get(id).filter(|_| self.ready)?;
        let said = self.said.entry(id.clone()).or_default();
        (said.way != *way).then(|| {
            said.way.clone_from(way);
            format!("{id}  reached at {way}")
        })
    }

    fn status(&mut self, id: &UpstreamId, status: &Status) -> Vec<String> {
        let said = &mut self.said.entry(id.clone()).or_default().state;
        let failure = table::failure(status);
        let now = match failure {
            Some(problem) => {
                let below = problem.message.split_once('\n').map_or("", |(_, below)| below);
                State::Failing(format!("{}\n{below}", problem.reason))
            }
            None => State::Phase(words::phase(status.phase)),
        };
        // What fails is tried again and again: that it wakes once more is no news, and that it fails as before neither.
        let tried_again =
            matches!(said, State::Failing(_)) && status.phase == Phase::Waking && failure.is_none();
        if *said == now || tried_again {
            return Vec::new();
        }
        let starts = !self.ready && *said == State::New && status.phase == Phase::Cold && failure.is_none();
        *said = now;
        match failure {
            Some(problem) => std::iter::once(format!("{id}  failing: {}", problem.reason))
                .chain(indented(&problem.message))
                .collect(),
            None if starts => Vec::new(),
            None => vec![format!("{id}  {}", words::phase(status.phase))],
        }
    }
}

fn happened(occasion: &Occasion) -> Vec<String> {
    let id = &occasion.upstream;
    match &occasion.what {
        // The status says so already.
        Happening::Waking | Happening::WakeFailed(_) | Happening::Unserved(_) => Vec::new(),
        Happening::Woken(timeline) => {
            let took = timeline.first_byte.map_or_else(String::new, |took| {
                format!(", first byte after {:.1} ms", took.as_secs_f64() * 1e3)
            });
            let waterfall = waterfall::lines(timeline).into_iter().map(|line| format!("    {line}"));
            std::iter::once(format!("{id}  woken{took}")).chain(waterfall).collect()
        }
        Happening::Slept => {
            vec![format!("{id}  asleep: scaled to zero, what runs of {} ends now", occasion.workload.name)]
        }
        Happening::DrainCancelled { reason } => vec![format!("{id}  stays up: {reason}")],
    }
}

fn indented(message: &str) -> impl Iterator<Item = String> {
    message.lines().map(|line| format!("    {line}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zenvoy_controller::model::Phase;
    use zenvoy_controller::model::{Condition, Problem};
    use zenvoy_controller::report::WakeTimeline;
    use zenvoy_shared::id::WorkloadId;

    use super::*;

    fn id() -> UpstreamId {
        UpstreamId::new("local", "web", 80)
    }

    fn status(phase: Phase, conditions: Vec<Condition>) -> News {
        let status = Status {
            phase,
            workload: None,
            address: None,
            conditions,
            last_wake_unix_ms: None,
            idle_since_unix_ms: None,
        };
        News::Status(id(), status)
    }

    fn of(lines: &mut Lines, phase: Phase, failure: Option<(&str, &str)>) -> Vec<String> {
        let problem =
            failure.map(|(reason, message)| Problem { reason: reason.into(), message: message.into() });
        let failed = problem.map(|problem| Condition { kind: "Ready", holds: false, problem });
        lines.of(status(phase, failed.into_iter().collect()), &reached())
    }

    fn reached() -> BTreeMap<UpstreamId, String> {
        BTreeMap::from([(id(), "http://web.localhost".into())])
    }

    #[test]
    fn a_phase_is_said_when_it_changes_and_that_all_are_cold_at_first_is_not() {
        let mut lines = Lines::default();
        assert!(of(&mut lines, Phase::Cold, None).is_empty());
        let ready = lines.of(News::Ready, &reached());
        assert_eq!(ready[0], "local/web:80  reached at http://web.localhost");
        assert!(ready[1].starts_with("ready: "));
        assert_eq!(of(&mut lines, Phase::Waking, None), ["local/web:80  waking"]);
        assert!(of(&mut lines, Phase::Waking, None).is_empty());
        assert_eq!(of(&mut lines, Phase::Cold, None), ["local/web:80  cold"]);
    }

    #[test]
    fn one_that_comes_later_is_said_with_its_way_and_so_is_a_changed_way() {
        let mut lines = Lines::default();
        lines.of(News::Ready, &BTreeMap::new());
        let expected = ["local/web:80  reached at http://web.localhost", "local/web:80  cold"];
        assert_eq!(of(&mut lines, Phase::Cold, None), expected);
        let moved = BTreeMap::from([(id(), "127.0.0.1:7".into())]);
        let moved = lines.of(status(Phase::Cold, Vec::new()), &moved);
        assert_eq!(moved, ["local/web:80  reached at 127.0.0.1:7"]);
    }

    #[test]
    fn a_failure_is_said_with_every_line_of_its_message_and_not_again_with_each_try() {
        let mut lines = Lines::default();
        let failed = |lines: &mut Lines, reason, message| of(lines, Phase::Waking, Some((reason, message)));
        let said = failed(&mut lines, "CrashLoop", "web exited, 3 times\nno such table");
        assert_eq!(
            said,
            ["local/web:80  failing: CrashLoop", "    web exited, 3 times", "    no such table"]
        );
        assert!(of(&mut lines, Phase::Waking, None).is_empty());
        assert!(failed(&mut lines, "CrashLoop", "web exited, 4 times\nno such table").is_empty());
        assert_eq!(
            failed(&mut lines, "CrashLoop", "web exited, 5 times\nno such row").len(),
            3,
            "another fault"
        );
        assert_eq!(of(&mut lines, Phase::Active, None), ["local/web:80  active"]);
        assert_eq!(failed(&mut lines, "Exited", "web exited").len(), 2);
    }

    #[test]
    fn a_wake_is_said_with_its_waterfall() {
        let timeline =
            WakeTimeline { first_byte: Some(Duration::from_millis(134)), ..WakeTimeline::default() };
        let workload = WorkloadId::new("local", "Process.zenvoy.dev", "web");
        let woken = Occasion { workload, upstream: id(), what: Happening::Woken(timeline) };
        let lines = Lines::default().of(News::Happened(woken), &BTreeMap::new());
        assert_eq!(lines[0], "local/web:80  woken, first byte after 134.0 ms");
        assert_eq!(lines.len(), 8);
    }
}
