//! One job at a time for each [`Subject`]: what it should do now, how it ended, and when it is looked at again.

use std::time::Duration;

use super::core::{Core, Later};
use super::event::Effect;
use super::refused::TOLD_PAUSE;
use super::unreachable::POD_PAUSE;
use crate::execute::{Job, JobDone, Outcome, Subject};
use crate::model::{Revision, Touched};
use crate::plan::wake::retry_after;
use crate::session::Moment;
use crate::store::{Txn, WatchEvent};

/// How long a subject waits for the watch to show why a comparison failed.
const WATCH_PATIENCE: Duration = Duration::from_millis(250);

/// From one episode of a workload to the next, as this replica opens them.
const EPISODE_PAUSE: Duration = Duration::from_secs(1);

/// A subject that has run, runs, or must not run yet.
#[derive(Debug, Default)]
pub(super) struct Work {
    running: bool,
    failures: u32,
    pub(super) not_before: Moment,
    /// The watch must have passed this before it is worth looking again; `not_before` ends the wait all the same.
    pub(super) after: Option<Revision>,
}

impl Core {
    /// What should a subject's job do now? Nothing while one runs, or while it waits after a failure.
    pub(super) fn look(&mut self, subject: &Subject) {
        if let Some(work) = self.work.get(subject) {
            if work.running {
                return;
            }
            if work.not_before > self.now.moment {
                self.later.by(Later::Subject(subject.clone()), work.not_before);
                return;
            }
        }
        if !self.loaded {
            return;
        }
        let job = match subject {
            Subject::Node(node) => self.register_node(node),
            Subject::Gone(node) => self.prove_gone(node),
            Subject::Registration => self.register(),
            Subject::Demand(workload) => self.open_wake(workload),
            Subject::Ack(workload) => self.acknowledge(workload),
            Subject::Votes => self.vote(),
            Subject::Refusals => self.tell_refusals(),
            Subject::Ports => self.map_ports(),
            Subject::Workload(workload) => self.lead(workload),
        };
        match job {
            Some(job) => {
                self.work.entry(subject.clone()).or_default().running = true;
                self.effect(Effect::Start(job));
            }
            None => {
                // Nothing left to do: nothing is kept of it either.
                self.work.remove(subject);
            }
        }
    }

    pub(super) fn is_running(&self, subject: &Subject) -> bool {
        self.work.get(subject).is_some_and(|work| work.running)
    }

    /// A job about `subject` that is one transaction.
    pub(super) fn job(subject: Subject, txn: Txn) -> Option<Job> {
        Some(Job::Write { subject, txn })
    }

    /// A job ended.
    pub(super) fn done(&mut self, done: JobDone) {
        let JobDone { subject, outcome, written } = done;
        let now = self.now.moment;
        let work = self.work.entry(subject.clone()).or_default();
        work.running = false;
        work.after = None;
        match &outcome {
            Outcome::Written(_) | Outcome::Scaled(_) => {
                work.failures = 0;
                work.not_before = Moment::default();
            }
            Outcome::Refused(revision) => {
                work.after = (*revision > self.watched).then_some(*revision);
                work.not_before = now.after(WATCH_PATIENCE);
                if work.after.is_none() {
                    work.failures = work.failures.saturating_add(1);
                    work.not_before = now.after(retry_after(work.failures));
                }
            }
            // The watch will show the change; a conflict is no reason to hurry.
            Outcome::Conflict => work.not_before = now.after(WATCH_PATIENCE),
            Outcome::NotYet => {
                work.failures = work.failures.saturating_add(1);
                work.not_before = now.after(retry_after(work.failures.min(4)));
            }
            Outcome::LeaseEnded
            | Outcome::StoreFailed(_)
            | Outcome::ScaleRefused(_)
            | Outcome::ScaleFailed(_) => {
                work.failures = work.failures.saturating_add(1);
                work.not_before = now.after(retry_after(work.failures.saturating_sub(1)));
            }
        }
        if let Some(after) = work.after {
            self.awaited.insert((after, subject.clone()));
        }
        self.log(&subject, &outcome);
        let watched = self.watched;
        let mut touched = Touched::default();
        // What the watch has passed already is older than what it brought.
        for step in written.into_iter().filter(|step| step.revision() > watched) {
            touched.merge(match step {
                WatchEvent::Put(entry) => self.put(entry),
                WatchEvent::Deleted(key, revision) => self.deleted(&key, revision),
                WatchEvent::Resync(_) => Touched::default(),
            });
        }
        if matches!(outcome, Outcome::Written(_) | Outcome::Refused(_) | Outcome::LeaseEnded) {
            self.alone.hears();
        }
        self.follow_up(&subject, &outcome);
        self.settle(touched);
        self.look(&subject);
    }

    /// What a job's end means beyond what it wrote.
    fn follow_up(&mut self, subject: &Subject, outcome: &Outcome) {
        match (subject, outcome) {
            (Subject::Node(node), Outcome::Written(revision)) => self.registered(node, *revision),
            (Subject::Votes, Outcome::Written(_)) => self.voted(),
            (Subject::Refusals, Outcome::Written(_)) => self.pause(subject, TOLD_PAUSE),
            (Subject::Gone(_), Outcome::NotYet) => self.pause(subject, POD_PAUSE),
            (Subject::Node(node), Outcome::StoreFailed(_)) => self.relay_to(node),
            (Subject::Demand(workload), outcome) => {
                self.demanded_on(workload, outcome);
                if matches!(outcome, Outcome::Written(_)) {
                    // A view that lags behind a retired wake must not open the next at the speed of light.
                    self.pause(subject, EPISODE_PAUSE);
                }
            }
            (Subject::Workload(workload), outcome) => self.led_on(workload, outcome),
            _ => {}
        }
    }

    pub(super) fn pause(&mut self, subject: &Subject, pause: Duration) {
        let until = self.now.moment.after(pause);
        self.work.entry(subject.clone()).or_default().not_before = until;
    }

    fn log(&self, subject: &Subject, outcome: &Outcome) {
        match outcome {
            Outcome::StoreFailed(error) | Outcome::ScaleFailed(error) => {
                tracing::warn!(%subject, error, "it is tried again");
            }
            Outcome::ScaleRefused(problem) => {
                tracing::warn!(%subject, reason = problem.reason, "refused: {}", problem.message);
            }
            outcome => tracing::debug!(?subject, ?outcome, "done"),
        }
    }
}
