//! When a process that ended by itself is tried again, and what people are told meanwhile. Pure.

use std::time::{Duration, Instant};

use zenvoy_shared::duration::Span;
use zenvoy_shared::id::WorkloadId;

use super::instance::{Ending, How};
use crate::model::Problem;

/// The wait after the first failure; it doubles with each further one.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// An instance that served for so long has not failed to start: its end is the first of a new row.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// So many ends in a row are a loop.
const LOOP: u32 = 3;

/// The failures of one workload in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    wait: Duration,
    retry_at: Option<Instant>,
    problem: Option<Problem>,
}

impl Backoff {
    /// An instance ended though nobody asked it to. What is no problem, since it is started again at once, is returned: nobody else
    /// tells it.
    #[must_use]
    pub(super) fn failed(
        &mut self,
        id: &WorkloadId,
        ending: &Ending,
        was_ready: bool,
        now: Instant,
    ) -> Option<String> {
        if was_ready && ending.ran >= STABLE_AFTER {
            self.failures = 0;
        }
        self.failures += 1;
        let first_crash_of_one_that_served = was_ready && self.failures == 1;
        let wait = if first_crash_of_one_that_served { Duration::ZERO } else { wait(self.failures) };
        self.wait = wait;
        self.retry_at = Some(now + wait);
        let problem = self.explain(id, ending, was_ready, wait);
        if first_crash_of_one_that_served {
            self.problem = None;
            return Some(problem.message);
        }
        self.problem = Some(problem);
        None
    }

    fn explain(&self, id: &WorkloadId, ending: &Ending, was_ready: bool, wait: Duration) -> Problem {
        let ran = !matches!(ending.how, How::NotStarted(_));
        let reason = match (self.failures, ran, was_ready) {
            (_, false, _) => "NotStarted",
            (LOOP.., ..) => "CrashLoop",
            (_, _, true) => "Exited",
            (_, _, false) => "ExitedBeforeReady",
        };
        let when = if ran && !was_ready { " before it was ready" } else { "" };
        let times =
            if self.failures > 1 { format!(", {} times in a row", self.failures) } else { String::new() };
        let output = match ending.last_lines.as_slice() {
            [] if !ran => String::new(),
            [] => ". It wrote nothing".into(),
            lines => format!(". Its last lines:\n{}", lines.join("\n")),
        };
        let again =
            if wait.is_zero() { "started again".into() } else { format!("tried again in {}", Span(wait)) };
        let (name, how) = (&id.name, &ending.how);
        Problem { reason: reason.into(), message: format!("{name} {how}{when}{times}; {again}{output}") }
    }

    /// Whether an instance may be started at `now`.
    pub(super) fn may_start(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// When the wait is over, while one goes on.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// A new try begins: connections wait for its outcome instead of being failed. Returns whether there was a problem.
    pub(super) fn forget_problem(&mut self) -> bool {
        self.retry_at = None;
        self.problem.take().is_some()
    }

    /// How long the next try waits, from the last failure on.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// What is wrong, until the next try.
    pub(super) fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }
}

fn wait(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(ran: Duration) -> Ending {
        Ending { how: How::Exited(3), last_lines: vec!["no such table".into()], ran }
    }

    fn id() -> WorkloadId {
        WorkloadId::new("local", "Process.zenvoy.dev", "web")
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let waits: Vec<u128> = (1..10).map(|failures| wait(failures).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]);
        assert_eq!(wait(u32::MAX), LONGEST);
    }

    #[test]
    fn an_end_before_ready_is_a_problem_with_status_and_last_lines() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        assert_eq!(backoff.failed(&id(), &ending(Duration::ZERO), false, now), None);
        let problem = backoff.problem().expect("a problem");
        assert_eq!(problem.reason, "ExitedBeforeReady");
        assert!(problem.message.starts_with(
            "web exited with status 3 before it was ready; tried again in 200ms. Its last lines:"
        ));
        assert!(problem.message.ends_with("no such table"));
        assert!(!backoff.may_start(now) && backoff.may_start(now + FIRST));
    }

    #[test]
    fn the_third_end_in_a_row_is_a_crash_loop() {
        let mut backoff = Backoff::default();
        for _ in 0..3 {
            let _ = backoff.failed(&id(), &ending(Duration::ZERO), false, Instant::now());
        }
        let problem = backoff.problem().expect("a problem");
        assert_eq!(problem.reason, "CrashLoop");
        assert!(problem.message.contains("3 times in a row"));
    }

    #[test]
    fn one_that_never_ran_is_told_so_and_not_what_it_wrote() {
        let mut backoff = Backoff::default();
        let how = How::NotStarted("its working directory /nowhere does not exist".into());
        let ending = Ending { how, last_lines: Vec::new(), ran: Duration::ZERO };
        let _ = backoff.failed(&id(), &ending, false, Instant::now());
        let problem = backoff.problem().expect("a problem");
        assert_eq!(problem.reason, "NotStarted");
        assert_eq!(
            problem.message,
            "web could not be started: its working directory /nowhere does not exist; tried again in 200ms"
        );
    }

    #[test]
    fn one_that_served_is_restarted_at_once_and_without_a_problem_the_first_time() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let mut served_for = |ran| {
            let told = backoff.failed(&id(), &ending(ran), true, now);
            (told, backoff.may_start(now), backoff.problem().map(|problem| problem.reason.clone()))
        };
        let told = Some("web exited with status 3; started again. Its last lines:\nno such table".into());
        assert_eq!(served_for(STABLE_AFTER), (told.clone(), true, None));
        assert_eq!(served_for(Duration::from_secs(1)), (None, false, Some("Exited".into())));
        assert_eq!(served_for(STABLE_AFTER), (told, true, None), "a long good run ends the row");
    }
}
