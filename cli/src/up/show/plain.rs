//! News as lines: for pipes and files, and above the table of the live view. In: news; out: lines. Pure.

use std::collections::BTreeMap;

use zenvoy_controller::report::{Happening, Occasion, Status};
use zenvoy_shared::id::UpstreamId;

use super::super::board::News;
use super::{table, waterfall, words};

/// Turns news into lines; remembers what it said of each upstream, so that nothing is said twice.
#[derive(Debug, Default)]
pub(super) struct Lines {
    said: BTreeMap<UpstreamId, String>,
}

impl Lines {
    /// The lines for one piece of news; often none.
    pub(super) fn of(&mut self, news: News, reached: &BTreeMap<UpstreamId, String>) -> Vec<String> {
        match news {
            News::Ready => ready(reached),
            News::Log(line) => vec![line],
            News::Dropped(count) => vec![format!("({count} messages were not shown)")],
            News::Gone(id) => {
                self.said.remove(&id);
                vec![format!("{id}  gone")]
            }
            News::Status(id, status) => self.status(id, &status),
            News::Happened(occasion) => happened(&occasion),
        }
    }

    fn status(&mut self, id: UpstreamId, status: &Status) -> Vec<String> {
        let now = match table::failure(status) {
            Some(reason) => format!("failing: {reason}"),
            None => words::phase(status.phase).to_owned(),
        };
        if self.said.get(&id) == Some(&now) {
            return Vec::new();
        }
        let mut lines = vec![format!("{id}  {now}")];
        let failed =
            status.conditions.iter().filter(|condition| condition.kind == "Ready" && !condition.holds);
        lines.extend(failed.flat_map(|condition| indented(&condition.problem.message)));
        self.said.insert(id, now);
        lines
    }
}

fn ready(reached: &BTreeMap<UpstreamId, String>) -> Vec<String> {
    let ways = reached.iter().map(|(id, way)| format!("{id}  reached at {way}"));
    ways.chain(std::iter::once("ready: Envoy listens; commands start on the first connection".to_owned()))
        .collect()
}

fn happened(occasion: &Occasion) -> Vec<String> {
    let id = &occasion.upstream;
    match &occasion.what {
        // The phase says so already.
        Happening::Waking => Vec::new(),
        Happening::Woken(timeline) => {
            let took = timeline.first_byte.map_or_else(String::new, |took| {
                format!(", first byte after {:.1} ms", took.as_secs_f64() * 1e3)
            });
            let waterfall = waterfall::lines(timeline).into_iter().map(|line| format!("    {line}"));
            std::iter::once(format!("{id}  woken{took}")).chain(waterfall).collect()
        }
        Happening::WakeFailed(problem) => {
            let first = format!("{id}  wake failed: {}", problem.reason);
            std::iter::once(first).chain(indented(&problem.message)).collect()
        }
        Happening::Slept => {
            vec![format!("{id}  asleep: scaled to zero, nothing of {} runs", occasion.workload.name)]
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

    use zenvoy_controller::model::{Condition, Phase, Problem};
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

    #[test]
    fn a_phase_is_said_when_it_changes() {
        let mut lines = Lines::default();
        assert_eq!(lines.of(status(Phase::Cold, Vec::new()), &BTreeMap::new()), ["local/web:80  cold"]);
        assert!(lines.of(status(Phase::Cold, Vec::new()), &BTreeMap::new()).is_empty());
        assert_eq!(lines.of(status(Phase::Waking, Vec::new()), &BTreeMap::new()), ["local/web:80  waking"]);
    }

    #[test]
    fn a_failure_is_said_with_every_line_of_its_message() {
        let problem = Problem { reason: "CrashLoop".into(), message: "web: exited\nno such table".into() };
        let failed = Condition { kind: "Ready", holds: false, problem };
        let expected = ["local/web:80  failing: CrashLoop", "    web: exited", "    no such table"];
        assert_eq!(Lines::default().of(status(Phase::Waking, vec![failed]), &BTreeMap::new()), expected);
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
